"""Networks by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from harness.errors import StudyError
from harness.models import MODELS, build_model, model_options


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_makes_logits_of_images_and_learns(name: str) -> None:
    model = build_model(name, {"width": 2} if name == "custom_resnet" else {}, 7)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7) and logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["custom_resnett", "CustomResNet", "", "harness.models.custom_resnet"])
def test_an_unknown_network_is_refused_with_the_nearest_name(name: str) -> None:
    known = f"^tiny: model.name: no model named '{name}'.*(custom_resnet|resnet18)"
    with pytest.raises(StudyError, match=known):
        model_options(name, {}, "tiny")


def test_an_unknown_option_is_refused_with_its_path() -> None:
    with pytest.raises(StudyError, match="^tiny: model.width: unknown key"):
        model_options("resnet18", {"width": 3}, "tiny")


def test_naming_networks_does_not_load_torch() -> None:
    code = "import sys, harness.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
