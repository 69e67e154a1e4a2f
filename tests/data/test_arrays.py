"""Splits: what is refused, how they are cut smaller, and their statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.arrays import Data, Split, constant_channels, hold_out, limit, mean_std, split_of
from harness.errors import DataError, StudyError

NOISE = np.random.default_rng(1)


def numbered(labels: list[int]) -> Split:
    """A split whose image ``i`` has the value ``i``, so that a subset tells where it comes from."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return split_of(np.tile(images, (1, 2, 2, 3)), np.array(labels, dtype=np.int64), list("abc"))


def positions(split: Split) -> list[int]:
    found: list[int] = split.images[:, 0, 0, 0].tolist()
    return found


def zeros(*shape: int, kind: Any = np.uint8) -> Any:
    return np.zeros(shape, kind)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (zeros(2, 4, 4, 3, kind=np.float32), [0, 0], ["a"], "expected uint8"),
        (zeros(2, 3, 4, 4), [0, 0], ["a"], r"expected uint8 \(N, H, W, 3\)"),
        (zeros(2, 4, 4, 3), [0, 0, 0], ["a"], "labels are"),
        (zeros(2, 4, 4, 3), zeros(2, kind=np.int32), ["a"], "expected int64"),
        (zeros(0, 4, 4, 3), zeros(0, kind=np.int64), ["a"], "no images"),
        (zeros(2, 4, 4, 3), [0, 1], ["a"], "image 1 has label 1, expected 0 to 0"),
        (zeros(2, 4, 4, 3), [0, -1], ["a"], "image 1 has label -1"),
        (zeros(2, 4, 4, 3), [0, 0], ["a", "a"], "'a' appears twice"),
        (zeros(2, 4, 4, 3), [0, 0], ["a", "\udcff"], r"name '\\udcff' is not valid"),
    ],
)
def test_arrays_that_are_no_split_are_refused_in_one_line(
    images: Any, labels: Any, classes: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=f"^here: .*{message}") as error:
        split_of(images, np.asarray(labels), classes, where="here")
    assert "\n" not in str(error.value)


def test_checksum_covers_pixels_labels_class_names_and_shape_and_no_memory_layout() -> None:
    images, labels = zeros(4, 2, 8, 3), np.array([0, 1, 0, 1])
    changed = images.copy()
    changed[3, 1, 7, 2] = 1
    splits = [
        split_of(images, labels, ["a", "b"]),
        split_of(changed, labels, ["a", "b"]),
        split_of(images, labels[::-1], ["a", "b"]),
        split_of(images, labels, ["a", "c"]),
        split_of(images.reshape(4, 4, 4, 3), labels, ["a", "b"]),
    ]
    assert len({split.sha256 for split in splits}) == len(splits)
    view = NOISE.integers(0, 256, (3, 3, 4, 5), dtype=np.uint8).transpose(0, 2, 3, 1)
    assert (
        split_of(view, labels[:3], ["a", "b"]).sha256 == split_of(view.copy(), labels[:3], ["a", "b"]).sha256
    )


def test_data_checksum_tells_test_from_holdout() -> None:
    train, test = numbered([0, 1, 2]), numbered([0, 1, 2, 0])
    data = Data(train, test, "test"), Data(train, test, "holdout"), Data(test, train, "test")
    assert len({each.sha256 for each in data}) == 3


def test_limit_takes_the_first_images_of_each_class_in_file_order() -> None:
    split = numbered([2, 2, 0, 1, 0, 1, 2, 0])
    assert positions(limit(split, 6)) == [0, 1, 2, 3, 4, 5]
    assert positions(limit(split, 4)) == [0, 2, 3, 4]
    assert limit(split, 1).classes == ("a", "b", "c")


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=40), data=st.data())
def test_limit_is_as_equal_as_possible(labels: list[int], data: st.DataObject) -> None:
    split = numbered(labels)
    n = data.draw(st.integers(1, len(labels)))
    taken = np.bincount(limit(split, n).labels, minlength=3)
    available = np.bincount(split.labels, minlength=3)
    assert taken.sum() == n
    short = taken[taken < available]  # no class that could give more is behind another by more than one
    assert all(taken.max() - count <= 1 for count in short)


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 2), min_size=2, max_size=60), data=st.data())
def test_hold_out_parts_the_split_in_the_shares_of_its_classes(
    labels: list[int], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(labels) - 1))
    rest, held = hold_out(numbered(labels), n)
    assert len(held) == n
    assert sorted(positions(rest) + positions(held)) == list(range(len(labels)))
    assert all(positions(part) == sorted(positions(part)) for part in (rest, held))
    exact = np.bincount(labels, minlength=3) * n / len(labels)
    assert (np.abs(np.bincount(held.labels, minlength=3) - exact) < 1).all()


def test_hold_out_is_always_the_same_draw() -> None:
    _, held = hold_out(numbered([0, 1, 2] * 20), 12)
    recorded = [3, 8, 13, 21, 24, 32, 33, 34, 37, 38, 41, 49]  # another draw would change published results
    assert positions(held) == recorded


@pytest.mark.parametrize("n", [0, -1, 7])
def test_limits_and_hold_outs_beyond_the_split_are_refused(n: int) -> None:
    with pytest.raises(StudyError, match=f"data.test_limit = {n}: expected 1 to 6"):
        limit(numbered([0, 1, 2] * 2), n, "data.test_limit")
    with pytest.raises(StudyError, match=f"data.holdout = {min(n, 6)}: expected 1 to 5"):
        hold_out(numbered([0, 1, 2] * 2), min(n, 6))  # 6 would leave nothing to train on


def test_mean_and_std_are_those_of_the_pixels_by_channel() -> None:
    images = NOISE.integers(0, 256, (1500, 5, 7, 3), dtype=np.uint8)
    mean, std = mean_std(split_of(images, np.zeros(1500, np.int64), ["a"]))
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-12)


def test_std_of_a_channel_is_at_least_a_grey_level() -> None:
    images = np.full((10, 30, 30, 3), 77, dtype=np.uint8)
    images[0, 0, 0, 1] = 78
    images[5:, ..., 2] = 80
    mean, std = mean_std(split_of(images, np.zeros(10, np.int64), ["a"]))
    assert mean[0] == 77 / 255 and std == (1 / 255, 1 / 255, 1.5 / 255)


def test_channels_that_never_vary_are_named() -> None:
    images = NOISE.integers(0, 256, (1000, 3, 3, 3), dtype=np.uint8)
    labels = np.zeros(1000, np.int64)
    assert constant_channels(split_of(images, labels, ["a"])) == []
    images[..., 0], images[..., 2] = 0, 9
    assert constant_channels(split_of(images, labels, ["a"])) == ["red is always 0", "blue is always 9"]
    images[997, 2, 2, 2] = 8
    assert constant_channels(split_of(images, labels, ["a"])) == ["red is always 0"]
