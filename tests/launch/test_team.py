"""How many runs at once, with how many threads: by the time of a step, the free cores and the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness import device
from harness.compute import Compute
from harness.errors import StudyError
from harness.launch import parse_workers, team
from harness.launch.team import Team, choose_team
from harness.plan import Plan
from harness.store.sealed import write_sealed
from harness.study_file.config import Study
from tests.launch.conftest import planned

GIGABYTE = 10**9
DIVERGED = {"kind": "diverged", "message": ""}


@pytest.fixture
def plan(tiny: Callable[..., Study], tmp_path: Path) -> Callable[..., Plan]:
    """A plan of so many runs, each of 3 epochs of 5 steps, or as changed."""

    def make(runs: int, *changes: tuple[str, Any], on: str = "cpu") -> Plan:
        made = planned(tiny(("seeds", list(range(runs))), *changes), tmp_path)
        compute = Compute("float32", "channels_last")
        return replace(
            made, variants=tuple(replace(each, device=on, compute=compute) for each in made.variants)
        )

    return make


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Say what a step takes by threads (seconds), how many cores there are and are free, and the memory."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked: list[list[int]] = []

    def be(
        times: dict[int, float], cores: int = 2, free: float = 0.0, memory: float = 100
    ) -> list[list[int]]:
        class Timer:
            def __init__(self, variant: Any) -> None:
                pass

            def seconds(self, counts: list[int]) -> dict[int, float]:
                asked.append(counts)
                return {count: times[count] for count in counts}

        monkeypatch.setattr(team, "StepTimer", Timer)
        for place in (team, device):
            monkeypatch.setattr(place, "usable_cores", lambda: cores)
        monkeypatch.setattr(team, "_free_cores", lambda: free or float(cores))
        available = SimpleNamespace(available=memory * GIGABYTE)
        monkeypatch.setattr(team, "psutil", SimpleNamespace(virtual_memory=lambda: available))
        return asked

    return be


LONG = ("schedule.epochs", 1000), ("schedule.peak_epoch", 5)
SIXTEEN = {16: 0.03, 8: 0.03, 4: 0.03, 2: 0.04, 1: 0.06}


@pytest.mark.parametrize(
    ("runs", "times", "options", "expected"),
    [
        (3, {2: 0.031, 1: 0.057}, {}, (1, 2)),  # two rounds of two would take longer than three of one
        (20, {2: 0.031, 1: 0.057}, {}, (1, 2)),  # a tenth faster at best: not worth it
        (20, {2: 0.045, 1: 0.057}, {}, (2, 1)),
        (1, {2: 0.045, 1: 0.057}, {}, (1, 2)),
        (3, {2: 0.5, 1: 0.057}, {"free": 1.0}, (1, 1)),  # beside a busy program
        (20, {2: 0.5, 1: 0.057}, {"free": 1.0}, (1, 1)),  # a second run would only take from the first
        (16, SIXTEEN, {"cores": 16}, (16, 1)),
        (4, SIXTEEN, {"cores": 16}, (4, 4)),
        (16, SIXTEEN, {"cores": 16, "free": 4.0}, (16, 1)),
        (16, SIXTEEN, {"cores": 16, "memory": 5}, (4, 4)),
        (16, SIXTEEN, {"cores": 16, "memory": 1}, (1, 16)),
        (9, {1: 0.06}, {"cores": 1}, (1, 1)),
    ],
)
def test_the_fastest_team_is_chosen(
    plan: Callable[..., Plan],
    machine: Any,
    runs: int,
    times: dict[int, float],
    options: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    machine(times, **options)
    chosen = choose_team(plan(runs, *LONG))
    assert (chosen.workers, chosen.threads) == expected
    assert chosen.launcher == ("serial" if expected[0] == 1 else "process")
    usual = expected == (1, options.get("cores", 2))
    assert (chosen.reason == "") == usual, "what is unusual is explained"


def test_short_work_begins_at_once_without_timing_more(plan: Callable[..., Plan], machine: Any) -> None:
    asked = machine({2: 0.01, 1: 0.001})
    assert choose_team(plan(3)) == Team(1, 2)
    assert asked == [[2]]


@pytest.mark.parametrize("ending", [{"status": "finished"}, {"status": "failed", "error": DIVERGED}])
def test_only_what_is_left_to_do_counts(
    plan: Callable[..., Plan], machine: Any, ending: dict[str, Any]
) -> None:
    asked = machine({2: 0.045, 1: 0.057})
    made = plan(4, *LONG)
    for variant, folder in made.runs()[:3]:
        folder.write(variant.record(folder.seed, **ending))
    assert choose_team(made) == Team(1, 2), "one run is left"
    folder = made.runs()[3][1]
    folder.write(made.variants[0].record(folder.seed, **ending))
    asked.clear()
    assert choose_team(made) == Team(1, 2) and asked == [], "none is left"


def test_omp_num_threads_is_kept_and_leaves_the_rest_to_more_runs(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = machine(SIXTEEN, cores=16)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    chosen = choose_team(plan(16, *LONG))
    assert (chosen.workers, chosen.threads) == (4, 4) and asked[-1] == [4]
    machine({4: 0.1}, cores=2)
    assert choose_team(plan(9, *LONG)) == Team(1, 4), "more threads than cores"


@pytest.mark.parametrize("setting", ["0", "", "abc", " ", "-1"])
def test_odd_omp_num_threads_are_as_none(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    machine(SIXTEEN, cores=16)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert choose_team(plan(16, *LONG)).workers == 16


def test_a_study_goes_on_with_the_threads_it_was_begun_with(plan: Callable[..., Plan], machine: Any) -> None:
    machine(SIXTEEN, cores=16)
    made = plan(2, *LONG)
    made.folder.run("base", 7).write(made.variants[0].record(7, "running", provenance={"threads": 2}))
    chosen = choose_team(made)
    assert (chosen.workers, chosen.threads) == (2, 2)
    assert choose_team(made, workers=1) == Team(1, 2)
    assert choose_team(made, workers=8) == Team(8, 2), "who asks for eight at once shares the cores"


def test_a_study_killed_after_its_range_test_keeps_the_threads_of_that(
    plan: Callable[..., Plan], machine: Any
) -> None:
    machine({2: 0.031, 1: 0.057})
    made = plan(3, *LONG)
    write_sealed(made.folder.range_test_json("base"), {"threads": 1})
    assert choose_team(made).threads == 1


def test_free_cores_are_those_of_this_process_that_others_leave() -> None:
    assert 1 <= team._free_cores() <= device.usable_cores()


def test_whoever_says_how_many_is_obeyed_without_timing(plan: Callable[..., Plan], machine: Any) -> None:
    asked = machine(SIXTEEN, cores=16)
    assert choose_team(plan(3, *LONG), workers=3) == Team(3, 5) and asked == []


def test_a_network_that_cannot_take_the_timed_step_runs_alone(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(SIXTEEN, cores=16)
    monkeypatch.setattr(team, "StepTimer", lambda variant: 1 / 0)
    assert choose_team(plan(3, *LONG)) == Team(1, 16)


@pytest.mark.parametrize(
    ("runs", "on", "gpus", "gigabytes", "expected"),
    [
        (1, "cuda", 1, 80, 1), (3, "cuda", 1, 80, 1), (4, "cuda", 1, 80, 2), (50, "cuda", 1, 80, 2),
        (50, "cuda", 1, 3, 1), (50, "cuda", 4, 80, 8), (2, "cuda", 4, 80, 2), (50, "cuda:1", 4, 80, 2),
        (50, "mps", 0, 0, 1),
    ],
)  # fmt: skip
def test_runs_share_a_gpu_as_far_as_its_memory_goes(
    plan: Callable[..., Plan],
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    on: str,
    gpus: int,
    gigabytes: float,
    expected: int,
) -> None:
    machine(SIXTEEN, cores=16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda at: (gigabytes * GIGABYTE, 80 * GIGABYTE))
    assert choose_team(plan(runs, on=on)).workers == expected


def test_timing_for_real_leaves_the_number_of_threads(plan: Callable[..., Plan]) -> None:
    before = torch.get_num_threads()
    times = team.StepTimer(plan(1).variants[0]).seconds([2, 1])
    assert list(times) == [2, 1] and all(seconds > 0 for seconds in times.values())
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("text", "workers"), [("4", 4), (4, 4), ("auto", None), (None, None)])
def test_workers_are_a_number_or_auto(text: Any, workers: int | None) -> None:
    assert parse_workers(text) == workers


@pytest.mark.parametrize("text", ["0", "-1", 0, "two", "1.5", "", "4,4", "٣", "9" * 30, "automatic"])
def test_other_numbers_of_workers_are_refused_in_a_line(text: Any) -> None:
    with pytest.raises(StudyError, match=r"^--workers .*: expected ") as caught:
        parse_workers(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
