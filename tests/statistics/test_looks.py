"""Planned looks: bounds against simulated studies and exact cases; Holm over comparisons and looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.looks import LookDecision, decide_at_looks, look_bounds

LOOKS = [3, 5, 10, 20]
STUDIES = 200_000
plans = st.lists(st.integers(2, 30), min_size=1, max_size=4, unique=True).map(sorted)


def rejected_up_to_each_look(looks: list[int], level: float, pairs: list[int] | None = None) -> np.ndarray:
    """Simulate whole studies, seed by seed, and count those that crossed a bound by each look."""
    bounds, n = look_bounds(looks, level, pairs), np.array(pairs or looks)
    values = np.random.default_rng(7).standard_normal((STUDIES, n[-1]))
    means = values.cumsum(axis=1)[:, n - 1] / n
    stds = np.sqrt(((values**2).cumsum(axis=1)[:, n - 1] - n * means**2) / np.maximum(n - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = np.abs(means) * np.sqrt(n) / stds >= bounds
    return np.maximum.accumulate(crossed & (n > 1), axis=1).mean(axis=0)


def test_bounds_of_the_usual_plans() -> None:
    # simulated by others, to 1 %
    assert look_bounds(LOOKS, 0.05) == pytest.approx([29.55, 7.11, 3.26, 2.187], rel=0.01)
    assert look_bounds([3, 5, 10], 0.05) == pytest.approx([14.77, 4.80, 2.395], rel=0.01)


@pytest.mark.parametrize("n", [2, 3, 10, 100])
@pytest.mark.parametrize("level", [0.05, 0.0001])
def test_a_single_look_is_the_t_test(n: int, level: float) -> None:
    exact = stats.t.isf(level / 2, n - 1)
    (bound,) = look_bounds([n], level)
    assert exact * (1 - 1e-12) <= bound <= exact * (1 + 1e-4)  # rounded up


@pytest.mark.parametrize(
    ("looks", "level"),
    [(LOOKS, 0.05), (LOOKS, 0.05 / 3), ([3, 4, 5, 6, 7, 8], 0.05), ([2, 4, 6], 0.1), ([5, 30], 0.05)],
)
def test_each_look_spends_what_the_plan_gives_it(looks: list[int], level: float) -> None:
    rates = rejected_up_to_each_look(looks, level)
    for n, rate in zip(looks, rates, strict=True):
        planned = level * (n / looks[-1]) ** 2
        assert abs(rate - planned) < 4 * math.sqrt(planned / STUDIES) + 0.01 * planned


@pytest.mark.parametrize("pairs", [[3, 4, 9, 18], [1, 4, 4, 19], [2, 2, 10, 10], [1, 1, 1, 2]])
def test_failed_runs_change_no_error_rate(pairs: list[int]) -> None:
    rates = rejected_up_to_each_look(LOOKS, 0.05, pairs)
    assert abs(rates[-1] - 0.05) < 4 * math.sqrt(0.05 / STUDIES) + 0.0005


def test_a_look_without_a_t_statistic_leaves_its_level_to_the_next() -> None:
    assert look_bounds([3, 5, 10], 0.05, [1, 1, 9]) == (math.inf, math.inf, look_bounds([9], 0.05)[0])
    assert look_bounds([3, 5, 10], 0.05, []) == ()


@settings(deadline=None, max_examples=15)
@given(plans, st.floats(0.001, 0.2), st.floats(1.2, 5))
def test_a_smaller_level_needs_a_larger_t(looks: list[int], level: float, factor: float) -> None:
    strict, loose = look_bounds(looks, level / factor), look_bounds(looks, level)
    assert all(a > b for a, b in zip(strict, loose, strict=True))


@settings(deadline=None, max_examples=15)
@given(plans, st.floats(0.001, 0.2), st.integers(1, 4))
def test_bounds_of_looks_reached_depend_on_no_later_number_of_pairs(
    looks: list[int], level: float, reached: int
) -> None:
    whole = look_bounds(looks, level)
    assert look_bounds(looks, level, looks[:reached]) == whole[:reached]
    assert len(whole) == len(looks)


@pytest.mark.parametrize(
    ("looks", "level", "pairs", "message"),
    [
        ([], 0.05, None, "increasing"),
        ([1, 3], 0.05, None, "increasing"),
        ([5, 3], 0.05, None, "increasing"),
        ([3, 3], 0.05, None, "increasing"),
        ([3], 0.0, None, "level"),
        ([3], 1.0, None, "level"),
        ([3], math.nan, None, "level"),
        ([3, 5], 0.05, [3, 2], "decrease"),
        ([3], 0.05, [3, 5], "at most 1"),
    ],
)
def test_wrong_arguments_are_one_line(
    looks: list[int], level: float, pairs: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        look_bounds(looks, level, pairs)
    assert "\n" not in str(caught.value)


# ---- several comparisons ---------------------------------------------------------------------------------


def decide(*t: list[float | None]) -> list[LookDecision]:
    return decide_at_looks(t, [LOOKS[: len(row)] for row in t], LOOKS, 0.05)


def test_one_comparison_is_held_to_the_whole_level() -> None:
    bounds = look_bounds(LOOKS, 0.05)
    assert decide([5.0, 6.0]) == [LookDecision(None, 0, None, bounds[1])]
    assert decide([5.0, -8.0]) == [LookDecision(1, -1, 1, bounds[1])]
    assert decide([]) == [LookDecision(None, 0, None, None)]


def test_a_decision_lowers_what_the_others_need() -> None:
    third, half = look_bounds(LOOKS, 0.05 / 3), look_bounds(LOOKS, 0.05 / 2)
    between = (third[1] + half[1]) / 2
    alone = decide([0.0, between], [1.0, 1.0], [1.0, 1.0])
    assert [one.look for one in alone] == [None, None, None]
    assert alone[0].needed == third[1]
    first, second, other = decide([0.0, between], [1.0, -1000.0], [1.0, 1.0])
    assert second == LookDecision(1, -1, 1, third[1])
    assert first == LookDecision(1, 1, 1, half[1])
    assert other.needed == look_bounds(LOOKS, 0.05)[1]


def test_an_earlier_look_counts_when_less_is_needed_of_it() -> None:
    half, whole = look_bounds(LOOKS, 0.05 / 2), look_bounds(LOOKS, 0.05)
    early = -(half[1] + whole[1]) / 2
    waiting = decide([0.0, early, 0.5], [0.0, 0.0, 0.0])
    assert [one.look for one in waiting] == [None, None]
    assert decide([0.0, early, 0.5], [0.0, 0.0, 100.0])[0] == LookDecision(2, -1, 1, whole[1])


def test_a_look_without_a_statistic_decides_nothing() -> None:
    assert decide([None, None], [None, 1000.0])[0].look is None
    assert decide([None, None])[0].needed == look_bounds(LOOKS, 0.05)[1]


def test_each_comparison_needs_a_number_of_pairs_for_each_statistic() -> None:
    with pytest.raises(ValueError, match="as many"):
        decide_at_looks([[1.0, 2.0]], [[3]], LOOKS, 0.05)


statistics = st.lists(
    st.lists(st.one_of(st.none(), st.floats(-60, 60)), min_size=4, max_size=4), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=25)
@given(statistics, st.integers(0, 3))
def test_decisions_stand_and_do_not_depend_on_what_the_decided_do_next(
    t: list[list[float | None]], reached: int
) -> None:
    early, late = decide(*(row[:reached] for row in t)), decide(*t)
    # those that were decided stop, as with --until-decided
    stopped = decide(
        *(row[:reached] if one.look is not None else row for row, one in zip(t, early, strict=True))
    )
    for before, after, alone in zip(early, late, stopped, strict=True):
        assert (after.look, after.sign, after.crossed) == (alone.look, alone.sign, alone.crossed)
        if before.look is not None:
            assert after == before


@settings(deadline=None, max_examples=25)
@given(statistics)
def test_the_other_sign_gives_the_other_verdict_in_any_order(t: list[list[float | None]]) -> None:
    flipped = decide(*([None if x is None else -x for x in row] for row in reversed(t)))
    for one, other in zip(decide(*t), reversed(flipped), strict=True):
        assert (one.look, one.sign, one.crossed, one.needed) == (
            other.look,
            -other.sign,
            other.crossed,
            other.needed,
        )
