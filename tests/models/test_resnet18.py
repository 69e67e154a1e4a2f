"""A second network, from torchvision, proves the registry."""

from __future__ import annotations

import torch

from harness.models import build_model
from harness.models.summary import count_parameters


def test_it_is_the_resnet18_of_small_images() -> None:
    model = build_model("resnet18", {}, 10)
    assert count_parameters(model) == 11_173_962
    maps = []
    for stage in ("layer1", "layer4"):
        model.get_submodule(stage).register_forward_hook(lambda _, __, output: maps.append(output.shape))
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert maps == [(2, 64, 32, 32), (2, 512, 4, 4)]
