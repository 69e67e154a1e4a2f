"""Runs of the tiny study, executed in this process."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data import load_data
from harness.data.arrays import Data
from harness.plan import Variant, resolve_variant
from harness.schedule import resolve_rates
from harness.store.folders import RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.study_file.config import Study
from harness.training.progress import silent
from harness.training.run import execute

TIME_COLUMNS = {"train_seconds", "eval_seconds", "images_per_second"}
# What is the same to the bit in a run that was killed and resumed, or profiled.
SAME = ("predictions.npz", "model.safetensors", "learning_rates.csv")


class Killed(BaseException):
    """As a signal ends a run."""


def data_of(study: Study) -> Data:
    config = study.data
    return load_data(config.source, Path(), train_limit=config.train_limit, test_limit=config.test_limit)


def run(study: Study, out: Path, seed: int = 0, **options: Any) -> tuple[RunRecord, RunFolder, Variant]:
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    folder = StudyFolder(out, study.name).run("base", seed)
    rates = options.pop("rates", None) or resolve_rates(study.schedule, None)
    options = {"threads": 1, "say": silent, **options}
    return execute(variant, folder, data, rates, **options), folder, variant


def killed_at(words: str) -> Callable[[str], None]:
    """Return a listener that ends its run at a line with these words."""

    def say(line: str) -> None:
        if words in line:
            raise Killed

    return say


def rows(path: Path) -> list[dict[str, str]]:
    """Return a table's rows without their times."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    assert rows(one.path / "history.csv") == rows(other.path / "history.csv")
    for name in SAME:
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()


def assert_resumes(study: Study, place: Path, moment: str, whole: RunFolder, **options: Any) -> RunFolder:
    """Kill a run at a line with these words, after a checkpoint; resumed, it ends as the whole one."""
    with pytest.raises(Killed):
        run(study, place, say=killed_at(moment), **options)
    said: list[str] = []
    record, again, _ = run(study, place, say=said.append, **options)
    assert record.status == "finished", record.error
    assert any("resuming after epoch" in line for line in said)
    assert_same_run(again, whole)
    return again
