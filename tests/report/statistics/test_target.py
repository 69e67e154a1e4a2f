"""Shares, tests and times against the target: published values, statsmodels, and what misses do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.proportion import proportion_confint

from harness.report import statistics


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (0, 5), (3, 5), (5, 5), (17, 200)])
def test_shares_have_the_clopper_pearson_interval(count: int, n: int) -> None:
    found = statistics.share(count, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(count, n, method="beta"), abs=1e-12)


def test_three_of_three_leave_everything_from_29_percent_up() -> None:
    found = statistics.share(3, 3)
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 3), rel=1e-12), 1.0)


def test_many_shares_are_computed_at_once() -> None:
    low, high = statistics.clopper_pearson([0, 7, 10], [10, 10, 10])
    each = [statistics.share(count, 10) for count in (0, 7, 10)]
    assert low.tolist() == [share.low for share in each]
    assert high.tolist() == [share.high for share in each]


def test_the_mean_is_tested_against_the_target_from_one_side() -> None:
    values = [0.931, 0.934, 0.929, 0.936, 0.933]
    expected = stats.ttest_1samp(values, 0.93, alternative="greater").pvalue
    assert statistics.p_above(values, 0.93) == pytest.approx(expected, rel=1e-12)
    below = statistics.p_above(values, 0.94)
    assert below is not None and below > 0.95


@pytest.mark.parametrize("values", [[0.95], [0.95, 0.95, 0.95]])
def test_without_spread_there_is_no_test(values: list[float]) -> None:
    assert statistics.p_above(values, 0.9) is None


def test_the_median_time_is_kaplan_and_meiers() -> None:
    # Freireich et al. (Blood, 1963): weeks of remission under 6-MP, published median 23
    reached = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    missed = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    found = statistics.time_to_target(reached, missed)
    assert (found.reached, found.n, found.median) == (9, 21, 23)
    times = np.array([*reached, *missed], dtype=float)
    curve = SurvfuncRight(times, np.arange(21) < 9)
    assert found.median == curve.quantile(0.5)


def test_when_all_reached_it_the_median_is_the_lower_middle_time() -> None:
    assert statistics.time_to_target([9, 3, 5], []).median == 5
    assert statistics.time_to_target([9, 3, 5, 7], []).median == 5


def test_a_miss_counts_as_a_longer_time() -> None:
    assert statistics.time_to_target([18, 20, 21], [24, 24]).median == 21
    assert statistics.time_to_target([18, 20], [24, 24]).median == 20


def test_where_more_than_half_missed_there_is_no_median() -> None:
    assert statistics.time_to_target([18, 20], [24, 24, 24]) == statistics.TimeToTarget(2, 5, None)
    assert statistics.time_to_target([], [24]) == statistics.TimeToTarget(0, 1, None)


def test_a_run_that_diverged_early_counts_as_one_that_never_arrives() -> None:
    assert statistics.time_to_target([18, 20], [math.inf, math.inf, math.inf]).median is None
    # leaving it out would give 20, censoring it at its end too
    assert statistics.time_to_target([18, 20, 22], [math.inf, math.inf]).median == 22
    assert statistics.time_to_target([18, 20, 22], [1, 1]).median == 20
