"""Measures of networks' maps: equal to what Captum's maps, scipy's ranks and plain numpy give."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr
from torch import nn

from harness.attribution.maps import coarse_maps
from harness.attribution.measures import Errors, NetworkMeasures, agreement, measure_network
from harness.models import build_model
from harness.seeding import global_seed

LAYERS = ["layer1", "res1", "res2"]
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TARGETS, PREDICTED = [3, 1, 0, 2], [1, 0, 2, 3]


@cache
def network(seed: int) -> nn.Module:
    with global_seed(seed, "test"):
        return build_model("custom_resnet", {"width": 4}, 4).eval()


@pytest.fixture(scope="module")
def measured() -> NetworkMeasures:
    errors = Errors(IMAGES, TARGETS, PREDICTED)
    return measure_network(network(99), network, LAYERS, IMAGES, TARGETS, errors)


def captum_maps(model: nn.Module, layer: str, targets: list[int]) -> np.ndarray:
    cam = LayerGradCam(model, model.get_submodule(layer))
    found = cam.attribute(IMAGES, torch.as_tensor(targets), relu_attributions=True)
    return np.asarray(found[:, 0].detach())


def correlations(first: np.ndarray, second: np.ndarray) -> list[float]:
    """NaN where one is constant, without scipy's warning of it."""
    return [
        float(spearmanr(one.ravel(), two.ravel()).statistic) if np.ptp(one) and np.ptp(two) else np.nan
        for one, two in zip(first, second, strict=True)
    ]


def test_agreement_is_that_of_captums_maps_and_scipys_ranks() -> None:
    maps = [coarse_maps(network(seed), LAYERS, IMAGES, TARGETS) for seed in (5, 6, 7)]
    same, other = agreement(maps)
    assert same.shape == (3, 3, 4) and other.shape == (3, 3)
    for at, layer in enumerate(LAYERS):
        first, last = (captum_maps(network(seed), layer, TARGETS) for seed in (5, 7))
        np.testing.assert_allclose(same[1, at], correlations(first, last), atol=1e-3)


def test_predicted_and_true_class_are_compared(measured: NetworkMeasures) -> None:
    maps = [captum_maps(network(99), "res2", classes) for classes in (PREDICTED, TARGETS)]
    np.testing.assert_allclose(measured.predicted[2], correlations(*maps), atol=1e-3)


def test_the_control_is_one_random_map_for_each_resolution(measured: NetworkMeasures) -> None:
    for own, control in ((0, 2), (1, 3)):
        np.testing.assert_array_equal(measured.curves[control, 0], measured.curves[control, 1])
        assert not np.allclose(measured.curves[control, 0], measured.curves[control, 2])
        assert not np.allclose(measured.curves[own], measured.curves[control])


def test_without_an_error_nothing_is_predicted_wrong() -> None:
    found = measure_network(network(99), network, ["res2"], IMAGES[:1], TARGETS[:1], None)
    assert found.predicted.shape == (1, 0)


def test_maps_of_zeros_are_counted_as_empty(measured: NetworkMeasures) -> None:
    for at, layer in enumerate(LAYERS):
        maps = captum_maps(network(99), layer, TARGETS)
        assert measured.empty[at].tolist() == [not one.any() for one in maps]
