"""Mean, spread and intervals of the seeds, against numpy and scipy's own ways."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.distribution import (
    Distribution,
    bootstrap_interval,
    describe,
    interquartile_mean,
    judgeable_std,
    median_of,
    std_of,
    t_interval,
)
from harness.statistics.prediction import value_standing

VALUES = [0.931, 0.934, 0.929, 0.936, 0.933]
floats = st.floats(-1e6, 1e6, allow_nan=False)


def described(values: list[float], **options: Any) -> Distribution:
    found = describe(values, **options)
    assert found is not None
    return found


def test_the_std_has_the_divisor_n_minus_1() -> None:
    assert std_of([1.0, 3.0]) == pytest.approx(math.sqrt(2), rel=1e-15)


def test_the_interval_is_students() -> None:
    low, high = stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert t_interval(VALUES) == pytest.approx((low, high), rel=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_interval_of_accuracies_stays_inside_and_keeps_what_it_holds(values: list[float]) -> None:
    found, whole = described(values, shares=True), t_interval(values)
    if whole is None:
        assert found.ci_low is None and found.ci_high is None
    else:
        assert (found.ci_low, found.ci_high) == (max(whole[0], 0), min(whole[1], 1))
        standing = value_standing(0.5, values)
        assert standing.low is not None and standing.high is not None
        assert 0 <= standing.low <= found.mean <= standing.high <= 1


def test_a_distribution_has_every_number() -> None:
    found = described(VALUES)
    assert (found.n, found.minimum, found.maximum, found.median) == (5, 0.929, 0.936, 0.933)
    assert found.mean == pytest.approx(0.9326, rel=1e-15)
    assert found.sem == pytest.approx(stats.sem(VALUES), rel=1e-12)
    assert found.iqm == pytest.approx(stats.trim_mean(VALUES, 0.25), rel=1e-15)
    assert found.ci_low is not None and found.ci_low < found.mean


@pytest.mark.parametrize(("values", "std"), [([0.95], None), ([0.95] * 3, 0.0)])
def test_one_value_and_equal_values_have_no_interval(values: list[float], std: float | None) -> None:
    found = described(values)
    assert [found.mean, found.median, found.iqm] == pytest.approx([0.95] * 3, rel=1e-15)
    assert (found.std, found.ci_low, found.ci_high) == (std, None, None)
    assert bootstrap_interval(values) is None
    assert describe([]) is None


def test_differences_that_are_equal_but_for_rounding_are_equal() -> None:
    differences = [0.9369 - 0.9349, 0.9269 - 0.9249]
    assert len(set(differences)) > 1
    assert judgeable_std(differences) is None
    assert judgeable_std([0.0001, 0.0002]) == pytest.approx(0.0001 / math.sqrt(2))


@pytest.mark.parametrize("n", range(1, 13))
def test_median_and_iqm_are_numpys_and_rliables(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).tolist()
    assert median_of(values) == pytest.approx(np.median(values), rel=1e-14)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-12)


@given(st.lists(floats, min_size=2, max_size=9), st.randoms())
def test_the_order_of_seeds_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert describe(shuffled) == describe(values)


def test_the_bootstrap_gives_the_same_interval_each_time_and_in_any_order() -> None:
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    first = bootstrap_interval(VALUES)
    assert first == bootstrap_interval(VALUES[::-1])
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


def test_the_bootstrap_is_efrons_bca() -> None:
    """Written out by the book (Efron and Tibshirani 1993, 14.3), with other random numbers."""
    values = np.random.default_rng(3).gamma(2, size=40)
    means = np.random.default_rng(4).choice(values, (20_000, 40)).mean(axis=1)
    left_out = (values.sum() - values) / 39
    deviations = left_out.mean() - left_out
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    bias = stats.norm.ppf(np.mean(means < values.mean()))
    z = bias + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    assert bootstrap_interval(values.tolist()) == pytest.approx(expected, rel=0.01)
