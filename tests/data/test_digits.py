"""The embedded digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harness.data import digits
from harness.data.arrays import SourceRequest
from harness.errors import DataError

TRAIN, TEST = (digits.load(SourceRequest(Path(), which)) for which in ("train", "test"))


def test_digits_are_1437_train_and_360_test_images_of_32_by_32() -> None:
    assert (TRAIN.images.shape, TEST.images.shape) == ((1437, 32, 32, 3), (360, 32, 32, 3))
    assert TRAIN.classes == TEST.classes == tuple("0123456789")


def test_digits_split_is_stratified_and_complete() -> None:
    train, test = np.bincount(TRAIN.labels), np.bincount(TEST.labels)
    assert (np.abs(test / (train + test) - 360 / 1797) < 1 / 150).all()
    assert (train + test).tolist() == np.bincount(load_digits().target).tolist()
    assert not {each.tobytes() for each in TRAIN.images} & {each.tobytes() for each in TEST.images}


def test_digits_are_gray_and_enlarged_as_torch_enlarges() -> None:
    assert (TRAIN.images.min(), TRAIN.images.max()) == (0, 255)
    assert (TRAIN.images[..., :1] == TRAIN.images).all()
    original = torch.from_numpy(load_digits().images) * (255 / 16)
    enlarged = torch.nn.functional.interpolate(original[:, None], size=(32, 32), mode="bilinear")
    expected = {image.tobytes() for image in enlarged[:, 0].round().numpy().astype(np.uint8)}
    assert {image[..., 0].tobytes() for image in TEST.images} <= expected


def test_digits_never_change() -> None:
    # recorded: another value here means that results on digits cannot be compared with earlier ones
    assert TRAIN.sha256.startswith("b52b9483ad80") and TEST.sha256.startswith("78870ad82031")


@pytest.mark.parametrize("option", [{"path": "x"}, {"image_size": 16}, {"bits": 12}])
def test_options_without_meaning_for_digits_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"data.{next(iter(option))} does not apply"):
        digits.load(SourceRequest(Path(), "train", **option))
