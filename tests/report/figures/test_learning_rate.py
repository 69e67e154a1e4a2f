"""The figure of the learning rate: its ends, and a peak that no step has."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

from harness.analysis.results import read_results
from harness.report.write import write_report
from tests.report.figures.conftest import caption

Lab = Callable[..., Any]


def test_it_names_its_ends(lab: Lab) -> None:
    place = lab()
    place.finish()
    said = caption(place, "learning_rate")
    assert "between LRMIN 0.01 and LRMAX 0.1" in said
    assert "0.01 to 0.1 at epoch 1, then 0.01" in said
    assert "(seed 0), which should be the same" in said


def test_a_peak_between_two_steps_is_not_said_to_be_stepped(lab: Lab) -> None:
    place = lab()
    path = place.finish(metrics={"parameters": 26_010, "lr_min": 0.01, "lr_max": 0.11})
    stepped = [float(row["lr"]) for row in csv.DictReader((path / "learning_rates.csv").open())]
    (run,) = read_results(place.study, place.folder, [0], ["base"]).runs
    assert run.highest_rate == (max(stepped), 1 + stepped.index(max(stepped)))
    assert caption(place, "learning_rate").endswith(
        "Its highest rate is 0.1, at step 10: the planned peak falls between two steps."
    )
    write_report(place.study, place.folder, [0], ["base"], None)
    page = (place.folder.path / "report.md").read_text("utf-8")
    assert "| base | 0.01 | 0.11 | 0.1 | 10 of 36 | 0.01 |" in page
