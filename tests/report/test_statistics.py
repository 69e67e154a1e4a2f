"""Each number against a value from elsewhere: by hand, scipy, or torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.report import statistics

VALUES = [0.931, 0.934, 0.929, 0.936, 0.933]
floats = st.floats(-1e6, 1e6, allow_nan=False)


def test_the_std_has_the_divisor_n_minus_1() -> None:
    assert statistics.std_of([1.0, 3.0]) == pytest.approx(math.sqrt(2), rel=1e-15)


def test_the_interval_is_students() -> None:
    low, high = stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert statistics.t_interval(VALUES) == pytest.approx((low, high), rel=1e-12)


def test_a_distribution_has_every_number() -> None:
    found = statistics.describe(VALUES)
    assert found is not None
    assert (found.n, found.minimum, found.maximum) == (5, 0.929, 0.936)
    assert found.mean == pytest.approx(0.9326, rel=1e-15)
    assert found.sem == pytest.approx(stats.sem(VALUES), rel=1e-12)
    assert found.ci_low is not None and found.ci_low < found.mean


def test_one_value_has_no_spread() -> None:
    found = statistics.describe([0.9])
    assert found is not None
    assert (found.mean, found.std, found.sem, found.ci_low, found.ci_high) == (0.9, None, None, None, None)


def test_no_values_have_no_distribution() -> None:
    assert statistics.describe([]) is None


@given(st.lists(floats, min_size=2, max_size=9), st.randoms())
def test_the_order_of_seeds_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert statistics.describe(shuffled) == statistics.describe(values)


def test_accuracy_and_loss_are_torchs_in_float64() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * 5
    labels = np.arange(50) % 7
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
    assert statistics.cross_entropy_from_logits(logits, labels) == pytest.approx(float(expected), rel=1e-13)
    assert statistics.accuracy_from_logits(logits, labels) == np.mean(logits.argmax(1) == labels)


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[1e30, 0.0], [-1e30, 0.0]], dtype=np.float32)
    predicted, confidence = statistics.predictions(logits)
    assert predicted.tolist() == [0, 1]
    assert confidence.tolist() == [1.0, 1.0]


def test_confidence_is_the_softmax_of_the_predicted_class() -> None:
    predicted, confidence = statistics.predictions([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    assert predicted.tolist() == [1, 0]
    assert confidence == pytest.approx([0.75, 0.8], rel=1e-15)


def test_a_confusion_has_labels_in_rows() -> None:
    matrix = statistics.confusion(predicted=[1, 1, 2], labels=[0, 1, 1], classes=3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_a_class_without_images_has_shares_of_zero() -> None:
    assert statistics.row_shares([[1, 3], [0, 0]]).tolist() == [[0.25, 0.75], [0.0, 0.0]]
