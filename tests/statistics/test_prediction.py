"""Published numbers against ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.distribution import t_interval
from harness.statistics.prediction import (
    prediction_interval,
    share_prediction,
    share_standing,
    value_standing,
)

VALUES = [0.931, 0.934, 0.929, 0.936, 0.933]


def test_the_prediction_interval_is_that_of_one_further_run() -> None:
    half = stats.t.ppf(0.975, 4) * np.std(VALUES, ddof=1) * np.sqrt(1 + 1 / 5)
    expected = (np.mean(VALUES) - half, np.mean(VALUES) + half)
    assert prediction_interval(VALUES) == pytest.approx(expected, rel=1e-12)
    assert prediction_interval(VALUES, 1, "median") == pytest.approx(expected, rel=1e-12)


def test_the_mean_of_many_runs_is_predicted_more_narrowly() -> None:
    one, many = prediction_interval(VALUES), prediction_interval(VALUES, runs=10_000)
    assert one is not None and many is not None and one[0] < many[0] < many[1] < one[1]
    assert many == pytest.approx(t_interval(VALUES), abs=1e-5)


@pytest.mark.parametrize("runs", [3, 5, 20, 50])
@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_of_a_median_holds_it_in_95_of_100_cases(runs: int, n: int) -> None:
    rng = np.random.default_rng(0)
    published = np.median(rng.normal(size=(4000, runs)), axis=1)
    held = 0
    for median, values in zip(published, rng.normal(size=(4000, n)), strict=True):
        low, high = prediction_interval(values.tolist(), runs, "median") or (0, 0)
        held += low <= median <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.015)  # 4 standard errors


def test_a_number_inside_is_plausible_and_one_outside_is_not() -> None:
    inside, outside = (value_standing(one, VALUES) for one in (0.9318, 0.9))
    assert inside.plausible is True and outside.plausible is False
    assert inside.difference == pytest.approx(0.9318 - np.mean(VALUES), rel=1e-12)
    assert (inside.percentile, outside.percentile) == (0.4, 0.0)


def test_p_is_that_of_the_interval() -> None:
    error = np.std(VALUES, ddof=1) * np.sqrt(1 / 4 + 1 / 5)
    found = value_standing(0.94, VALUES, runs=4)
    assert found.p == pytest.approx(2 * stats.t.sf((0.94 - np.mean(VALUES)) / error, 4))
    for statistic, runs in (("mean", 1), ("mean", 7), ("median", 9)):
        low, high = prediction_interval(VALUES, runs, statistic) or (0, 0)  # type: ignore[arg-type]
        for end in (low, high):
            at_end = value_standing(end, VALUES, runs, statistic)  # type: ignore[arg-type]
            assert at_end.p == pytest.approx(0.05)


@pytest.mark.parametrize(("runs", "statistic"), [(2, "mean"), (50, "mean"), (2, "median"), (50, "median")])
def test_a_number_of_several_runs_has_no_percentile_among_single_ones(runs: int, statistic: str) -> None:
    assert value_standing(0.9318, VALUES, runs, statistic).percentile is None  # type: ignore[arg-type]


def test_the_median_of_two_runs_is_their_mean() -> None:
    assert prediction_interval(VALUES, 2, "median") == prediction_interval(VALUES, 2)


def test_a_median_is_compared_with_our_median() -> None:
    found = value_standing(0.9318, VALUES, 50, "median")
    assert found.measured == 0.933 and found.difference == pytest.approx(-0.0012)


def test_equal_runs_count_half_in_the_percentile() -> None:
    found = value_standing(0.933, VALUES).percentile
    assert found == stats.percentileofscore(VALUES, 0.933, "mean") / 100


@pytest.mark.parametrize(("values", "percentile"), [([0.934], None), ([0.934, 0.934], 0.0)])
def test_one_seed_and_equal_seeds_do_not_judge(values: list[float], percentile: float | None) -> None:
    found = value_standing(0.9318, values)
    assert found.difference == pytest.approx(-0.0022)
    assert (found.percentile, found.low, found.high, found.plausible) == (percentile, None, None, None)


@pytest.mark.parametrize(("reached", "n"), [(0, 1), (1, 1), (0, 3), (3, 3), (3, 5), (7, 10), (36, 50)])
@pytest.mark.parametrize("runs", [1, 2, 10, 50])
def test_a_share_is_plausible_where_fishers_test_does_not_tell_it_from_ours(
    reached: int, n: int, runs: int
) -> None:
    possible = [
        count
        for count in range(runs + 1)
        if min(
            stats.fisher_exact([[reached, n - reached], [count, runs - count]], alternative=side).pvalue
            for side in ("less", "greater")
        )
        > 0.025
    ]
    low, high = share_prediction(reached, n, runs)
    assert list(range(low, high + 1)) == possible
    found = share_standing(runs // 2, runs, reached, n)
    assert found.plausible is (runs // 2 in possible)
    sides = [
        stats.fisher_exact([[reached, n - reached], [runs // 2, runs - runs // 2]], alternative=side).pvalue
        for side in ("less", "greater")
    ]
    assert found.p == pytest.approx(min(1, 2 * min(sides)), rel=1e-9)
    assert (found.measured, found.published) == (reached / n, runs // 2 / runs)


def test_the_largest_share_takes_no_time() -> None:
    low, high = share_prediction(700, 1000, 1_000_000)
    assert 660_000 < low < 700_000 < high < 740_000
