"""What is read from run folders, and that nothing damaged is ever used silently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.results import Results, read_results
from harness.analysis.runs import Run
from harness.store.sealed import write_sealed

Lab = Callable[..., Any]


def read(lab: Any) -> Results:
    return read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))


def only(results: Results, seed: int = 0) -> Run:
    return next(run for run in results.runs if run.seed == seed)


def test_a_finished_run_has_its_history_predictions_and_rates(lab: Lab) -> None:
    place = lab()
    place.finish()
    run = only(read(place))
    assert run.status == "finished"
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4]
    assert run.predictions is not None and len(run.predictions.labels) == 360
    assert np.mean(run.predictions.predicted == run.predictions.labels) == run.number("test_accuracy")
    assert [row["iteration"] for row in run.rates] == list(range(1, 37))


def test_planned_runs_that_are_not_there_or_half_way_are_missing(lab: Lab) -> None:
    place = lab()
    write_sealed(place.folder.run("base", 1).record_file, place.record("base", 1))
    assert [(run.seed, run.status) for run in read(place).runs] == [
        (0, "missing"),
        (1, "missing"),
        (2, "missing"),
    ]


def test_runs_come_in_the_studys_order_and_variants_it_lacks_come_last(lab: Lab) -> None:
    place = lab(variants={"zeta": {}, "alpha": {}}, seeds=[10, 2])
    place.finish("base", 3)
    old = place.folder.run("aaa", 0).path
    shutil.copytree(place.folder.run("base", 3).path, old)
    cells = [(run.variant, run.seed) for run in read(place).runs]
    assert cells == [
        ("base", 2), ("base", 3), ("base", 10), ("zeta", 2), ("zeta", 10), ("alpha", 2), ("alpha", 10),
        ("aaa", 0),
    ]  # fmt: skip


def test_a_failed_run_keeps_its_cause(lab: Lab) -> None:
    place = lab()
    place.fail("base", 0)
    run = only(read(place))
    assert (run.status, run.error) == ("failed", "diverged: loss not finite (iteration 12)")
    place.fail("base", 0, kind="ValueError", message="ValueError: not this", iteration=None)
    assert only(read(place)).error == "ValueError: not this"


@pytest.mark.parametrize(
    "file", ["history.csv", "learning_rates.csv", "predictions.npz", "model.safetensors"]
)
def test_a_run_with_a_damaged_file_is_failed_and_says_so(lab: Lab, file: str) -> None:
    place = lab()
    path = place.finish() / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    run = only(read(place))
    assert run.status == "failed"
    assert run.error.startswith(f"damaged: {file} (its checksum does not match)")
    assert run.predictions is None and not run.record


def test_a_run_without_a_file_is_failed(lab: Lab) -> None:
    place = lab()
    (place.finish() / "predictions.npz").unlink()
    assert only(read(place)).error == "damaged: predictions.npz: cannot be read: No such file or directory"


def test_an_edited_record_is_not_believed(lab: Lab) -> None:
    place = lab()
    path = place.finish() / "run.json"
    record = json.loads(path.read_text())
    record["metrics"]["test_accuracy"] = 1.0
    path.write_text(json.dumps(record))
    run = only(read(place))
    assert (run.status, run.number("test_accuracy")) == ("failed", None)
    assert run.error.startswith("damaged: ")


def test_a_record_copied_from_another_run_is_not_believed(lab: Lab) -> None:
    place = lab()
    shutil.copytree(place.finish("base", 0), place.folder.run("base", 1).path)
    run = only(read(place), 1)
    assert run.status == "failed"
    assert run.error.startswith("damaged: run.json: not the record of this run")


@pytest.mark.parametrize("key", ["metrics", "provenance", "recipe", "classes"])
def test_a_record_that_lacks_a_part_is_damaged(lab: Lab, key: str) -> None:
    place = lab()
    path = place.finish() / "run.json"
    record = json.loads(path.read_text())
    del record[key]
    write_sealed(path, record)
    assert only(read(place)).error.startswith("damaged: ")


def test_errors_do_not_name_the_folder_that_the_study_lies_in(lab: Lab) -> None:
    place = lab()
    path = place.finish()
    (path / "history.csv").write_text("damaged")
    (place.folder.run("base", 1).path).mkdir()
    (place.folder.run("base", 1).record_file).write_text("{")
    errors = [run.error for run in read(place).runs if run.error]
    assert len(errors) == 2
    assert not any(str(place.folder.path) in error for error in errors)


def test_a_range_test_whose_table_was_changed_is_not_used(lab: Lab) -> None:
    place = lab()
    place.sweep()
    assert len(read(place).sweeps["base"].rows) == 60
    table = place.folder.range_test_csv("base")
    table.write_text(table.read_text().replace("0.0001", "0.0002"))
    sweep = read(place).sweeps["base"]
    assert not sweep.rows and not sweep.record
    assert sweep.error == "damaged: base.csv (its checksum does not match)"
