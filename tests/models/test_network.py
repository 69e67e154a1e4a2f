"""What a network is built from: read and written as JSON, built, measured without its weights."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from harness.errors import StudyError
from harness.models.network import NetworkConfig
from harness.models.summary import count_parameters

WIDE = NetworkConfig("custom_resnet", {"width": 4, "residual": "inner"}, ("cat", "dog"), (3, 16, 16))


def test_it_is_the_same_after_json() -> None:
    assert NetworkConfig.from_json(json.loads(json.dumps(WIDE.to_json()))) == WIDE
    assert NetworkConfig.of(WIDE.model, ["cat", "dog"], [3, 16, 16]) == WIDE
    for wrong in ({}, {"classes": 3}, {"image_shape": [3, 16]}, {"model": {"width": 4}}, {"model": 3}):
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            NetworkConfig.from_json({**WIDE.to_json(), **wrong} if wrong else {})


def test_its_networks_tell_as_many_classes_as_it_has() -> None:
    assert WIDE.build()(torch.zeros(2, 3, 16, 16)).shape == (2, 2)


def test_it_is_measured_without_weights_or_else_with_weights_that_draw_nothing() -> None:
    def looks_at_values(model: nn.Module) -> float:
        return next(model.parameters()).sum().item()

    before = torch.get_rng_state()
    devices = WIDE.measure(lambda model: {each.device.type for each in model.parameters()})
    assert devices == {"meta"} and WIDE.measure(count_parameters) == count_parameters(WIDE.build().cpu())
    torch.set_rng_state(before)
    assert isinstance(WIDE.measure(looks_at_values), float)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(StudyError, match="no model named 'none'"):
        NetworkConfig("none", {}, ("a", "b"), ()).measure(count_parameters)
