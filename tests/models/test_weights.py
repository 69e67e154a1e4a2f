"""Weights files: they load back alone, their bytes do not vary, and damage is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from harness.errors import RunError
from harness.models.network import NetworkConfig
from harness.models.weights import load_weights, weights_bytes

NETWORK = NetworkConfig(
    "custom_resnet", {"width": 2, "residual": "inner"}, ("cat", "dog", "früh"), (3, 16, 16)
)


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    built = NETWORK.build()
    built(torch.randn(4, 3, 16, 16))  # running statistics that are not the initial ones
    return built


def test_a_file_gives_back_the_network_its_statistics_and_its_configuration(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    file.write_bytes(weights_bytes(model, NETWORK))
    before = torch.get_rng_state()
    loaded, network = load_weights(file)
    assert torch.equal(torch.get_rng_state(), before), "loading draws nothing"
    assert network == NETWORK and not loaded.training
    images = torch.randn(2, 3, 16, 16)
    kept = model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in loaded.state_dict().items())
    # not to the bit: the loaded weights are not in channels_last memory, and convolve in another order
    torch.testing.assert_close(loaded(images), model.eval()(images))


def test_the_metadata_names_the_network_in_json(model: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(model, NETWORK))
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
    assert metadata == {
        "model": {"name": "custom_resnet", "width": 2, "residual": "inner"},
        "classes": ["cat", "dog", "früh"],
        "image_shape": [3, 16, 16],
    }


def test_every_process_writes_the_same_bytes() -> None:
    code = (
        "import hashlib, torch; from harness.models.weights import weights_bytes; "
        "from harness.models.network import NetworkConfig; "
        "model = torch.nn.Linear(2, 2); torch.nn.init.ones_(model.weight); torch.nn.init.ones_(model.bias); "
        "network = NetworkConfig('resnet18', {}, ('a', 'b'), (3, 8, 8)); "
        "print(hashlib.sha256(weights_bytes(model, network)).hexdigest())"
    )
    command = [sys.executable, "-c", code]
    assert len({subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)}) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "no_such"}, "no model named"),
        ({"options": {"width": 3}}, "does not fit its network"),
        ({"classes": ("cat", "dog")}, "does not fit its network"),
        ({"image_shape": (3, 16)}, "its metadata is not ours"),
    ],
)
def test_metadata_that_does_not_fit_is_one_line(
    model: torch.nn.Module, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(weights_bytes(model, replace(NETWORK, **change)))
    with pytest.raises(RunError, match=expected) as caught:
        load_weights(file)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_file_is_one_line(model: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(RunError, match="not there"):
        load_weights(file)
    file.write_bytes(weights_bytes(model, NETWORK)[:-7])
    with pytest.raises(RunError, match="cannot be read"):
        load_weights(file)
