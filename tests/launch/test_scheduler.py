"""In which order tasks are started, and what becomes of those that are held, fail, or lose their workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.launch.job import Job
from harness.launch.scheduler import Event, Scheduler, WorkerLost
from harness.launch.task import Answer, Task
from harness.launch.view import View
from harness.plan import Plan
from harness.schedule import Rates
from harness.study_file.config import Study
from tests.launch.conftest import load, planned

DEATH = WorkerLost("its worker died", "SIGKILL")
HELD = Answer(held="it is held by process 7")
Schedule = Callable[..., tuple[list[Task], list[str], dict[str, str]]]


class Scripted:
    """A backend whose tasks come to what is written: name -> one event a try; others succeed."""

    def __init__(self, script: dict[str, list[Event]], room: int, polls: bool, tries: int) -> None:
        self.script, self.slots, self.polls, self.tries = script, room, polls, tries
        self.begun: list[Task] = []
        self.queue: list[tuple[int, Event]] = []
        self.stopped = False

    def room(self) -> int:
        return self.slots

    def start(self, slot: int, task: Task) -> None:
        assert len(self.queue) < self.slots and slot not in dict(self.queue)
        self.begun.append(task)
        default = Answer() if task.seed is not None else Answer(rates=Rates(0.1, 0.2))
        self.queue.append((slot, (self.script.get(task.name) or [default]).pop(0)))

    def events(self) -> list[tuple[int, Event]]:
        return [self.queue.pop(0)]

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def plan(tiny: Callable[..., Study], tmp_path: Path) -> Plan:
    """Variants ``base`` and ``other``, two seeds each."""
    return planned(tiny(("variants", {"other": {"data.batch_size": 16}})), tmp_path)


@pytest.fixture
def schedule(plan: Plan) -> Schedule:
    """Execute the plan by a script; the tasks as they were started, what was said, what is unrecorded."""

    def run(
        script: dict[str, list[Event]], room: int = 2, polls: bool = False, tries: int = 1
    ) -> tuple[list[Task], list[str], dict[str, str]]:
        said: list[str] = []
        backend = Scripted(script, room, polls, tries)
        unrecorded = Scheduler(Job(plan, load, 1, View(said.append)), backend).run()
        assert backend.stopped
        return backend.begun, said, unrecorded

    return run


def short(tasks: list[Task]) -> list[str]:
    return [f"{task.variant.name} {'test' if task.seed is None else task.seed}" for task in tasks]


@pytest.mark.parametrize(
    ("room", "order"),
    [
        (2, ["base test", "other test", "base 0", "base 1", "other 0", "other 1"]),
        (1, ["base test", "base 0", "base 1", "other test", "other 0", "other 1"]),
    ],
)
def test_runs_begin_when_the_rates_of_their_variant_are_known(
    schedule: Schedule, room: int, order: list[str]
) -> None:
    begun, said, unrecorded = schedule({}, room)
    assert short(begun) == order and not said and not unrecorded
    assert all(task.rates == Rates(0.1, 0.2) for task in begun if task.seed is not None)


@pytest.mark.parametrize("polls", [False, True])
def test_what_others_hold_comes_after_what_is_free(
    schedule: Schedule, polls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("harness.launch.scheduler.time.sleep", pauses.append)
    script: dict[str, list[Event]] = {"tiny/base range test": [HELD, HELD, Answer(rates=Rates(0.1, 0.2))]}
    begun, said, _ = schedule(script, 1, polls)
    free = ["base test", "other test", "other 0", "other 1"]
    assert short(begun) == [*free, "base test", "base test", "base 0", "base 1"]
    assert [task.wait for task in begun] == 4 * [False] + 2 * [True] + 2 * [False]
    assert said == ["it is held by process 7; skipped for now"]
    assert pauses == ([1, 1] if polls else [])


def test_what_cannot_be_recorded_is_said_and_returned(
    schedule: Schedule,
) -> None:
    begun, said, unrecorded = schedule({"tiny/base/seed-0": [Answer(error="the disk is full")]})
    assert unrecorded == {"tiny/base/seed-0": "the disk is full"} and len(begun) == 6
    assert said == ["tiny/base/seed-0  FAILED: the disk is full"]


def test_a_lost_task_is_given_out_again_and_at_last_recorded(schedule: Schedule, plan: Plan) -> None:
    script: dict[str, list[Event]] = {
        "tiny/base/seed-0": [DEATH, DEATH, DEATH],
        "tiny/base/seed-1": [DEATH, Answer()],
    }
    begun, said, unrecorded = schedule(script, 1, tries=3)
    assert short(begun)[1:6] == 3 * ["base 0"] + 2 * ["base 1"] and not unrecorded
    assert said.count("tiny/base/seed-0  its worker died (SIGKILL); retrying") == 2
    assert "tiny/base/seed-0  FAILED: its worker died 3 times (SIGKILL)" in said
    record = plan.folder.run("base", 0).record()
    assert record is not None and record.error is not None and record.error["kind"] == "worker_died"


@pytest.mark.parametrize("event", [DEATH, Answer(error="no room")])
def test_runs_with_rates_of_their_own_can_do_without_a_range_test(schedule: Schedule, event: Event) -> None:
    begun, said, _ = schedule({"tiny/base range test": [event]})
    assert len(begun) == 6 and len(said) == 1 and said[0].startswith("tiny/base  ")
    assert not any(isinstance(task.rates, RunError) for task in begun)
