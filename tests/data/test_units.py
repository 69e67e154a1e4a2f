"""Values in the units that a network is normalised for: what is refused before any work, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.arrays import Data, SourceRequest, mean_std, split_of
from harness.data.augment import resolve
from harness.data.digits import load
from harness.data.units import check_units
from harness.errors import StudyError

Steps = list[dict[str, Any]]
HALVES = {"transform": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
PIXELS = {"transform": "Normalize", "mean": [127.5] * 3, "std": [127.5] * 3}
TO_FLOAT = {"transform": "ToFloat"}
FLOATS = {**HALVES, "max_pixel_value": 1.0}
DIGITS = Data(load(SourceRequest(Path(), "train")), load(SourceRequest(Path(), "test")), "test")


def check(data: Data, train: Steps, test: Steps | None = None) -> None:
    check_units(data, *resolve(train, test or [], *mean_std(data.train)), "study")


def data_of(images: Any) -> Data:
    split = split_of(images.astype(np.uint8), np.arange(20) % 2, ["a", "b"])
    return Data(split, split, "test")


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([TO_FLOAT], [], "augment.train: .* std 0.00"),
        ([TO_FLOAT], [TO_FLOAT], "augment.train: .* std 0.00"),
        ([], [TO_FLOAT], "augment.test: .* std 0.00"),
        ([PIXELS], [], "augment.train: .* mean -0.99.*fractions of max_pixel_value"),
        ([PIXELS], [PIXELS], "augment.train: .* fractions of max_pixel_value"),
        ([{**PIXELS, "std": [1.0] * 3}], [], "mean -127.* such as 0.5 and not 127.5"),
        ([FLOATS], [], "augment.train: .* std 1"),
        ([HALVES], [{**HALVES, "std": [0.25] * 3}], "train and test have different Normalize"),
        ([TO_FLOAT, FLOATS], [], "augment.test: .* scale them once"),
        ([{**HALVES, "std": [0.0] * 3}], [], "augment.train: "),  # values that are not finite
    ],
)
def test_values_of_another_scale_are_refused(train: Steps, test: Steps, words: str) -> None:
    with pytest.raises(StudyError, match=f"^study: .*{words}"):
        check(DIGITS, train, test)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([], []),
        ([HALVES], []),
        ([{"transform": "Normalize"}], []),  # ImageNet's
        ([{"transform": "Normalize", "mean": [0.0] * 3, "std": [1.0] * 3}], []),
        ([{**PIXELS, "max_pixel_value": 1.0}], []),
        ([TO_FLOAT, {"transform": "FromFloat"}], []),
        ([TO_FLOAT, FLOATS], [TO_FLOAT]),  # floats all the way
        ([{"transform": "Normalize", "normalization": "image_per_channel"}], []),
        ([{"transform": "Normalize", "normalization": "min_max"}, {"transform": "HorizontalFlip"}], []),
        ([{"transform": "InvertImg", "p": 1.0}], []),
        (
            [
                {"transform": "ColorJitter", "p": 1.0},
                {"transform": "GaussianBlur", "blur_limit": [7, 7], "p": 1.0},
                {"transform": "CoarseDropout", "p": 1.0},
            ],
            [],
        ),
    ],
)
def test_sound_pipelines_pass(train: Steps, test: Steps) -> None:
    check(DIGITS, train, test)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_images_normalised_by_their_own_numbers_pass_however_dark_or_pale(data: st.DataObject) -> None:
    low = data.draw(st.integers(0, 250))
    high = data.draw(st.integers(low + 1, 255))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = rng.integers(low, high + 1, (20, 8, 8, 3))
    images[0, 0, 0] = low, low, high
    check(data_of(images), [])


@pytest.mark.parametrize("constant", [[0], [1, 2]])
@pytest.mark.parametrize("varied", [1, 200])
def test_channels_that_are_always_the_same_pass(constant: list[int], varied: int) -> None:
    images = np.random.default_rng(0).integers(0, varied + 1, (20, 8, 8, 3))
    images[..., constant] = 255
    check(data_of(images), [])
