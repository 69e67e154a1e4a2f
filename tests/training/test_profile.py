"""A profiled run leaves where its time went, and is otherwise the same run."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store.folders import RunFolder
from harness.study_file.config import Study
from harness.training.profile import PARTS, matrix_rate
from tests.training.tiny_runs import assert_same_run, run


def profiled(study: Study, out: Path) -> tuple[RunFolder, list[str]]:
    said: list[str] = []
    record, folder, _ = run(study, out, say=said.append, profile=True)
    assert record.status == "finished", record.error
    return folder, said


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_where_the_time_went_adds_up(tiny: Callable[..., Study], tmp_path: Path) -> None:
    folder, said = profiled(tiny(), tmp_path / "out")
    parts = {row["part"]: row for row in table(folder.path / "profile/time.csv")}
    assert set(parts) == {*PARTS.values(), "other"} - {"average of the weights"}  # the study has none
    assert parts["training steps"]["calls"] == parts["batches"]["calls"] == "15"  # 160 images, 32 a batch
    assert parts["evaluation"]["calls"] == "3"
    assert sum(float(row["share"]) for row in parts.values()) == pytest.approx(1)
    history = table(folder.path / "history.csv")
    measured = sum(float(row["train_seconds"]) + float(row["eval_seconds"]) for row in history)
    named = sum(float(parts[part]["seconds"]) for part in ("training steps", "batches", "evaluation"))
    assert 0 < named < 1.1 * measured  # the rest is the recording of the trace
    summary = json.loads((folder.path / "profile/profile.json").read_text())
    assert summary["share_of_matrix_rate"] == pytest.approx(
        summary["flops_per_second"] / summary["matrix_flops_per_second"]
    )
    assert f"{summary['images_per_second']:.0f} images/s" in said[-1]


def test_operators_and_trace_are_those_of_three_steps(tiny: Callable[..., Study], tmp_path: Path) -> None:
    folder, _ = profiled(tiny(), tmp_path / "out")
    operators = table(folder.path / "profile/operators.csv")
    convolutions = next(row for row in operators if row["operator"] == "aten::convolution_backward")
    assert int(convolutions["calls"]) == 3 * 8
    seconds = [float(row["seconds"]) for row in operators]
    assert seconds == sorted(seconds, reverse=True)
    with gzip.open(folder.path / "profile/trace.json.gz") as file:
        assert json.load(file)["traceEvents"]


def test_a_profiled_run_is_the_same_run(tiny: Callable[..., Study], tmp_path: Path) -> None:
    _, plain, _ = run(tiny(), tmp_path / "plain")
    folder, _ = profiled(tiny(), tmp_path / "profiled")
    assert not (plain.path / "profile").exists()
    assert_same_run(plain, folder)
    assert folder.verify()


def test_a_run_too_short_to_record_has_its_times(tiny: Callable[..., Study], tmp_path: Path) -> None:
    folder, _ = profiled(tiny(("data.batch_size", 160)), tmp_path / "out")
    names = {path.name for path in (folder.path / "profile").iterdir()}
    assert {"profile.json", "time.csv"} <= names


def test_the_matrix_rate_is_that_of_a_matrix_product() -> None:
    assert 1e9 < matrix_rate("cpu", "float32", seconds=0.1) < 1e15
