"""Schedules, parameter groups, optimizers and losses in whole runs: killed and resumed, with a found rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from harness.data.arrays import Data
from harness.imports import ALLOWED
from harness.models.weights import load_weights
from harness.plan import resolve_variant
from harness.store.folders import StudyFolder
from harness.study_file.load import resolve
from harness.training.progress import silent
from harness.training.range_test import ensure_range_test
from tests.conftest import TINY
from tests.training.tiny_runs import assert_resumes, data_of, rows, run

GROUPS = [
    {"match": "prep.0.weight", "frozen": True},
    {"match": "*.bias", "lr_factor": 64.0, "weight_decay": 0.0},
    {"type": "*Norm*", "weight_decay": 0.0},
]
SGD = {"name": "SGD", "momentum": 0.9, "weight_decay": 5e-4}
KINDS: dict[str, dict[str, Any]] = {
    "piecewise and groups": {
        "schedule": {"kind": "piecewise", "epochs": 3, "points": [[0, 0], [1, 0.02], [2, 0.002]]},
        "optimizer": {**SGD, "groups": GROUPS},
    },
    "cosine and weighted classes": {
        "schedule": {"kind": "cosine", "epochs": 3, "lr_max": 0.02, "warmup_epochs": 1},
        "loss": {"class_weights": "balanced"},
    },
    "step and a margin": {
        "schedule": {"kind": "step", "epochs": 3, "lr_max": 0.02, "every": 1},
        "loss": {"name": "MultiMarginLoss"},
    },
    "own": {
        "schedule": {
            "kind": "torch.optim.lr_scheduler:ExponentialLR", "epochs": 3, "lr_max": 0.02,
            "options": {"gamma": 0.9},
        },
        "optimizer": {"name": "tests.test_own_optimizers:Noisy"},
        "loss": {"name": "tests.test_losses:focal", "options": {"gamma": 1.0}},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "tests")


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS.keys())
def test_a_run_killed_after_an_epoch_goes_on_to_the_same_bytes(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    study = resolve({**TINY, **changes})
    _, whole, _ = run(study, tmp_path / "whole")
    assert_resumes(study, tmp_path / "killed", "epoch 3 of 3", whole)


def test_a_frozen_parameter_stays_as_it_was_initialised_and_rates_are_before_any_factor(
    tmp_path: Path,
) -> None:
    study = resolve({**TINY, **KINDS["piecewise and groups"]})
    _, folder, variant = run(study, tmp_path)
    model, _ = load_weights(folder.weights_file)
    from harness.seeding import global_seed

    with global_seed(0, "initialisation"):
        new = variant.new_network(data_of(study))
    equal = {
        name: torch.equal(value, dict(new.named_parameters())[name])
        for name, value in model.named_parameters()
    }
    assert [name for name, unchanged in equal.items() if unchanged] == ["prep.0.weight"]
    used = [float(row["lr"]) for row in rows(folder.path / "learning_rates.csv")]
    assert used[0] == 0.0 and used[5] == 0.02 and used[10:] == [0.002] * 5
    assert variant.outline.groups[1] == "prep.0.weight: 54 parameters, frozen"


def test_a_range_test_finds_the_rate_of_which_the_points_are_factors(tmp_path: Path) -> None:
    schedule = {"kind": "piecewise", "epochs": 2, "points": [[0, 0], [1, 1], [2, 0.1]], "lr_max": "find"}
    changes = {"optimizer": {**SGD, "groups": GROUPS}, "range_test": {"iterations": 20, "repeats": 1}}
    study = resolve({**TINY, **changes, "schedule": schedule})
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")

    def load_data() -> Data:
        return data

    found = ensure_range_test(variant, StudyFolder(tmp_path, "tiny"), load_data, threads=1, say=silent)
    assert found is not None
    from harness.schedule import resolve_rates

    _, folder, _ = run(study, tmp_path, rates=resolve_rates(study.schedule, found))
    used = [float(row["lr"]) for row in rows(folder.path / "learning_rates.csv")]
    assert used[5] == found.lr_max and used[0] == 0.0 and used[-1] == pytest.approx(0.1 * found.lr_max)
    sweep = rows(StudyFolder(tmp_path, "tiny").range_test_csv("base"))
    assert float(sweep[0]["lr"]) == 1e-4 and float(sweep[-1]["lr"]) == pytest.approx(1.0)


def test_an_evaluation_has_the_plain_cross_entropy_whatever_was_trained(tmp_path: Path) -> None:
    import numpy as np

    record, folder, _ = run(resolve({**TINY, **KINDS["own"]}), tmp_path)
    saved = np.load(folder.path / "predictions.npz")
    loss = F.cross_entropy(torch.from_numpy(saved["logits"]).double(), torch.from_numpy(saved["labels"]))
    assert record.metrics["loss"] == pytest.approx(float(loss))
