"""What several seeds say together, and whether they err alike."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from harness.statistics.ensemble import always_missed, ensemble_predictions, error_consistency, most_voted


def test_the_ensemble_predicts_by_the_averaged_probability() -> None:
    # two of three seeds are for class 0, the third is much surer of class 1
    probabilities = np.array([[[0.6, 0.4]], [[0.6, 0.4]], [[0.05, 0.95]]])
    assert ensemble_predictions(probabilities.mean(axis=0)).tolist() == [1]


def test_error_consistency_is_the_mean_kappa_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((4, 300)) < rng.beta(3, 1, 300)
    expected = np.mean([cohen_kappa_score(a, b) for a, b in itertools.combinations(correct.astype(int), 2)])
    assert error_consistency(correct) == pytest.approx(expected, rel=1e-9)


def test_the_same_errors_are_fully_consistent() -> None:
    assert error_consistency([[1, 0, 1, 1], [1, 0, 1, 1]]) == pytest.approx(1.0)


@pytest.mark.parametrize("correct", [[[1, 0, 1]], [[1, 1, 1], [1, 1, 1]]])
def test_one_seed_and_seeds_without_errors_have_no_consistency(correct: list[list[int]]) -> None:
    assert error_consistency(correct) is None


def test_images_that_every_seed_misses_are_found() -> None:
    assert always_missed([[1, 0, 0, 1], [0, 0, 0, 1]]).tolist() == [1, 2]


def test_the_most_voted_class_is_counted() -> None:
    winners, votes = most_voted([[2, 1, 0], [2, 0, 0], [1, 2, 0]], classes=3)
    assert winners.tolist() == [2, 0, 0]
    assert votes.tolist() == [2, 1, 3]
