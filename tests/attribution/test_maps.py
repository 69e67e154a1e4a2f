"""Grad-CAM: the published formula, and a model that is left as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.attribution.maps import BATCH, blocks, coarse_maps, enlarge, layer_maps, stages
from harness.errors import RunError
from harness.models import build_model

LAYERS = ["prep", "layer1", "res1", "layer2", "layer3", "res2"]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    built = build_model("custom_resnet", {"width": 4, "dropout": 0.2}, 10)
    built(torch.randn(8, 3, 32, 32))
    return built.train()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_map_follows_the_paper(model: Any, images: Tensor) -> None:
    targets = [3, 1, 4, 1, 5]
    found = layer_maps(model, ["layer2"], images, targets)[0]
    model.eval()
    kept: list[Tensor] = []
    hook = model.layer2.register_forward_hook(lambda _, __, output: kept.append(output))
    scores = model(images).gather(1, torch.tensor(targets)[:, None]).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(scores, kept[0])
    coarse = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
    fine = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")[:, 0].detach()
    for map_, expected in zip(found, fine, strict=True):
        peak = float(expected.max())
        np.testing.assert_allclose(map_, expected / peak if peak else expected, atol=1e-5)
    assert found.max() == 1.0


def test_other_classes_have_other_maps(model: nn.Module, images: Tensor) -> None:
    first, second = (layer_maps(model, ["res2"], images, [target] * 5) for target in (0, 1))
    assert not np.allclose(first, second)


def test_every_layer_gives_a_map_of_the_images_size(model: nn.Module, images: Tensor) -> None:
    found = layer_maps(model, LAYERS, images, [0] * 5)
    assert found.shape == (6, 5, 32, 32) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_a_map_without_evidence_is_zeros_and_not_nan(model: Any, images: Tensor) -> None:
    with torch.no_grad():
        model.head[1].weight.zero_()
    assert (layer_maps(model, ["prep", "res2"], images, [0] * 5) == 0).all()


@pytest.mark.parametrize("function", [layer_maps, coarse_maps])
def test_the_model_is_left_as_it_was(model: Any, images: Tensor, function: Callable[..., Any]) -> None:
    model.layer1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with torch.inference_mode():
        function(model, LAYERS, images, [0] * 5)
        stages(model, (3, 32, 32))
        blocks(model, (3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert not images.requires_grad


def test_it_works_under_inference_mode(model: nn.Module, images: Tensor) -> None:
    expected = layer_maps(model, ["res1"], images, [2] * 5)
    with torch.inference_mode():
        np.testing.assert_array_equal(layer_maps(model, ["res1"], images, [2] * 5), expected)


@pytest.mark.parametrize("layer", ["no_such", ""])
def test_an_unknown_layer_names_the_stages(model: nn.Module, images: Tensor, layer: str) -> None:
    with pytest.raises(RunError, match="no layer .* its stages are prep, layer1"):
        layer_maps(model, [layer], images, [0] * 5)


@pytest.mark.parametrize(
    ("function", "layer"),
    [(layer_maps, "head"), *((coarse_maps, layer) for layer in ("no_such", "head", "unit_dropout.no"))],
)
def test_a_layer_that_is_no_map_is_one_line(
    model: nn.Module, images: Tensor, function: Callable[..., Any], layer: str
) -> None:
    with pytest.raises(RunError, match=f"Grad-CAM.* layer '{layer}'") as caught:
        function(model, ["prep", layer], images, [0] * 5)
    assert "\n" not in str(caught.value)


def test_stages_are_the_named_ones_that_give_maps(model: nn.Module) -> None:
    assert stages(model, (3, 32, 32)) == LAYERS


@pytest.mark.parametrize("name", ["custom_resnet", "resnet18"])
def test_maps_of_one_pass_are_those_of_captum(name: str) -> None:
    torch.manual_seed(3)
    network = build_model(name, {"width": 4} if name == "custom_resnet" else {}, 10)
    images = torch.randn(3, 3, 32, 32)
    layers = stages(network, (3, 32, 32))
    for layer, coarse in zip(layers, coarse_maps(network, layers, images, [7, 0, 7]), strict=True):
        expected = layer_maps(network, [layer], images, [7, 0, 7])[0]
        fine = enlarge(coarse, 32, 32)
        highest = fine.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(fine / np.where(highest > 0, highest, 1), expected, atol=1e-6)


def test_more_images_than_a_batch_have_the_same_maps(model: nn.Module) -> None:
    images = torch.randn(BATCH + 2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    (found,) = coarse_maps(model, ["res1"], images, [3] * len(images))
    (last,) = coarse_maps(model, ["res1"], images[-2:], [3, 3])
    assert found.shape == (BATCH + 2, 16, 16)
    np.testing.assert_allclose(found[-2:], last, atol=1e-6)


class Aside(nn.Module):
    """A network with a layer that its logits do not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.aside = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Any:
        self.aside(images)
        return self.used(images).mean((2, 3))


def test_a_layer_that_the_logits_do_not_depend_on_is_one_line(images: Tensor) -> None:
    with pytest.raises(RunError, match="Grad-CAM: ") as caught:
        coarse_maps(Aside(), ["used", "aside"], images, [0] * 5)
    assert "\n" not in str(caught.value)


def test_blocks_come_in_the_order_of_execution_with_the_head(model: nn.Module) -> None:
    assert blocks(model, (3, 32, 32)) == [*LAYERS, "head"]
    expected = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert blocks(build_model("resnet18", {}, 2), (3, 32, 32)) == expected


def test_25_images_on_six_layers_take_seconds() -> None:
    started = time.process_time()
    layer_maps(build_model("custom_resnet", {}, 10), LAYERS, torch.zeros(25, 3, 32, 32), [0] * 25)
    assert time.process_time() - started < 15
