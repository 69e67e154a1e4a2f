"""The model-randomisation check: what it catches, what it lets pass, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from harness.attribution.maps import coarse_maps
from harness.attribution.sanity import (
    DRAWS,
    ENOUGH,
    MOST,
    Sanity,
    judge,
    judge_gain,
    own_and_other,
    randomise,
)
from harness.models import build_model
from harness.seeding import global_seed
from harness.statistics.rank_correlation import mean_known

IMAGES = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = [number % 2 for number in range(12)]
LAYERS = ["layer1", "res1", "res2"]
Checked = tuple[list[np.ndarray], Sanity]


class FixedEdges(nn.Module):
    """An edge detector that is the same in every network, and a classifier that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = Sobel()
        self.learnt = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.learnt(self.edges(images)).mean((2, 3)))


class Sobel(nn.Module):
    """How steep the brightness is at each pixel: (N, 3, H, W) -> (N, 1, H, W), without a weight."""

    def forward(self, images: Tensor) -> Any:
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        kernels = torch.stack([across, across.T])[:, None]
        steps = F.conv2d(images.mean(1, keepdim=True), kernels, padding=1)
        return steps.norm(dim=1, keepdim=True)


class Scaled(nn.Module):
    """A network with a parameter that belongs to none of its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.randn(6, 1, 1))

    def forward(self, images: Tensor) -> Any:
        return self.head((self.first(images) * self.scale).relu().mean((2, 3)))


def drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with global_seed(seed, "test"):
        return build()


def resnet() -> nn.Module:
    return build_model("custom_resnet", {"width": 4}, 2)


def maps_of(model: nn.Module, *layers: str) -> list[np.ndarray]:
    return list(coarse_maps(model, layers, IMAGES, TARGETS))


def check(build: Callable[[], nn.Module], *layers: str) -> Checked:
    """Maps of the network number 99, and how they change as it becomes number 0, 1, ..."""
    model = drawn(build, 99)
    maps = maps_of(model, *layers)
    return maps, randomise(model, lambda draw: drawn(build, draw), layers, IMAGES, TARGETS, maps)


@pytest.fixture(scope="module")
def checked() -> Checked:
    return check(resnet, *LAYERS)


def test_maps_of_a_fixed_edge_detector_fail() -> None:
    maps, found = check(FixedEdges, "edges", "learnt")
    assert sum(one.any() for one in maps[0]) >= 4  # where the class has positive evidence
    mean, verdict = judge(found.same[:, -1, 0])
    assert mean == pytest.approx(1) and verdict == "failed"
    # they follow their own image, not the place alone
    assert abs(mean_known(found.other[:, 0])) < 0.2


def test_maps_of_weights_that_were_learnt_pass(checked: Checked) -> None:
    _, found = checked
    assert found.stages == ["head", "res2", "layer3", "layer2", "res1", "layer1", "prep"]
    assert found.same.shape == (DRAWS, 7, 3, 12) and found.other.shape == (DRAWS, 3)
    assert [judge(found.same[:, -1, at])[1] for at in range(3)] == ["passed"] * 3


def test_the_same_weights_give_correlations_of_one() -> None:
    network = drawn(resnet, 99)
    found = randomise(network, lambda draw: network, LAYERS, IMAGES, TARGETS, maps_of(network, *LAYERS))
    known = found.same[np.isfinite(found.same)]
    assert len(known) and np.allclose(known, 1)


def test_the_last_stage_is_a_new_network_and_its_number_is_scipys(checked: Checked) -> None:
    maps, found = checked
    (new,) = maps_of(drawn(resnet, 1), "res1")
    for at in range(12):
        first, second = maps[1][at].ravel(), new[at].ravel()
        known = first.any() and second.any()
        expected = spearmanr(first, second).statistic if known else np.nan
        assert found.same[1, -1, 1, at] == pytest.approx(expected, nan_ok=True)


def test_a_stage_keeps_what_lies_below_it(checked: Checked) -> None:
    maps, found = checked
    mixed, new = drawn(resnet, 99), drawn(resnet, 0)
    for name in ("head", "res2", "layer3"):
        mixed.get_submodule(name).load_state_dict(new.get_submodule(name).state_dict())
    own, _ = own_and_other(maps[1], maps_of(mixed, "res1")[0])
    np.testing.assert_array_equal(found.same[0, 2, 1], own)


def test_what_belongs_to_no_block_is_drawn_anew_with_the_last() -> None:
    maps, found = check(Scaled, "first")
    own, _ = own_and_other(maps[0], maps_of(drawn(Scaled, 2), "first")[0])
    np.testing.assert_array_equal(found.same[2, -1, 0], own)


def test_the_model_and_the_global_generator_are_left_as_they_were() -> None:
    network, state = drawn(resnet, 99), torch.random.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = maps_of(network, "res1")
    first, second = (
        randomise(network, lambda draw: drawn(resnet, draw), ["res1"], IMAGES, TARGETS, maps)
        for _ in range(2)
    )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first.same, second.same)


def test_networks_that_have_nothing_in_common_do_not_fail_by_chance(checked: Checked) -> None:
    means = []
    for start in range(0, 60, DRAWS):
        new = [maps_of(drawn(resnet, start + draw), *LAYERS) for draw in range(DRAWS)]
        for at, layer in enumerate(checked[0]):
            mean, _ = judge(np.array([own_and_other(layer, one[at])[0] for one in new]))
            means.append(mean or 0.0)
    assert max(means) < MOST
    assert abs(np.mean(means)) < 0.1


def test_one_image_has_no_other_to_compare_with() -> None:
    own, other = own_and_other(np.eye(3, dtype=np.float32)[None], np.eye(3, dtype=np.float32)[None])
    assert own == pytest.approx(1) and np.isnan(other)


def test_maps_of_different_images_are_compared_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 3, 4, 4), dtype=np.float32)
    _, other = own_and_other(first, second)
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    expected = np.mean([spearmanr(first[a].ravel(), second[b].ravel()).statistic for a, b in pairs])
    assert other == pytest.approx(expected)


@pytest.mark.parametrize(
    ("same", "mean", "verdict"),
    [
        (np.full((DRAWS, 25), MOST + 0.01), MOST + 0.01, "failed"),
        (np.full((DRAWS, 25), MOST), MOST, "passed"),
        (np.full(ENOUGH - 1, 1.0), 1.0, "not judged"),
        (np.array([np.nan] * 50), None, "not judged"),
        (np.array([1.0] * ENOUGH + [np.nan] * 50), 1.0, "failed"),
    ],
)
def test_a_layer_fails_above_the_limit_from_enough_maps(
    same: np.ndarray, mean: float | None, verdict: str
) -> None:
    found = judge(same)
    assert found == (None if mean is None else pytest.approx(mean), verdict)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        (np.linspace(0.01, 0.2, 25), "passed"),
        (np.linspace(-0.2, 0.21, 25), "not judged"),  # better on average, which chance can explain
        (np.linspace(-0.2, 0.19, 25), "failed"),
        (np.linspace(-0.2, -0.1, 25), "failed"),
        (np.full(25, 0.1), "not judged"),  # no spread to judge it by
        (np.linspace(-0.2, -0.1, ENOUGH - 1), "not judged"),
    ],
)
def test_maps_pass_where_they_are_surely_better_than_random_ones(gains: np.ndarray, verdict: str) -> None:
    assert judge_gain(gains) == verdict
