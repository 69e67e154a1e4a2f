"""Event files read back by TensorBoard itself."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.slow
def test_runs_epochs_and_seeds_are_what_the_tables_say(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    done = command(tiny_file, "--out", "out", "--tracker", "tensorboard", "--set", "data.batch_size=8")
    assert done.returncode == 0, done.stderr
    study = tmp_path / "out" / "tiny"
    history = pd.read_csv(study / "tables" / "history.csv")
    for seed, rows in history.groupby("seed"):
        run = events(study / "tensorboard" / "base" / f"seed-{seed}")
        for name in ("train_loss", "test_accuracy"):
            shown = [(event.step, event.value) for event in run.Scalars(f"epoch/{name}")]
            assert shown == [
                (epoch, pytest.approx(value)) for epoch, value in zip(rows.epoch, rows[name], strict=True)
            ]
        assert [event.step for event in run.Scalars("step/loss")] == [20, 40, 60]
        record = json.loads((study / "runs" / "base" / f"seed-{seed}" / "run.json").read_text())
        assert run.Scalars("run/test_loss")[0].value == pytest.approx(record["metrics"]["test_loss"])
        assert run.Tags()["tensors"] == ["recipe/text_summary"]
    summary = pd.read_csv(study / "tables" / "summary.csv").loc[0]
    seeds = events(study / "tensorboard" / "base")
    assert seeds.Scalars("seeds/test_accuracy_mean")[0].value == pytest.approx(summary.test_accuracy_mean)
    assert seeds.Scalars("seeds/test_accuracy_std")[0].value == pytest.approx(summary.test_accuracy_std)
    assert "accuracy" in events(study / "tensorboard").Tags()["images"]
