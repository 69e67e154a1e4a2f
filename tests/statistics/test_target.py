"""Shares, tests and times against the target: published values, statsmodels, and what misses do."""

from __future__ import annotations

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.statistics.target import TimeToTarget, clopper_pearson, p_above, share, time_to_target


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (3, 3), (0, 5), (3, 5), (5, 5), (17, 200)])
def test_shares_have_the_clopper_pearson_interval(count: int, n: int) -> None:
    found = share(count, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(count, n, method="beta"), abs=1e-12)


def test_many_shares_are_computed_at_once() -> None:
    low, high = clopper_pearson([0, 7, 10], [10, 10, 10])
    each = [share(count, 10) for count in (0, 7, 10)]
    assert low.tolist() == [share.low for share in each]
    assert high.tolist() == [share.high for share in each]


def test_the_mean_is_tested_against_the_target_from_one_side() -> None:
    values = [0.931, 0.934, 0.929, 0.936, 0.933]
    expected = stats.ttest_1samp(values, 0.93, alternative="greater").pvalue
    assert p_above(values, 0.93) == pytest.approx(expected, rel=1e-12)
    below = p_above(values, 0.94)
    assert below is not None and below > 0.95


@pytest.mark.parametrize("values", [[0.95], [0.95, 0.95, 0.95]])
def test_without_spread_there_is_no_test(values: list[float]) -> None:
    assert p_above(values, 0.9) is None


@pytest.mark.parametrize(
    ("reached", "missed", "median"),
    [
        ([9, 3, 5], 0, 5),
        ([9, 3, 5, 7], 0, 6),  # the middle of two
        ([18, 20, 21], 2, 21),  # a miss takes longer than any
        ([18, 20, 22], 1, 21),
        ([18, 20], 2, None),  # half of them never arrive
        ([100, 110, 120], 4, None),  # most have missed it, however short they ran
        ([18, 20], 3, None),
        ([18], 0, 18),
        ([], 1, None),
        ([], 0, None),
    ],
)
def test_the_median_time_takes_a_miss_for_infinite(
    reached: list[float], missed: int, median: float | None
) -> None:
    found = time_to_target(reached, missed)
    assert found == TimeToTarget(len(reached), len(reached) + missed, median)
