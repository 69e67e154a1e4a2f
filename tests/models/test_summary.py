"""What a network is made of and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from harness.models import build_model
from harness.models.summary import LayerRow, count_parameters, flops_per_image, summarise

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("custom_resnet", {"width": 4}),
    (
        "custom_resnet",
        {"width": 4, "conv_bias": True, "fc_bias": True, "dropout": 0.1, "dropout_kind": "unit"},
    ),
    ("custom_resnet", {"width": 4, "head": "conv3x3", "dropout": 0.1, "residual": "inner"}),
    ("resnet18", {}),
]


def by_hand() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 5, bias=False)
    )


def test_rows_are_the_layers_in_the_order_of_execution() -> None:
    assert summarise(by_hand(), (3, 8, 8)) == [
        LayerRow("0", (4, 8, 8), 112, 448),
        LayerRow("1", (4, 8, 8), 0, 0),
        LayerRow("3", (5,), 1280, 5120),
    ]


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_the_rows_parameters_add_up_to_all_parameters(name: str, options: dict[str, Any]) -> None:
    model = build_model(name, options, 10)
    rows = summarise(model, (3, 32, 32))
    assert sum(row.parameters for row in rows) == count_parameters(model) > 0
    assert sum(row.bytes for row in rows) == 4 * count_parameters(model)
    assert rows[-1].output_shape[0] == 10


def test_frozen_parameters_are_not_counted() -> None:
    model = by_hand()
    model[0].requires_grad_(False)  # type: ignore[index]
    assert count_parameters(model) == 1280 == sum(row.parameters for row in summarise(model, (3, 8, 8)))


@pytest.mark.parametrize("training", [True, False])
def test_summarising_changes_nothing(training: bool) -> None:
    model = build_model("custom_resnet", {"width": 2, "dropout": 0.5}, 10).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(0)
    random = torch.get_rng_state()
    summarise(model, (3, 32, 32))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training == training and all(m.training == training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.equal(random, torch.get_rng_state())


def test_the_hooks_are_gone_even_when_the_image_does_not_fit() -> None:
    model = build_model("custom_resnet", {"width": 2}, 10)
    with pytest.raises(RuntimeError):
        summarise(model, (1, 32, 32))
    assert not any(m._forward_hooks for m in model.modules()) and model.training


def test_flops_are_forward_and_backward_with_two_for_a_multiply_add() -> None:
    # 3 products of one size a layer (forward, by input, by weight); the first has none by its input.
    sizes = [(3, 64, 32), (64, 128, 32), (128, 128, 16), (128, 128, 16), (128, 256, 16), (256, 512, 8),
             (512, 512, 4), (512, 512, 4)]  # fmt: skip
    products = [9 * channels_in * channels * side**2 for channels_in, channels, side in sizes]
    expected = 2 * (3 * sum(products) - products[0] + 3 * 512 * 10)
    assert expected == 2_272_032_768
    assert flops_per_image(build_model("custom_resnet", {}, 10), (3, 32, 32)) == expected


def test_flops_of_a_1x1_map_can_be_counted() -> None:
    assert flops_per_image(build_model("custom_resnet", {"width": 2}, 10), (3, 8, 8)) > 0
