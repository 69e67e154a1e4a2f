"""Every planned run has a row, and the page shows those first that are not finished."""

from __future__ import annotations

import csv

import pytest

from harness.report.topics import runs
from harness.report.topics.table import MOST_ROWS
from tests.lab import MakeLab, rows, sections, text


def test_every_planned_run_has_a_row(lab: MakeLab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}}, seeds=[0, 1])
    made.finish("base", 0)
    made.fail("base", 1)
    shown = [row[:2] for row in rows(sections(made.findings(), runs))]
    assert shown == [
        ["base/seed-0", "finished"],
        ["base/seed-1", "failed"],
        ["no_cutout/seed-0", "missing"],
        ["no_cutout/seed-1", "missing"],
    ]


def test_a_target_that_was_changed_afterwards_decides_for_the_runs_that_are_there(lab: MakeLab) -> None:
    made = lab(seeds=[0])
    made.finish("base", 0, logits=made.logits(360), before=[0.1, 0.8, 0.95])
    header, row = runs.RUNS.csv(made.under(target={"test_accuracy": 0.9}).findings()).splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert (cells["epochs_to_target"], cells["seconds_to_target"]) == ("3", "4.5")


def test_ties_and_the_accuracy_as_trained_are_shown_only_where_there_are_some(lab: MakeLab) -> None:
    made = lab(seeds=[0, 1])
    tied = made.logits(350)
    tied[:3] = 1.0
    made.finish("base", 0)

    def heads() -> list[str]:
        return [head for block in sections(made.findings(), runs) for head in block.header]

    assert not {"ties", "accuracy as trained, %"} & set(heads())
    made.finish("base", 1, logits=tied, raw=0.02)
    assert {"ties", "accuracy as trained, %"} <= set(heads())
    none, some = csv.DictReader(runs.RUNS.csv(made.findings()).splitlines())
    assert (none["ties"], none["raw_accuracy"], none["raw_loss"], some["ties"]) == ("0", "", "", "3")
    assert float(some["raw_accuracy"]) == pytest.approx(float(some["test_accuracy"]) - 0.02)


def test_of_more_runs_than_fit_those_that_are_not_finished_are_shown(lab: MakeLab) -> None:
    made = lab(seeds=[*range(MOST_ROWS + 2)])
    made.finish("base", 0)
    made.finish("base", 1)
    blocks = sections(made.findings(), runs)
    assert len(rows(blocks)) == MOST_ROWS and {row[1] for row in rows(blocks)} == {"missing"}
    assert "2 more finished runs stand in tables/runs.csv." in text(blocks)
