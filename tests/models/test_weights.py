"""Weights files: they load back alone, their bytes do not vary, and damage is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import RunError
from harness.models import build_model
from harness.models.weights import load_weights, weights_bytes

METADATA: dict[str, Any] = {
    "model": {"name": "custom_resnet", "width": 2, "residual": "inner"},
    "classes": ["cat", "dog", "früh"],
    "image_shape": [3, 16, 16],
}


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    built = build_model("custom_resnet", {"width": 2, "residual": "inner"}, 3)
    built(torch.randn(4, 3, 16, 16))  # running statistics that are not the initial ones
    return built


def test_a_file_gives_back_the_network_its_statistics_and_its_metadata(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    file.write_bytes(weights_bytes(model, METADATA))
    loaded, metadata = load_weights(file)
    assert metadata == METADATA
    assert not loaded.training
    images = torch.randn(2, 3, 16, 16)
    kept = model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in loaded.state_dict().items())
    # not to the bit: the loaded weights are not in channels_last memory, and convolve in another order
    torch.testing.assert_close(loaded(images), model.eval()(images))


def test_loading_draws_nothing_from_the_global_generator(model: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(weights_bytes(model, METADATA))
    before = torch.get_rng_state()
    load_weights(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_process_writes_the_same_bytes() -> None:
    code = (
        "import hashlib, torch; from harness.models.weights import weights_bytes; "
        "model = torch.nn.Linear(2, 2); torch.nn.init.ones_(model.weight); torch.nn.init.ones_(model.bias); "
        "keys = {key: key for key in ('classes', 'image_shape', 'a', 'b', 'c')}; "
        "keys['model'] = {'name': 'resnet18'}; "
        "print(hashlib.sha256(weights_bytes(model, keys)).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": {"name": "no_such"}}, "no model named"),
        ({"model": {"name": "custom_resnet", "width": 3}}, "does not fit its network"),
        ({"classes": 3}, "its metadata is not ours"),
        ({"image_shape": [3, 16]}, "its metadata is not ours"),
    ],
)
def test_metadata_that_does_not_fit_is_one_line(
    model: torch.nn.Module, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(weights_bytes(model, {**METADATA, **change}))
    with pytest.raises(RunError, match=expected) as caught:
        load_weights(file)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_file_is_one_line(model: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(RunError, match="not there"):
        load_weights(file)
    file.write_bytes(weights_bytes(model, METADATA)[:-7])
    with pytest.raises(RunError, match="cannot be read"):
        load_weights(file)
