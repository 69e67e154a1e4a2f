"""Galleries: images in their own colours, of any size."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.arrays import Data, split_of
from tests.report.figures.conftest import drawn

Lab = Callable[..., Any]
RED, BLUE, WHITE = [200, 0, 0], [0, 0, 220], [255, 255, 255]


def pixels(lab: Any, name: str) -> np.ndarray:
    picture = drawn(lab, name)
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


@pytest.fixture
def coloured(lab: Lab) -> Any:
    """A study of plain images: red where the label is even, blue where it is odd."""
    place = lab(seeds=[0], augment={"train": []})
    labels = place.data.evaluation.labels
    images = np.zeros((360, 32, 32, 3), dtype=np.uint8)
    images[labels % 2 == 0] = RED
    images[labels % 2 == 1] = BLUE
    split = split_of(images, labels, place.data.evaluation.classes)
    place.data = Data(split, split, "test")
    return place


def test_misclassified_images_keep_their_colours(coloured: Any) -> None:
    labels = coloured.data.evaluation.labels
    logits = np.eye(10)[labels] * 5
    for odd, lead in ((0, 3.0), (1, 2.0)):
        index = np.flatnonzero(labels % 2 == odd)[0]
        logits[index] = np.eye(10)[(labels[index] + 1) % 10] * lead
    coloured.finish(logits=logits)
    found = pixels(coloured, "misclassified")
    cell = found.shape[1] // 5
    middles = [found[cell // 2, column * cell + cell // 2].tolist() for column in range(3)]
    assert middles == [RED, BLUE, WHITE]


def test_augmented_samples_keep_their_colours_beside_the_original(coloured: Any) -> None:
    coloured.finish()
    found = pixels(coloured, "augmented")
    unit = found.shape[1] / (1.4 + 8)
    for column in range(8):
        for label in (0, 1):
            place = int((0.4 + label + 0.5) * unit), int((1.4 + column + 0.5) * unit)
            assert np.abs(found[place].astype(int) - (BLUE if label % 2 else RED)).max() <= 1


def test_cutout_is_visible_in_the_augmented_samples_and_not_in_the_original(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish()
    found = pixels(place, "augmented")
    unit = found.shape[1] / (1.4 + 8)
    grey = (found == 90).all(axis=2)
    assert grey[:, int(2.4 * unit) :].sum() > 40 * (unit / 5) ** 2
    assert grey[: int(10.4 * unit), int(1.4 * unit) : int(2.4 * unit)].sum() < (unit / 5) ** 2
    picture = drawn(place, "augmented")
    assert picture is not None and "PadIfNeeded, RandomCrop, CoarseDropout, Normalize" in picture.caption


def test_mixed_samples_are_of_both_classes(lab: Lab, coloured: Any) -> None:
    place = lab(seeds=[0], augment={"library": "torchvision", "train": [], "batch": [{"transform": "MixUp"}]})
    place.data = coloured.data
    place.finish()
    found = pixels(place, "augmented")
    unit = found.shape[1] / (1.4 + 8)
    for column in range(8):
        x = int((1.4 + column + 0.5) * unit)
        red, blue = (found[int((0.4 + label + 0.5) * unit), x].astype(int) for label in (0, 1))
        own = 1.0 if column == 0 else (red[0] - BLUE[0]) / (RED[0] - BLUE[0])
        assert column == 0 or 0 < own < 1
        for seen, one, other in ((red, RED, BLUE), (blue, BLUE, RED)):
            expected = own * np.array(one) + (1 - own) * np.array(other)
            assert np.abs(seen - expected).max() <= 2
    picture = drawn(place, "augmented")
    assert picture is not None and "Each column is a mixed batch (MixUp)" in picture.caption


def test_images_of_another_size_than_the_originals_can_be_shown(lab: Lab) -> None:
    place = lab(seeds=[0], augment={"train": [{"transform": "Resize", "height": 24, "width": 40}]})
    place.finish()
    assert drawn(place, "augmented")
