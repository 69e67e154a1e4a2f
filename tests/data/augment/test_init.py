"""What holds in every library: the alternating flip, and pipelines that say who runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.data.arrays import split_of
from harness.data.augment import check_transforms, parse, resolve
from harness.data.batches import Batches
from harness.data.samples import augment_images
from harness.data.shapes import output_shape
from harness.errors import StudyError

Table = dict[str, Any]
ALTERNATING: Table = {"transform": "AlternatingFlip"}
FLIPS = {"albumentations": "HorizontalFlip", "torchvision": "RandomHorizontalFlip"}
LIBRARIES = list(FLIPS)
N = 600
# The first column says which way round an image is, and the second which image it is.
IMAGES = np.zeros((N, 8, 8, 3), np.uint8)
IMAGES[:, :, 0], IMAGES[:, :, 1, 0], IMAGES[:, :, 1, 1] = (
    255,
    (np.arange(N) % 250)[:, None],
    (np.arange(N) // 250)[:, None],
)
SPLIT = split_of(IMAGES, np.arange(N) % 10, list("0123456789"))
PATHS: list[Table] = [{"library": "albumentations"}, {"library": "albumentations", "reference": True}]
PATHS += [{"library": "torchvision"}, {"library": "torchvision", "workers": 2}]


def orientations(epoch: int, *, library: str, seed: int = 1, size: int = 64, **options: Any) -> np.ndarray:
    """Which of the images are flipped in an epoch, by their index."""
    table = ALTERNATING if library == "albumentations" else ALTERNATING | {"library": library}
    batches = Batches(SPLIT, [table], size, seed=seed, shuffle=True, **options)
    batches.set_epoch(epoch)
    images = torch.cat([images for images, _ in batches])
    flipped = images[:, 0, 0, 7] == 255
    there = torch.where(flipped[:, None], images[:, :2, 0, 6], images[:, :2, 0, 1])
    found = np.empty(N, bool)
    found[(there[:, 0] + 250 * there[:, 1]).long().numpy()] = flipped.numpy()
    return found


@pytest.mark.parametrize("options", PATHS)
def test_two_epochs_show_each_image_once_in_each_orientation(options: Table) -> None:
    epochs = [orientations(epoch, **options) for epoch in (1, 2, 3, 4, 101, 102)]
    for one, other in zip(epochs, epochs[1:], strict=False):
        np.testing.assert_array_equal(one, ~other)
    # Of 600 fair coins 240 to 360 show heads in all but one of a million cases.
    assert 240 <= epochs[0].sum() <= 360
    assert 240 <= (epochs[0] ^ orientations(1, seed=2, **options)).sum() <= 360, "another seed, other coins"


def test_an_orientation_is_a_function_of_seed_image_and_epoch_alone() -> None:
    first = [orientations(3, **options, size=size) for options in PATHS for size in (32, 100)]
    assert all(np.array_equal(first[0], other) for other in first)
    parts = Batches(SPLIT, [ALTERNATING], 64, seed=1, shuffle=True, part=(1, 2))
    whole = Batches(SPLIT, [ALTERNATING], 64, seed=1, shuffle=True)
    for (part, _), (images, _) in zip(parts, whole, strict=True):
        assert torch.equal(part, images[len(images) // 2 :])


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_flip_comes_first_and_in_training_only(library: str) -> None:
    usual = {"transform": FLIPS[library]}

    def said(*tables: Table, **options: Any) -> str:
        with pytest.raises(StudyError) as caught:
            check_transforms(list(tables), "augment.train", library=library, **options)
        return str(caught.value)

    check_transforms([ALTERNATING, usual], "augment.train", library=library)
    assert "augment.train[1]: AlternatingFlip must be the first" in said(usual, ALTERNATING)
    assert "augment.train[1]: AlternatingFlip must be the first" in said(ALTERNATING, ALTERNATING)
    assert "augment.train[0].p: not an argument" in said(ALTERNATING | {"p": 0.5})
    assert "is for augment.train" in said(ALTERNATING, deterministic=True)
    assert "augment.train[1]: a second Normalize" not in said(ALTERNATING, {"transform": "x"})


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_resolved_pipeline_keeps_the_flip_and_says_who_runs_it(library: str) -> None:
    train, test = resolve([ALTERNATING], [], (0.5,) * 3, (0.25,) * 3, library)
    assert [table["transform"] for table in train] == ["AlternatingFlip", "Normalize"]
    assert parse(train).alternating and not parse(test).alternating
    assert parse(train).library.NAME == parse(test).library.NAME == library
    assert output_shape(train, 8, 8) == (8, 8)
    samples = augment_images(IMAGES, train, seed=0)
    flipped = samples[:, 0, 7, 0] > 200
    assert 240 <= flipped.sum() <= 360
    np.testing.assert_array_equal(samples[flipped], IMAGES[flipped, :, ::-1])
    np.testing.assert_array_equal(samples[~flipped], IMAGES[~flipped])
