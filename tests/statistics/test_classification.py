"""What logits say, against torch and scikit-learn, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.statistics.classification import (
    accuracy_from_logits,
    brier_score,
    confusion,
    count_ties,
    cross_entropy_from_logits,
    log_softmax,
    reliability,
    row_shares,
)


def test_accuracy_and_loss_are_torchs_in_float64() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * 5
    labels = np.arange(50) % 7
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
    assert cross_entropy_from_logits(logits, labels) == pytest.approx(float(expected), rel=1e-13)
    assert accuracy_from_logits(logits, labels) == np.mean(logits.argmax(1) == labels)


def test_ties_are_the_images_whose_largest_logit_is_shared() -> None:
    logits = np.array([[1.0, 2.0, 2.0], [3.0, 2.0, 2.0], [4.0, 4.0, 4.0], [0.0, 1.0, 0.0]])
    assert count_ties(logits) == 2 and count_ties(logits[[1, 3]]) == 0


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[1e30, 0.0], [-1e30, 0.0]], dtype=np.float32)
    assert np.exp(log_softmax(logits)).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    found = np.exp(log_softmax([[0.0, math.log(3.0)], [math.log(4.0), 0.0]]))
    assert found == pytest.approx(np.array([[0.25, 0.75], [0.8, 0.2]]), rel=1e-15)


def test_a_confusion_has_labels_in_rows() -> None:
    matrix = confusion(predicted=[1, 1, 2], labels=[0, 1, 1], classes=3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_a_class_without_images_has_shares_of_zero() -> None:
    assert row_shares([[1, 3], [0, 0]]).tolist() == [[0.25, 0.75], [0.0, 0.0]]


def test_the_brier_score_is_the_squared_distance_to_the_label() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet(np.ones(4), 30), rng.integers(0, 4, 30)
    expected = ((probabilities - np.eye(4)[labels]) ** 2).sum(axis=1).mean()
    assert brier_score(probabilities, labels) == pytest.approx(expected, rel=1e-12)
    assert brier_score([[1.0, 0.0], [0.0, 1.0]], [0, 0]) == 1.0  # one perfect, one as wrong as can be


def test_bins_hold_their_upper_edge() -> None:
    found = reliability([0.0, 0.2, 0.21, 0.4, 1.0], [0, 0, 1, 0, 1], bins=5)
    assert found.counts.tolist() == [2, 2, 0, 0, 1]
    assert found.accuracy.tolist() == [0.0, 0.5, 0.0, 0.0, 1.0]
    assert found.confidence == pytest.approx([0.1, 0.305, 0.0, 0.0, 1.0])


def test_the_calibration_error_is_the_mean_gap_by_images() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.1, 1, 500)
    correct = rng.random(500) < confidence**2
    gaps = []
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gaps.append(inside.mean() * abs(correct[inside].mean() - confidence[inside].mean()))
    assert reliability(confidence, correct).ece == pytest.approx(sum(gaps), rel=1e-12)


def test_certainty_that_is_right_is_calibrated_and_certainty_that_is_wrong_is_not() -> None:
    assert reliability([1.0, 1.0], [1, 1]).ece == 0.0
    assert reliability([1.0 + 1e-16, 1.0], [0, 0]).ece == 1.0
