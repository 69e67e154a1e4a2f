"""Comparing recipes: each test against scipy or statsmodels, and what the verdict needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from harness.statistics.comparison import (
    Comparison,
    Estimate,
    compare,
    holm,
    judge,
    welch_t,
)
from harness.statistics.mcnemar import compare_images

OURS = {0: 0.9312, 1: 0.9340, 2: 0.9291, 3: 0.9364, 4: 0.9330}
THEIRS = {0: 0.9288, 1: 0.9301, 2: 0.9262, 3: 0.9345, 4: 0.9299}


def differing(difference: float, std: float, n: int = 5) -> dict[int, float]:
    """Baseline's accuracies plus differences of this mean and std."""
    pattern = np.random.default_rng(n).normal(size=n)
    pattern = (pattern - pattern.mean()) / pattern.std(ddof=1)
    return {seed: THEIRS[seed] + difference + std * float(pattern[seed]) for seed in range(n)}


def compared(ours: dict[int, float], theirs: dict[int, float]) -> Comparison:
    found = compare(ours, theirs)
    assert found is not None
    return found


def comparison(p: float | None, difference: float = 0.01, effect_size: float = 1.0) -> Comparison:
    return Comparison("paired t", 5, 5, Estimate(difference, -1, 1, p, effect_size))


def assert_scipys(found: Estimate, expected: Any) -> None:
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_shared_seeds_are_compared_in_pairs_and_by_welch_beside() -> None:
    found = compared(OURS, THEIRS)
    ours, theirs = (np.array(list(values.values())) for values in (OURS, THEIRS))
    assert (found.test, found.n, found.n_baseline) == ("paired t", 5, 5)
    assert_scipys(found.primary, stats.ttest_rel(ours, theirs))
    differences = ours - theirs
    assert found.primary.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1), rel=1e-9)
    assert found.welch_p == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue, rel=1e-9)
    assert found.permutation is not None and found.permutation.smallest_p == 2 / 32


def test_pairs_are_matched_by_seed_and_not_by_place() -> None:
    shuffled = {seed: THEIRS[seed] for seed in (3, 1, 4, 0, 2)}
    assert compare(OURS, shuffled) == compare(OURS, THEIRS)


def test_seeds_that_only_one_has_are_left_out_of_the_paired_test_and_not_of_welchs() -> None:
    more = {**OURS, 7: 0.99}
    found, without = compared(more, THEIRS), compared(OURS, THEIRS)
    assert found.primary == without.primary
    assert found.welch_p != without.welch_p


def test_without_shared_seeds_welch_is_the_primary_test() -> None:
    others = {seed + 10: value for seed, value in THEIRS.items() if seed < 3}
    found = compared(OURS, others)
    assert (found.test, found.n, found.n_baseline, found.welch_p) == ("Welch t", 5, 3, None)
    expected = stats.ttest_ind(list(OURS.values()), list(others.values()), equal_var=False)
    assert_scipys(found.primary, expected)
    assert found.permutation is not None and found.permutation.smallest_p == pytest.approx(2 / 56)


@pytest.mark.parametrize(
    ("ours", "theirs"), [({0: 0.9}, {0: 0.8}), ({0: 0.9}, {1: 0.8, 2: 0.81}), ({}, OURS)]
)
def test_single_runs_compare_no_recipes(ours: dict[int, float], theirs: dict[int, float]) -> None:
    assert compare(ours, theirs) is None


def test_two_seeds_are_the_fewest_that_can_be_compared() -> None:
    found = compared({0: 0.93, 1: 0.94}, {0: 0.92, 1: 0.925})
    assert found.primary.p is not None and found.primary.p > 0.05


def test_differences_that_are_all_equal_decide_nothing() -> None:
    better = {seed: value + 0.01 for seed, value in THEIRS.items()}
    found = compared(better, THEIRS)
    assert found.primary == Estimate(pytest.approx(0.01))  # type: ignore[arg-type]
    (judged,) = judge([found])
    assert (judged.verdict, judged.p_holm, judged.seeds_needed) == ("cannot tell", None, None)


def test_one_group_without_spread_can_still_be_compared() -> None:
    found = welch_t([0.93, 0.93, 0.93], [0.92, 0.935, 0.94])
    # it is then as good as known, and the other group is tested against it
    assert found.p == pytest.approx(stats.ttest_1samp([0.92, 0.935, 0.94], 0.93).pvalue, rel=1e-9)
    assert welch_t([0.93, 0.93], [0.92, 0.92]) == Estimate(pytest.approx(0.01))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "p_values", [[], [0.04], [0.01, 0.04, 0.03, 0.005], [0.03, 0.03, 0.03], [0.6, 0.9, 0.001], [1.0, 1.0]]
)
def test_holms_correction_is_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(expected), rel=1e-12)


def test_a_verdict_needs_the_corrected_p() -> None:
    (alone,) = judge([comparison(0.03)])
    assert (alone.verdict, alone.p_holm) == ("better", 0.03)
    several = judge([comparison(0.03), comparison(0.5), comparison(0.9)])
    assert several[0].verdict == "cannot tell" and several[0].p_holm == pytest.approx(0.09)
    (worse,) = judge([comparison(0.001, difference=-0.01)])
    assert worse.verdict == "worse"
    # what cannot be tested does not count
    assert [one.p_holm for one in judge([comparison(None), comparison(0.03)])] == [None, 0.03]


def test_single_networks_get_no_verdict_about_recipes() -> None:
    (judged,) = judge([compare_images([1] * 900 + [0] * 100, [1] * 800 + [0] * 200)])
    assert judged.p_holm is not None and judged.p_holm < 1e-9
    assert (judged.test, judged.verdict, judged.seeds_needed) == ("McNemar", "cannot tell", None)


@pytest.mark.parametrize("several", [1, 3])
def test_where_nothing_can_be_told_it_says_how_many_seeds_could(several: int) -> None:
    judged = judge([compared(differing(0.001, 0.002), THEIRS)] * several)
    expected = TTestPower().solve_power(0.5, power=0.8, alpha=0.05 / several)
    assert (judged[0].verdict, judged[0].seeds_needed) == ("cannot tell", math.ceil(expected))


@pytest.mark.parametrize("baseline", [{0: 0.1, 1: 0.9}, {2: 0.1, 3: 0.9}])
def test_no_interval_of_a_difference_of_accuracies_goes_beyond_what_accuracies_allow(
    baseline: dict[int, float],
) -> None:
    found = compared({0: 0.9, 1: 0.1}, baseline)
    assert (found.primary.low, found.primary.high) == (-1.0, 1.0)
