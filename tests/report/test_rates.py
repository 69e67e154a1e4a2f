"""Figures of the learning rate, and that the planned cycle is the one that the training really steps."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.results import Results, read_results
from harness.analysis.runs import Run
from harness.report import rates, write_report
from harness.schedule import Rates, lr_milestones, rates_at

Lab = Callable[..., Any]
STEPS = 36

SCHEDULES: list[dict[str, Any]] = [
    {"kind": "triangle", "epochs": 4, "peak_epoch": 1.5, "lr_max": 0.1, "lr_min": 0.01, "final": 0.001},
    {"kind": "constant", "epochs": 4, "lr": 0.1},
    {"kind": "one_cycle_lr", "epochs": 4, "lr_max": 0.1, "div_factor": 10.0, "pct_start": 0.3},
    {
        "kind": "one_cycle_lr",
        "epochs": 4,
        "lr_max": 0.1,
        "div_factor": 10.0,
        "pct_start": 0.3,
        "total_steps": 60,
    },
]


def read(lab: Any) -> tuple[Results, Run]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return results, results.runs[0]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
def test_planned_corners_are_what_training_steps(lab: Lab, schedule: dict[str, Any]) -> None:
    place = lab(schedule=schedule)
    place.finish()
    at, values = zip(*rates.planned_corners(read(place)[1]), strict=True)
    lr_min = 0.1 if schedule["kind"] == "constant" else 0.01
    milestones = lr_milestones(place.study.recipes["base"].schedule, Rates(lr_min, 0.1), STEPS // 4)
    stepped = rates_at(milestones, list(range(STEPS)))
    planned = np.interp(np.arange(STEPS) / (STEPS / 4), at, values)
    # a triangle's corners are rounded to steps: the two differ by less than what one step changes
    assert np.abs(stepped - planned).max() <= np.abs(np.diff(stepped)).max() + 1e-12
    assert max(values) == 0.1


def test_the_learning_rate_figure_names_its_ends(lab: Lab) -> None:
    place = lab()
    place.finish()
    picture = rates.learning_rate(read(place)[1])
    assert picture is not None and picture.variant == "base"
    assert "between LRMIN 0.01 and LRMAX 0.1" in picture.caption
    assert "0.01 to 0.1 at epoch 1, then 0.01" in picture.caption
    assert "(seed 0), which should be the same" in picture.caption
    same = picture == rates.learning_rate(read(place)[1])
    assert same


def test_a_peak_between_two_steps_is_not_said_to_be_stepped(lab: Lab) -> None:
    place = lab()
    path = place.finish(metrics={"parameters": 26_010, "lr_min": 0.01, "lr_max": 0.11})
    stepped = [float(row["lr"]) for row in csv.DictReader((path / "learning_rates.csv").open())]
    results, run = read(place)
    assert rates.highest_rate(run) == (max(stepped), 1 + stepped.index(max(stepped)))
    picture = rates.learning_rate(run)
    assert picture is not None
    assert picture.caption.endswith(
        "Its highest is 0.1, at step 10: the peak of the plan falls between two steps."
    )
    write_report(place.study, place.folder, [0], ["base"], None)
    page = (place.folder.path / "report.md").read_text("utf-8")
    assert "| base | 0.01 | 0.11 | 0.1 | 10 of 36 | 0.01 |" in page


def test_a_run_that_is_not_finished_has_no_learning_rate_figure(lab: Lab) -> None:
    place = lab()
    place.fail("base", 0)
    assert rates.learning_rate(read(place)[1]) is None


def test_a_range_test_says_how_its_choice_was_made_and_whether_it_was_used(lab: Lab) -> None:
    place = lab()
    place.finish()
    place.sweep()
    results, run = read(place)
    used = rates.range_test(results.sweeps["base"], run)
    assert "“accuracy”, LRMIN = LRMAX / 10; used by the runs" in used.caption
    assert "Losses above the frame are cut off" in used.caption
    place.sweep(used=False)
    results, run = read(place)
    unused = rates.range_test(results.sweeps["base"], run)
    assert "not used: the study sets its rates itself" in unused.caption
    assert unused.png != used.png
