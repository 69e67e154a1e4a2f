"""How many runs are over and how long the others take, by a clock that the test sets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.launch import tally as module
from harness.launch.tally import Tally, sweep_name
from harness.launch.view import View
from harness.plan import Plan
from harness.study_file.config import Study
from harness.training.failures import record_failure
from harness.training.progress import Progress
from tests.launch.conftest import planned

RUNS = [f"tiny/{variant}/seed-{seed}" for variant in ("base", "wide") for seed in (0, 1)]


@pytest.fixture
def plan(tiny: Callable[..., Study], tmp_path: Path) -> Plan:
    """Variants ``base`` and ``wide``, two seeds each, three epochs of five steps."""
    return planned(tiny(("variants", {"wide": {"model.width": 4}})), tmp_path)


class Clock:
    """Time as the test sets it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    yield made


def epoch(done: int, seconds: float, epochs: int = 3) -> Progress:
    return Progress(done / epochs, f"epoch {done} of {epochs}", "a line", 5, seconds)


def test_no_time_is_told_before_an_epoch_was_measured(plan: Plan, clock: Clock) -> None:
    tally = Tally.of([plan])
    assert tally.count() == "0 of 4 runs" and tally.time_left() == ""
    tally.begin(RUNS[0])
    tally.hear(RUNS[0], Progress(0.1, "epoch 1 of 3"))
    assert tally.seconds_left() is None
    tally.hear(RUNS[0], epoch(1, 20.0))
    assert tally.seconds_left() is not None


def test_the_time_left_is_that_of_the_epochs_that_are_left_by_each_networks_cost(
    plan: Plan, clock: Clock
) -> None:
    tally, costs = Tally.of([plan]), [variant.outline.flops_per_image for variant in plan.variants]
    tally.begin(RUNS[0])
    tally.hear(RUNS[0], epoch(1, 20.0))
    wide = 20.0 * costs[1] / costs[0]
    assert tally.seconds_left() == pytest.approx(5 * 20 + 6 * wide)
    clock.now += 7
    assert tally.seconds_left() == pytest.approx(5 * 20 + 6 * wide - 7), "it counts down within an epoch"
    clock.now += 13
    tally.hear(RUNS[0], epoch(2, 20.0))
    assert tally.seconds_left() == pytest.approx(4 * 20 + 6 * wide)
    for name in RUNS[:2]:
        tally.end(name)
    tally.begin(RUNS[2])
    tally.hear(RUNS[2], epoch(1, 50.0))  # what was measured of a variant comes first
    assert tally.count() == "2 of 4 runs" and tally.seconds_left() == pytest.approx(5 * 50)
    tally.hear(RUNS[2], epoch(2, 5000.0))  # one slow epoch of several
    tally.hear(RUNS[2], epoch(3, 50.0))
    assert tally.seconds_left() == pytest.approx(3 * 50)


def test_runs_at_once_share_what_is_left(plan: Plan, clock: Clock) -> None:
    tally = Tally.of([plan])
    for name in RUNS[:2]:
        tally.begin(name)
        tally.hear(name, epoch(1, 20.0))
    for name in RUNS[2:]:
        tally.begin(name)
        tally.hear(name, epoch(1, 20.0))
        tally.end(name)
    tally.at_once = 2
    assert tally.seconds_left() == pytest.approx(40)
    assert Tally.of([plan]).seconds_left() is None


def test_a_range_test_counts_as_steps_until_an_epoch_was_measured(
    tiny: Callable[..., Study], tmp_path: Path, clock: Clock
) -> None:
    schedule = {"epochs": 3, "peak_epoch": 1}
    study = tiny(("schedule", schedule), ("range_test", {"iterations": 30, "start_lr": 1e-3, "end_lr": 1.0}))
    plan = planned(study, tmp_path)
    tally, name = Tally.of([plan]), sweep_name(plan.variants[0])
    tally.begin(name)
    tally.hear(name, Progress(1.0, "range test", steps=30, seconds=60.0, sweep=True))
    tally.end(name)
    assert tally.count() == "0 of 2 runs" and tally.seconds_left() == pytest.approx(2 * 15 * 2.0)
    tally.begin("tiny/base/seed-0")
    tally.hear("tiny/base/seed-0", epoch(1, 15.0))
    assert tally.seconds_left() == pytest.approx(5 * 15.0)


def test_finished_and_diverged_runs_are_over_and_others_are_not(plan: Plan) -> None:
    from harness.errors import RunError

    first, second, *_ = plan.runs()
    record_failure(first[0], first[1], RunError("it died"), "worker_died")
    second[1].write(second[0].record(1, "failed", error={"kind": "diverged", "message": "NaN"}))
    record = second[1].record()
    assert record is not None and record.diverged
    assert Tally.of([plan]).count() == "1 of 4 runs"


def test_where_fewer_runs_may_do_it_says_at_most(plan: Plan, clock: Clock) -> None:
    tally = Tally.of([plan], at_most=True)
    tally.begin(RUNS[0])
    tally.hear(RUNS[0], epoch(1, 60.0))
    assert tally.count() == "0 of at most 4 runs" and tally.time_left().startswith("at most ")


def test_trials_of_a_search_are_counted_before_they_are_known(
    tiny: Callable[..., Study], tmp_path: Path, clock: Clock
) -> None:
    search = {"trials": 3, "values": {"optimizer.momentum": {"low": 0.1, "high": 0.9}}}
    study = tiny(("search", search), ("data.holdout", 40), ("data.test_limit", 40))
    tally = Tally.of([planned(study, tmp_path)])
    assert tally.count() == f"0 of at most {2 + 3 * 2} runs"
    tally.begin("tiny/base/seed-0")
    tally.hear("tiny/base/seed-0", epoch(3, 10.0))
    tally.end("tiny/base/seed-0")
    assert tally.seconds_left() == pytest.approx(7 * 30.0)
    assert tally.share == pytest.approx(1 / 8)


def test_a_log_has_the_count_and_the_time_left_in_the_line_of_a_finished_run(
    plan: Plan, clock: Clock
) -> None:
    said: list[str] = []
    view = View(said.append, Tally.of([plan]))
    view.begin(RUNS[0])
    view.of(RUNS[0]).hear(epoch(1, 120.0))
    view.of(RUNS[0])("a warning")
    view.end(RUNS[0], "finished: 97.00 % after 6 min")
    assert said[:2] == [f"{RUNS[0]}  a line", "a warning"]
    start, _, left = said[2].rpartition(", about ")
    assert start == f"{RUNS[0]}  finished: 97.00 % after 6 min; 1 of 4 runs" and left.endswith(" min left")
    for name in RUNS[1:]:
        view.end(name, "finished: 97.00 % after 6 min")
    assert said[-1].endswith("; 4 of 4 runs")
    assert statistics.fmean([view.tally.share]) == 1.0


def test_names_are_short_where_all_begin_alike(
    plan: Plan, tiny: Callable[..., Study], tmp_path: Path
) -> None:
    view = View(tally=Tally.of([plan]))
    assert view.short(RUNS[0]) == "base/seed-0"
    alone = View(tally=Tally.of([planned(tiny(), tmp_path)]))
    assert alone.short("tiny/base/seed-0") == "seed-0" and alone.short("tiny/base range test") == "range test"
    other = tiny(("name", "other"))
    both = View(tally=Tally.of([plan, planned(other, tmp_path)]))
    assert both.short(RUNS[0]) == RUNS[0]


def test_the_rows_of_many_runs_fit_half_of_a_terminal(plan: Plan) -> None:
    view = View(tally=Tally.of([plan]))
    for name in RUNS:
        view.begin(name)
        view._rows[name] = "epoch 1 of 3"
    assert [str(row).split()[0] for row in view.rows(12)[:-1]] == [name.partition("/")[2] for name in RUNS]
    short = view.rows(4)
    assert len(short) == 4 and short[2] == "and 2 more"
    assert len(view.rows(1)) <= 2
