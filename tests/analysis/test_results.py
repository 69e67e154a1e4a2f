"""What is read from run folders, and that nothing damaged is ever used silently."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.store.sealed import write_sealed
from tests.lab import MakeLab


def only(results: Results, seed: int = 0) -> Run:
    return next(run for run in results.runs if run.seed == seed)


def test_a_finished_run_has_its_history_predictions_and_rates(lab: MakeLab) -> None:
    place = lab()
    place.finish()
    run = only(place.results())
    assert run.status == "finished"
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4]
    assert run.predictions is not None and len(run.predictions.labels) == 360
    assert np.mean(run.predictions.predicted == run.predictions.labels) == run.number("accuracy")
    assert [row["iteration"] for row in run.rates] == list(range(1, 37))


def test_planned_runs_that_are_not_there_or_half_way_are_missing(lab: MakeLab) -> None:
    place = lab()
    write_sealed(place.folder.run("base", 1).record_file, place.record("base", 1))
    assert [(run.seed, run.status) for run in place.results().runs] == [
        (0, "missing"),
        (1, "missing"),
        (2, "missing"),
    ]


def test_runs_come_in_the_studys_order_and_variants_it_lacks_come_last(lab: MakeLab) -> None:
    place = lab(variants={"zeta": {}, "alpha": {}}, seeds=[10, 2])
    place.finish("base", 3)
    old = place.folder.run("aaa", 0).path
    shutil.copytree(place.folder.run("base", 3).path, old)
    cells = [(run.variant, run.seed) for run in place.results().runs]
    assert cells == [
        ("base", 2), ("base", 3), ("base", 10), ("zeta", 2), ("zeta", 10), ("alpha", 2), ("alpha", 10),
        ("aaa", 0),
    ]  # fmt: skip


def test_a_failed_run_keeps_its_cause(lab: MakeLab) -> None:
    place = lab()
    place.fail("base", 0)
    run = only(place.results())
    assert (run.status, run.error) == ("failed", "diverged: loss not finite (iteration 12)")
    place.fail("base", 0, kind="ValueError", message="ValueError: not this", iteration=None)
    assert only(place.results()).error == "ValueError: not this"


@pytest.mark.parametrize(
    "file", ["history.csv", "learning_rates.csv", "predictions.npz", "model.safetensors"]
)
def test_a_run_with_a_damaged_file_is_failed_and_says_so(lab: MakeLab, file: str) -> None:
    place = lab()
    path = place.finish() / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    run = only(place.results())
    assert run.status == "failed"
    assert run.error.startswith(f"damaged: {file} (its checksum does not match)")
    assert run.predictions is None and not run.record


def test_a_run_without_a_file_is_failed(lab: MakeLab) -> None:
    place = lab()
    (place.finish() / "predictions.npz").unlink()
    assert (
        only(place.results()).error == "damaged: predictions.npz: cannot be read: No such file or directory"
    )


def test_an_edited_record_is_not_believed(lab: MakeLab) -> None:
    place = lab()
    path = place.finish() / "run.json"
    record = json.loads(path.read_text())
    record["metrics"]["accuracy"] = 1.0
    path.write_text(json.dumps(record))
    run = only(place.results())
    assert (run.status, run.number("accuracy")) == ("failed", None)
    assert run.error.startswith("damaged: ")


def test_a_record_copied_from_another_run_is_not_believed(lab: MakeLab) -> None:
    place = lab()
    shutil.copytree(place.finish("base", 0), place.folder.run("base", 1).path)
    run = only(place.results(), 1)
    assert run.status == "failed"
    assert run.error.startswith("damaged: run.json: not the record of this run")


@pytest.mark.parametrize("key", ["metrics", "provenance", "recipe", "classes"])
def test_a_record_that_lacks_a_part_is_damaged(lab: MakeLab, key: str) -> None:
    place = lab()
    path = place.finish() / "run.json"
    record = json.loads(path.read_text())
    del record[key]
    write_sealed(path, record)
    assert only(place.results()).error.startswith("damaged: ")


def test_errors_do_not_name_the_folder_that_the_study_lies_in(lab: MakeLab) -> None:
    place = lab()
    path = place.finish()
    (path / "history.csv").write_text("damaged")
    (place.folder.run("base", 1).path).mkdir()
    (place.folder.run("base", 1).record_file).write_text("{")
    errors = [run.error for run in place.results().runs if run.error]
    assert len(errors) == 2
    assert not any(str(place.folder.path) in error for error in errors)


def test_a_range_test_whose_table_was_changed_is_not_used(lab: MakeLab) -> None:
    place = lab()
    place.sweep()
    assert len(place.results().range_tests["base"].rows) == 60
    table = place.folder.range_test_csv("base")
    table.write_text(table.read_text().replace("0.0001", "0.0002"))
    sweep = place.results().range_tests["base"]
    assert not sweep.rows and not sweep.record
    assert sweep.error == "damaged: base.csv (its checksum does not match)"
