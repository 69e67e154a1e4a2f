"""Where the spread over seeds comes from: each part against its definition, written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from harness.statistics.variance import SeedVariance, sampling_std, seed_variance


def parts(correct: Any) -> SeedVariance:
    found = seed_variance(correct)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def correct() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((5, 400)) < rng.beta(6, 1, 400)


def test_the_stds_are_those_of_the_accuracies_and_of_the_images(correct: np.ndarray) -> None:
    found, shares = parts(correct), correct.mean(axis=0)
    assert (found.n, found.images) == (5, 400)
    assert found.std == pytest.approx(np.std(correct.mean(axis=1), ddof=1), rel=1e-12)
    plug_in = math.sqrt((shares * (1 - shares)).sum()) / 400
    assert found.independent_std_plug_in == pytest.approx(plug_in, rel=1e-12)
    unbiased = math.sqrt(correct.var(axis=0, ddof=1).sum()) / 400
    assert found.independent_std == pytest.approx(unbiased, rel=1e-12)


def test_the_excess_is_the_mean_covariance_of_two_different_images(correct: np.ndarray) -> None:
    found = parts(correct)
    covariances = np.cov(correct.astype(float), rowvar=False)
    np.fill_diagonal(covariances, 0)
    assert found.between_runs == pytest.approx(covariances.sum() / (400 * 399), rel=1e-9)


def test_the_excess_may_be_negative() -> None:
    # every seed misses another one of four images: all have the same accuracy
    found = parts(~np.eye(4, dtype=bool))
    assert found.std == 0 and found.between_runs < 0 and found.p_luck == 1.0


def test_seeds_that_err_on_the_same_images_differ_by_nothing() -> None:
    found = parts([[1, 1, 0, 1]] * 3)
    assert (found.std, found.independent_std, found.between_runs, found.p_luck) == (0, 0, 0, None)


def test_luck_is_tested_by_the_chi_square_of_a_variance(correct: np.ndarray) -> None:
    found = parts(correct)
    ratio = np.var(correct.mean(axis=1), ddof=1) / (correct.var(axis=0, ddof=1).sum() / 400**2)
    assert found.p_luck == pytest.approx(stats.chi2.sf(4 * ratio, 4), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 100), (3, 1)])
def test_one_seed_or_one_image_say_nothing(shape: tuple[int, int]) -> None:
    assert seed_variance(np.ones(shape)) is None


def test_new_images_bring_the_binomials_noise() -> None:
    assert sampling_std(0.94, 10_000) == pytest.approx(0.0023749, abs=1e-7)
    found = parts([[1, 1, 0, 1], [1, 0, 1, 1]])
    assert found.sampling_std == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_the_estimate_is_unbiased_over_all_that_can_happen() -> None:
    """Every outcome of 2 seeds on 2 images, weighted by its probability: no random numbers.

    Two kinds of runs, equally likely, are right with probability 0.9 or 0.5 on any image, so the variance of
    a run's accuracy on endless images is 0.2^2.
    """
    expected = 0.0
    for outcome in itertools.product([0, 1], repeat=4):
        matrix = np.array(outcome).reshape(2, 2)
        probability = 1.0
        for row in matrix:
            probability *= sum(0.5 * np.prod(np.where(row == 1, p, 1 - p)) for p in (0.9, 0.5))
        found = parts(matrix)
        expected += probability * found.between_runs
    assert expected == pytest.approx(0.04, rel=1e-12)


@pytest.mark.parametrize("between", [0.0, 0.006])
def test_the_interval_holds_the_std_between_runs_as_often_as_it_says(between: float) -> None:
    """400 studies of 5 runs on 1,000 images: std of independent errors 0.9 points."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        shares = 0.9 + between * rng.standard_normal((5, 1))
        found = parts(rng.random((5, 1000)) < shares)
        if found.low is None or found.high is None:
            continue  # an empty interval holds nothing
        held += found.low <= between <= found.high
    assert 0.925 <= held / 400 <= 0.985  # 0.95, and in each direction more than two Monte Carlo errors


def test_seeds_that_hardly_differ_leave_no_interval() -> None:
    right = np.ones((3, 90), dtype=bool)
    for seed in range(3):
        right[seed, 30 * seed : 30 * seed + 9] = False  # equal accuracies, errors on other images
    found = parts(right)
    assert found.std == 0
    assert (found.low, found.high) == (None, None)


@given(arrays(bool, st.tuples(st.integers(2, 5), st.integers(2, 12))))
def test_the_interval_of_the_std_between_runs_ends_where_no_std_of_shares_is(correct: np.ndarray) -> None:
    found = parts(correct)
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.high <= 0.5
