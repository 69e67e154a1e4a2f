"""Splits: what is refused, how they are cut smaller, and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.arrays import Data, constant_channels, hold_out, limit, mean_std, split_of
from harness.errors import DataError, StudyError


def numbered(labels, classes="abc"):
    """A split whose image ``i`` has the value ``i``, so that a subset tells where it comes from."""
    labels = np.array(labels, dtype=np.int64)
    images = np.empty((len(labels), 2, 2, 3), dtype=np.uint8)
    images[:] = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return split_of(images, labels, list(classes))


def positions(split):
    return split.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64), ["a"], "expected uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int64), ["a"], r"expected uint8 \(N, H, W, 3\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), ["a"], "labels are"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), ["a"], "expected int64"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.int64), ["a"], "no images"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ["a"], "image 1 has label 1, expected 0 to 0"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, -1]), ["a"], "image 1 has label -1"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64), ["a", "a"], "'a' stands twice"),
        (
            np.zeros((2, 4, 4, 3), np.uint8),
            np.zeros(2, np.int64),
            ["a", "\udcff"],
            r"name '\\udcff' is not valid",
        ),
    ],
)
def test_arrays_that_are_no_split_are_refused_in_one_line(images, labels, classes, message):
    with pytest.raises(DataError, match=message) as error:
        split_of(images, labels, classes, where="here")
    assert str(error.value).startswith("here: ")
    assert "\n" not in str(error.value)


def test_checksum_covers_pixels_labels_class_names_and_shape():
    images, labels = np.zeros((4, 2, 8, 3), np.uint8), np.array([0, 1, 0, 1])
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


def test_checksum_does_not_depend_on_memory_layout():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 5), dtype=np.uint8)
    labels = np.array([0, 0, 0])
    view = images.transpose(0, 2, 3, 1)
    assert split_of(view, labels, ["a"]).sha256 == split_of(view.copy(), labels, ["a"]).sha256


def test_data_checksum_tells_test_from_holdout():
    train, test = numbered([0, 1, 2]), numbered([0, 1, 2, 0])
    assert Data(train, test, "test").sha256 != Data(train, test, "holdout").sha256
    assert Data(train, test, "test").sha256 != Data(test, train, "test").sha256


def test_limit_takes_the_first_images_of_each_class_in_file_order():
    split = numbered([2, 2, 0, 1, 0, 1, 2, 0])
    assert positions(limit(split, 6)) == [0, 1, 2, 3, 4, 5]
    assert positions(limit(split, 4)) == [0, 2, 3, 4]


def test_limit_fills_up_from_large_classes_where_one_is_small():
    split = numbered([0, 1, 1, 1, 1, 2, 2, 2, 2])
    assert np.bincount(limit(split, 7).labels).tolist() == [1, 3, 3]


def test_limit_keeps_every_class_name():
    assert limit(numbered([0, 1, 2]), 1).classes == ("a", "b", "c")


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=40), data=st.data())
def test_limit_is_as_equal_as_possible(labels, data):
    split = numbered(labels)
    n = data.draw(st.integers(1, len(labels)))
    taken = np.bincount(limit(split, n).labels, minlength=3)
    available = np.bincount(split.labels, minlength=3)
    assert taken.sum() == n
    short = taken[taken < available]  # no class that could give more is behind another by more than one
    assert all(taken.max() - count <= 1 for count in short)


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 2), min_size=2, max_size=60), data=st.data())
def test_hold_out_parts_the_split_in_the_shares_of_its_classes(labels, data):
    split = numbered(labels)
    n = data.draw(st.integers(1, len(labels) - 1))
    rest, held = hold_out(split, n)
    assert len(held) == n
    assert sorted(positions(rest) + positions(held)) == list(range(len(labels)))
    assert positions(rest) == sorted(positions(rest))
    assert positions(held) == sorted(positions(held))
    exact = np.bincount(split.labels, minlength=3) * n / len(labels)
    assert (np.abs(np.bincount(held.labels, minlength=3) - exact) < 1).all()


def test_hold_out_is_always_the_same_draw():
    _, held = hold_out(numbered([0, 1, 2] * 20), 12)
    recorded = [3, 8, 13, 21, 24, 32, 33, 34, 37, 38, 41, 49]  # another draw would change published results
    assert positions(held) == recorded


@pytest.mark.parametrize("n", [0, -1, 7])
def test_limits_outside_the_split_are_refused(n):
    with pytest.raises(StudyError, match=f"data.test_limit = {n}: expected 1 to 6"):
        limit(numbered([0, 1, 2] * 2), n, "data.test_limit")


@pytest.mark.parametrize("n", [0, 6, 7])
def test_hold_outs_that_leave_nothing_to_train_on_are_refused(n):
    with pytest.raises(StudyError, match=f"data.holdout = {n}: expected 1 to 5"):
        hold_out(numbered([0, 1, 2] * 2), n)


def test_mean_and_std_are_those_of_the_pixels_by_channel():
    images = np.random.default_rng(1).integers(0, 256, (1500, 5, 7, 3), dtype=np.uint8)
    mean, std = mean_std(split_of(images, np.zeros(1500, np.int64), ["a"]))
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-12)


def test_std_of_a_channel_is_at_least_a_grey_level():
    images = np.full((10, 30, 30, 3), 77, dtype=np.uint8)
    images[0, 0, 0, 1] = 78
    images[5:, ..., 2] = 80
    found = mean_std(split_of(images, np.zeros(10, np.int64), ["a"]))
    assert found[0][0] == 77 / 255 and found[1] == (1 / 255, 1 / 255, 1.5 / 255)


def test_channels_that_never_vary_are_named():
    images = np.random.default_rng(1).integers(0, 256, (1000, 3, 3, 3), dtype=np.uint8)
    labels = np.zeros(1000, np.int64)
    assert constant_channels(split_of(images, labels, ["a"])) == []
    images[..., 0], images[..., 2] = 0, 9
    assert constant_channels(split_of(images, labels, ["a"])) == ["red is always 0", "blue is always 9"]
    images[997, 2, 2, 2] = 8
    assert constant_channels(split_of(images, labels, ["a"])) == ["red is always 0"]
