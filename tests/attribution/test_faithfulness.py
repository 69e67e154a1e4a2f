"""Deletion and insertion on a network whose attribution is known, and against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.attribution.faithfulness import STEPS, area, deletion_insertion, pixel_order
from harness.attribution.maps import coarse_maps, enlarge
from harness.models import build_model

SIDE, PATCH = 20, 6
CERTAIN = 1 / (1 + np.exp(-6.0))


class Brightness(nn.Module):
    """Two classes: the logit of the second is 6 for a whole patch, 0 for an image without one."""

    def __init__(self) -> None:
        super().__init__()
        mean = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(mean.weight, 1 / 3)
        self.feature = nn.Sequential(mean, nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        bright = self.feature(images).sum((2, 3)) * 6 / PATCH**2
        return torch.cat([torch.zeros_like(bright), bright], 1)


def patches(*corners: tuple[int, int]) -> Tensor:
    images = torch.zeros(len(corners), 3, SIDE, SIDE)
    for image, (row, column) in zip(images, corners, strict=True):
        image[:, row : row + PATCH, column : column + PATCH] = 1
    return images


IMAGES = patches((0, 0), (14, 14), (3, 9), (7, 2))


@pytest.fixture
def ties() -> np.ndarray:
    return np.random.default_rng(0).random((4, SIDE, SIDE))


def test_maps_find_the_known_place() -> None:
    (maps,) = coarse_maps(Brightness(), ["feature"], IMAGES, [1] * 4)
    assert ((maps > 0) == (IMAGES[:, 0].numpy() > 0)).all()
    # there is no evidence for the other class
    assert (coarse_maps(Brightness(), ["feature"], IMAGES, [0] * 4)[0] == 0).all()


def test_the_right_order_has_the_areas_that_can_be_worked_out(ties: np.ndarray) -> None:
    (maps,) = coarse_maps(Brightness(), ["feature"], IMAGES, [1] * 4)
    deletion, insertion = deletion_insertion(Brightness(), IMAGES, [1] * 4, [pixel_order(maps, ties)])
    # the patch is 36 of 400 pixels: the first tenth takes or shows all of it
    np.testing.assert_allclose(deletion[0], [[CERTAIN] + [0.5] * STEPS] * 4, atol=1e-6)
    np.testing.assert_allclose(insertion[0], [[0.5] + [CERTAIN] * STEPS] * 4, atol=1e-6)
    np.testing.assert_allclose(area(deletion[0]), 0.1 * (CERTAIN + 0.5) / 2 + 0.45, atol=1e-6)
    np.testing.assert_allclose(area(insertion[0]), 0.1 * (CERTAIN + 0.5) / 2 + 0.9 * CERTAIN, atol=1e-6)


def test_the_right_order_beats_a_random_one_and_the_wrong_one_loses(ties: np.ndarray) -> None:
    (maps,) = coarse_maps(Brightness(), ["feature"], IMAGES, [1] * 4)
    orders = [pixel_order(one, ties) for one in (maps, np.zeros_like(maps), -maps)]
    curves = deletion_insertion(Brightness(), IMAGES, [1] * 4, orders)
    deletion, insertion = (area(one).mean(axis=1) for one in curves)
    assert deletion[0] < deletion[1] - 0.1 and deletion[1] < deletion[2] - 0.05
    assert insertion[0] > insertion[1] + 0.05 and insertion[1] > insertion[2] + 0.1


def test_curves_are_those_of_a_plain_loop(ties: np.ndarray) -> None:
    torch.manual_seed(0)
    model = build_model("custom_resnet", {"width": 4}, 3).eval()
    images = torch.randn(4, 3, SIDE, SIDE)
    (coarse,) = coarse_maps(model, ["layer1"], images, [0, 1, 2, 1])
    fine = enlarge(coarse, SIDE, SIDE)
    deletion, insertion = deletion_insertion(model, images, [0, 1, 2, 1], [pixel_order(fine, ties)])
    image, target, step = 2, 2, 3
    ranked = sorted(range(SIDE**2), key=lambda at: (-fine[image].flat[at], ties[image].flat[at]))
    gone = ranked[: SIDE**2 * step // STEPS]
    without, alone = images[image].numpy().copy(), np.zeros((3, SIDE, SIDE), dtype=np.float32)
    for at in gone:
        row, column = divmod(at, SIDE)
        alone[:, row, column] = without[:, row, column]
        without[:, row, column] = 0
    for curve, shown in ((deletion, without), (insertion, alone)):
        logits = model(torch.from_numpy(shown)[None])[0].detach().numpy().astype(np.float64)
        expected = np.exp(logits[target]) / np.exp(logits).sum()
        assert curve[0, image, step] == pytest.approx(expected, rel=1e-5)


def test_deletion_ends_where_insertion_begins(ties: np.ndarray) -> None:
    deletion, insertion = deletion_insertion(Brightness(), IMAGES, [1] * 4, [pixel_order(ties, ties)])
    np.testing.assert_array_equal(deletion[..., 0], insertion[..., -1])
    np.testing.assert_array_equal(deletion[..., -1], insertion[..., 0])


def test_an_order_begins_with_the_highest_and_draws_lots_among_equals() -> None:
    maps = np.array([[[0, 3], [0, 7]]], dtype=np.float32)
    ties = np.array([[[0.9, 0.1], [0.2, 0.5]]])
    assert pixel_order(maps, ties).tolist() == [[[3, 1], [2, 0]]]


def test_an_area_is_the_mean_of_trapezoids() -> None:
    assert area(np.linspace(0, 1, STEPS + 1)) == pytest.approx(0.5)
    curve = np.random.default_rng(1).random(STEPS + 1)
    assert area(curve) == pytest.approx(
        sum((a + b) / 2 for a, b in zip(curve, curve[1:], strict=False)) / STEPS
    )
