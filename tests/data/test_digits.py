"""The embedded digits."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import digits
from harness.data.arrays import SourceRequest
from harness.errors import DataError


def load(which, tmp_path, **options):
    return digits.load(SourceRequest(tmp_path, which, **options))


def test_digits_are_1437_train_and_360_test_images_of_32_by_32(tmp_path):
    train, test = load("train", tmp_path), load("test", tmp_path)
    assert train.images.shape == (1437, 32, 32, 3)
    assert test.images.shape == (360, 32, 32, 3)
    assert train.classes == test.classes == tuple("0123456789")


def test_digits_split_is_stratified(tmp_path):
    train, test = load("train", tmp_path), load("test", tmp_path)
    share = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert (np.abs(share - 360 / 1797) < 1 / 150).all()


def test_no_digit_is_in_both_splits_and_none_is_lost(tmp_path):
    from sklearn.datasets import load_digits

    originals = load_digits()
    together = [*load("train", tmp_path).labels, *load("test", tmp_path).labels]
    assert np.bincount(together).tolist() == np.bincount(originals.target).tolist()
    train = {image.tobytes() for image in load("train", tmp_path).images}
    assert not train & {image.tobytes() for image in load("test", tmp_path).images}


def test_digits_are_gray_and_use_the_whole_range(tmp_path):
    images = load("train", tmp_path).images
    assert images.min() == 0
    assert images.max() == 255
    assert (images[..., :1] == images).all()


def test_digits_are_enlarged_as_torch_enlarges(tmp_path):
    torch = pytest.importorskip("torch")
    from sklearn.datasets import load_digits

    original = torch.from_numpy(load_digits().images) * (255 / 16)
    enlarged = torch.nn.functional.interpolate(original[:, None], size=(32, 32), mode="bilinear")
    expected = {image.tobytes() for image in enlarged[:, 0].round().numpy().astype(np.uint8)}
    assert {image[..., 0].tobytes() for image in load("test", tmp_path).images} <= expected


def test_digits_never_change(tmp_path):
    # recorded: another value here means that results on digits cannot be compared with earlier ones
    assert load("train", tmp_path).sha256.startswith("b52b9483ad80")
    assert load("test", tmp_path).sha256.startswith("78870ad82031")


@pytest.mark.parametrize("option", [{"path": "x"}, {"image_size": 16}])
def test_options_without_meaning_for_digits_are_refused(tmp_path, option):
    with pytest.raises(DataError, match=f"data.{next(iter(option))} has no meaning"):
        load("train", tmp_path, **option)
