"""Metrics of runs on disk: recorded, computed from the predictions, under old names, by a user's code."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.measures import number_of
from harness.errors import StudyError
from harness.imports import ALLOWED, FOLDERS, allow
from harness.metrics import METRICS
from harness.report.topics import csv_tables
from harness.store.run_files import HISTORY, OLD_HISTORY, OLD_METRICS
from harness.store.sealed import read_sealed, write_sealed
from tests.lab import Lab, MakeLab

SEEDS = (0, 1, 2)


def as_version_2(place: Lab) -> None:
    """Give the runs the names that version 0.2 had: of history.csv and run.json."""
    from harness.store.atomic import sha256_file

    for run in place.folder.runs():
        file = run.path / "history.csv"
        with file.open(newline="") as text:
            rows = list(csv.DictReader(text))
        names = [OLD_HISTORY.get(name, name) for name in HISTORY]
        with file.open("w", newline="") as text:
            writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        record: dict[str, Any] = read_sealed(run.record_file) or {}
        for name in (*OLD_METRICS, *METRICS):
            record["metrics"].pop(name, None)
        assert "test_accuracy" in record["metrics"]
        record["files"]["history.csv"] = sha256_file(file)
        record.pop("sha256", None)
        write_sealed(run.record_file, record)


def made(lab: MakeLab, **changes: Any) -> Lab:
    place = lab(variants={"other": {"optimizer.momentum": 0.1}}, **changes)
    for seed in SEEDS:
        for variant, right in (("base", 300), ("other", 310)):
            place.finish(variant, seed, logits=place.logits(right + 5 * seed))
    return place


def test_runs_under_the_old_names_give_the_same_tables(lab: MakeLab) -> None:
    place = made(lab)
    before = csv_tables(place.findings())
    as_version_2(place)
    assert csv_tables(place.findings()) == before
    (run, *_) = place.results().of("base")
    assert run.history[0]["eval_accuracy"] is not None and run.number("accuracy") == 300 / 360


def test_what_a_record_lacks_is_computed_from_the_predictions(lab: MakeLab) -> None:
    place = made(lab)
    run = place.results().of("base")[0]
    assert run.record is not None and run.record.number("macro_f1") is None
    assert run.number("macro_f1") == pytest.approx(300 / 360, abs=0.01)
    for name, metric in METRICS.items():
        assert number_of(run.folder, run.record, metric) == run.number(name)


def test_what_a_record_has_is_not_computed_again(lab: MakeLab) -> None:
    place = made(lab)
    file = place.folder.run("base", 0).record_file
    record = read_sealed(file) or {}
    record["metrics"]["macro_f1"] = 0.123
    write_sealed(file, {name: value for name, value in record.items() if name != "sha256"})
    run = place.results().of("base")[0]
    assert run.number("macro_f1") == 0.123 and "macro_f1" not in run.computed


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(ALLOWED, "")
    monkeypatch.setenv(FOLDERS, "")
    (tmp_path / "measured_here.py").write_text(
        "def wrong(logits, labels):\n    return int((logits.argmax(1) != labels).sum())\n\n\n"
        "wrong.higher_is_better = False\n\n\n"
        "def broken(logits, labels):\n    raise ValueError('no such thing')\n"
    )
    allow(["measured_here"], [tmp_path])
    return "measured_here"


def test_a_metric_that_was_added_later_is_computed_and_can_be_the_target(lab: MakeLab, own: str) -> None:
    place = made(lab).under(target={"metric": f"{own}:wrong", "value": 55}, metrics=[f"{own}:wrong"])
    findings = place.findings()
    base, other = findings.summaries
    assert base.scores == (60, 55, 50) and other.scores == (50, 45, 40)
    assert (base.reached, other.reached) == (2, 3)
    assert findings.verdict.startswith(
        "Target of wrong 55 or less reached by every run of other, by 2 of 3 runs of base"
    )
    (row,) = (one for one in csv.DictReader(csv_tables(findings)["comparisons"].splitlines()))
    assert (float(row["difference"]), row["metric"]) == (-10, f"{own}:wrong")


def test_a_recorded_number_holds_as_long_as_its_code_does(lab: MakeLab, own: str) -> None:
    from harness.imports import source_digest

    place = made(lab).under(metrics=[f"{own}:wrong"])
    file = place.folder.run("base", 0).record_file
    for digest, expected in ((source_digest(f"{own}:wrong"), 7.0), ("of other code", 60.0)):
        record = {name: value for name, value in (read_sealed(file) or {}).items() if name != "sha256"}
        record["metrics"][f"{own}:wrong"] = 7.0
        record["provenance"]["metrics"] = {f"{own}:wrong": digest}
        write_sealed(file, record)
        assert place.results().of("base")[0].number(f"{own}:wrong") == expected


def test_one_that_fails_is_a_warning_and_its_numbers_are_missing(lab: MakeLab, own: str) -> None:
    findings = made(lab).under(metrics=[f"{own}:broken"]).findings()
    assert f"base: metric {own}:broken: ValueError: no such thing." in findings.warnings
    assert findings.summaries[0].metrics[f"{own}:broken"] is None
    target = {"metric": f"{own}:broken", "value": 1}
    broken = made(lab, name="broken").under(target=target).findings()
    assert not broken.met and "No verdict" in broken.verdict
    assert broken.compared == []


def test_without_allow_its_study_has_no_report(
    lab: MakeLab, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = made(lab).under(metrics=[f"{own}:wrong"])
    monkeypatch.setenv(ALLOWED, "")
    with pytest.raises(StudyError, match="add --allow measured_here"):
        place.results()


def test_a_damaged_prediction_is_still_a_failed_run(lab: MakeLab) -> None:
    place = made(lab)
    np.savez(place.folder.run("base", 0).path / "predictions.npz", logits=np.zeros(3), labels=np.zeros(3))
    assert place.results().of("base")[0].error.startswith("damaged: ")
    assert json.loads(place.folder.run("base", 1).record_file.read_text())["metrics"]["accuracy"] == 305 / 360
