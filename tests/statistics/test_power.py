"""Seeds before the first run: against statsmodels, the issue's table of margins, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from harness.statistics.power import (
    MOST_SEEDS,
    margin_power,
    paired_std,
    seeds_for,
    seeds_for_margin,
    seeds_needed,
    smallest_difference,
    std_upper,
    t_power,
)

ALPHA = 0.05


@pytest.mark.parametrize("effect", [0.3, 0.8, 1.5])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_power_is_statsmodels(effect: float, n: int) -> None:
    paired = TTestPower().power(effect, n, ALPHA)
    independent = TTestIndPower().power(effect, n, ALPHA)
    assert t_power(effect, n, paired=True, alpha=ALPHA) == pytest.approx(paired, abs=1e-7)
    assert t_power(-effect, n, paired=False, alpha=ALPHA) == pytest.approx(independent, abs=1e-7)


def test_seeds_needed_are_the_fewest_with_the_power() -> None:
    for effect, paired in ((1.0, True), (0.5, False), (40.0, True)):
        n = seeds_needed(effect, paired=paired, alpha=ALPHA)
        assert n is not None and t_power(effect, n, paired=paired, alpha=ALPHA) >= 0.8
        assert n == 2 or t_power(effect, n - 1, paired=paired, alpha=ALPHA) < 0.8
    # Cohen (1988), table 2.4.1: d = 0.5, two-sided 0.05, power 0.8 takes 64 in each group
    assert seeds_needed(0.5, paired=False, alpha=ALPHA) == 64
    assert seeds_needed(0.001, paired=True, alpha=ALPHA) is None
    assert t_power(1e4, 3, paired=True, alpha=ALPHA) == pytest.approx(1.0)


def test_seeds_for_a_difference_are_those_of_its_effect_size() -> None:
    expected = TTestPower().solve_power(0.003 / 0.0017, power=0.8, alpha=ALPHA / 3)
    assert seeds_for(-0.003, 0.0017, paired=True, alpha=ALPHA / 3) == math.ceil(expected)
    expected = TTestIndPower().solve_power(0.003 / 0.0017, power=0.9, alpha=ALPHA)
    assert seeds_for(0.003, 0.0017, paired=False, alpha=ALPHA, power=0.9) == math.ceil(expected)


def test_without_any_spread_two_seeds_are_enough() -> None:
    assert seeds_for(0.003, 0.0, paired=True, alpha=ALPHA) == 2
    assert seeds_for_margin(0.002, 0.01, correlation=1.0, alpha=ALPHA) == 2


@pytest.mark.parametrize(("difference", "std"), [(0.0, 0.01), (0.01, -0.01)])
def test_a_difference_of_0_or_a_negative_std_is_refused(difference: float, std: float) -> None:
    with pytest.raises(ValueError):
        seeds_for(difference, std, paired=True, alpha=ALPHA)


@given(
    std=st.floats(1e-4, 0.1),
    n=st.integers(2, 200),
    paired=st.booleans(),
    comparisons=st.integers(1, 20),
)
def test_the_smallest_difference_is_what_just_this_many_seeds_show(
    std: float, n: int, paired: bool, comparisons: int
) -> None:
    alpha = ALPHA / comparisons
    smallest = smallest_difference(std, n, paired=paired, alpha=alpha)
    assert smallest is not None
    assert t_power(smallest / std, n, paired=paired, alpha=alpha) == pytest.approx(0.8, abs=1e-6)
    assert seeds_for(smallest * (1 + 1e-9), std, paired=paired, alpha=alpha) == n


def test_one_seed_can_tell_nothing() -> None:
    assert smallest_difference(0.01, 1, paired=True, alpha=ALPHA) is None


@pytest.mark.parametrize(("margin", "seeds"), [(0.1, 51), (0.2, 14), (0.3, 8), (0.5, 4)])
def test_seeds_for_a_margin_are_those_of_the_issue(margin: float, seeds: int) -> None:
    assert seeds_for_margin(margin, 0.17, alpha=ALPHA) == seeds
    assert seeds_for_margin(margin / 100, 0.17 / 100, alpha=ALPHA) == seeds


def test_a_margin_takes_fewer_seeds_where_seeds_agree_and_too_many_are_not_given() -> None:
    needed = [seeds_for_margin(0.1, 0.17, correlation=rho, alpha=ALPHA) or 0 for rho in (-0.5, 0, 0.5, 0.9)]
    assert needed == sorted(needed, reverse=True) and len(set(needed)) == len(needed)
    assert seeds_for_margin(0.001, 0.17, alpha=ALPHA) is None
    assert margin_power(0.1, 0.2, MOST_SEEDS, alpha=ALPHA) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("n", [3, 8, 30])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_the_power_of_equivalence_is_what_is_simulated(n: int, margin: float) -> None:
    differences = np.random.default_rng(n).normal(size=(40_000, n))
    half = stats.t.ppf(0.95, n - 1) * differences.std(axis=1, ddof=1) / math.sqrt(n)
    means = differences.mean(axis=1)
    simulated = ((means - half > -margin) & (means + half < margin)).mean()
    assert margin_power(margin, 1.0, n, alpha=ALPHA) == pytest.approx(simulated, abs=0.01)


@pytest.mark.parametrize(("n", "level"), [(2, 0.8), (3, 0.8), (10, 0.95)])
def test_the_upper_bound_of_a_std_is_above_it_as_often_as_it_says(n: int, level: float) -> None:
    stds = np.random.default_rng(1).normal(size=(40_000, n)).std(axis=1, ddof=1)
    assert (stds * std_upper(1.0, n, level) >= 1.0).mean() == pytest.approx(level, abs=0.01)


def test_one_value_has_no_bound() -> None:
    with pytest.raises(ValueError):
        std_upper(0.0, 1)


@given(st.floats(-1, 1))
def test_the_std_of_differences_is_that_of_correlated_seeds(correlation: float) -> None:
    variance = 1 + 1 - 2 * correlation
    assert paired_std(1.0, correlation) ** 2 == pytest.approx(variance, abs=1e-12)
