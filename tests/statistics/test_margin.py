"""Tests against a margin: statsmodels' TOST, and verdicts that never contradict the primary test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from harness.statistics.comparison import Comparison, Estimate, judge, paired_t, welch_t
from harness.statistics.margin import AgainstMargin, against_margin, judge_margins

OURS = [0.9312, 0.9340, 0.9291, 0.9364, 0.9330]
THEIRS = [0.9288, 0.9301, 0.9312, 0.9345, 0.9299]


def against(estimate: Estimate, margin: float) -> AgainstMargin:
    found = against_margin(estimate, margin)
    assert found is not None
    return found


def verdict(difference: float, error: float, margin: float = 0.01, free: float = 9) -> str:
    (judged,) = judge_margins([against(Estimate(difference, error=error, free=free), margin)])
    assert judged is not None
    return judged.verdict


def test_p_is_that_of_two_one_sided_tests() -> None:
    ours, theirs = np.array(OURS), np.array(THEIRS)
    paired = against(paired_t((ours - theirs).tolist()), 0.002)
    assert paired.p_equivalent == pytest.approx(ttost_paired(ours, theirs, -0.002, 0.002)[0], rel=1e-9)
    apart = against(welch_t(OURS, THEIRS), 0.002)
    expected = ttost_ind(ours, theirs, -0.002, 0.002, usevar="unequal")[0]
    assert apart.p_equivalent == pytest.approx(expected, rel=1e-9)
    for p, value, side in (
        (paired.p_not_worse, -0.002, "greater"),
        (paired.p_better, 0.002, "greater"),
        (paired.p_worse, -0.002, "less"),
    ):
        alternative = stats.ttest_1samp(ours - theirs, value, alternative=side)
        assert p == pytest.approx(alternative.pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("difference", "error", "expected"),
    [
        (0.03, 0.002, "better by at least the margin"),
        (-0.03, 0.002, "worse by at least the margin"),
        (0.001, 0.002, "equivalent"),
        (0.009, 0.002, "not worse"),
        (-0.009, 0.002, "not shown"),
        (0.0, 0.02, "not shown"),
    ],
)
def test_the_strongest_claim_that_is_shown_is_the_verdict(
    difference: float, error: float, expected: str
) -> None:
    assert verdict(difference, error) == expected


def test_each_kind_is_corrected_by_itself() -> None:
    results = [against(Estimate(shift, error=0.002, free=9), 0.01) for shift in (0.0, 0.001, 0.03)]
    judged = [one for one in judge_margins([results[0], None, *results[1:]]) if one is not None]
    assert len(judged) == 3
    least = min(one.p_equivalent for one in results)
    assert min(one.p_equivalent for one in judged) == pytest.approx(3 * least)
    assert judged[2].p_better == pytest.approx(3 * results[2].p_better)


def test_without_a_spread_nothing_is_claimed() -> None:
    assert against_margin(paired_t([0.01, 0.01, 0.01]), 0.002) is None


@given(
    st.lists(
        st.tuples(st.floats(-0.05, 0.05), st.floats(1e-4, 0.02), st.integers(1, 30)), min_size=1, max_size=5
    ),
    st.floats(1e-4, 0.4),
)
def test_better_by_the_margin_is_never_said_of_what_is_not_better(
    cases: list[tuple[float, float, int]], margin: float
) -> None:
    estimates = [
        Estimate(
            difference, -1, 1, float(2 * stats.t.sf(abs(difference) / error, free)), 1.0, error, float(free)
        )
        for difference, error, free in cases
    ]
    judged = judge([Comparison("paired t", 5, 5, estimate) for estimate in estimates])
    margins = judge_margins([against_margin(estimate, margin) for estimate in estimates])
    for comparison, result in zip(judged, margins, strict=True):
        assert result is not None
        if result.verdict.endswith("by at least the margin"):
            assert result.verdict.startswith(comparison.verdict)
