"""P(A > B): scipy's Brunner-Munzel, exact intervals of pairs, and what ties and separation do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.statistics.superiority import Superiority, brunner_munzel, superiority

ACCURACIES = st.lists(st.integers(0, 12).map(lambda count: count / 360), min_size=2, max_size=9)


def of(ours: list[float], theirs: list[float], shift: int = 0) -> Superiority:
    found = superiority(dict(enumerate(ours)), dict(enumerate(theirs, start=shift)))
    assert found is not None
    return found


def test_pairs_have_the_share_of_seeds_and_its_exact_interval() -> None:
    found = of([0.9, 0.91, 0.92, 0.93, 0.94], [0.8, 0.9, 0.93, 0.9, 0.9])
    assert (found.probability, found.wins, found.ties, found.n) == (0.8, 4, 0, 5)
    assert (found.low, found.high) == pytest.approx(proportion_confint(4, 5, method="beta"))


def test_a_tie_is_half_a_win_and_lost_for_one_end_and_won_for_the_other() -> None:
    found = of([0.9, 0.91, 0.92, 0.1 + 0.2], [0.8, 0.91, 0.93, 0.3])
    assert (found.probability, found.wins, found.ties) == (0.5, 1, 2)
    assert found.low == pytest.approx(proportion_confint(1, 4, method="beta")[0])
    assert found.high == pytest.approx(proportion_confint(3, 4, method="beta")[1])


def test_groups_have_brunner_and_munzels_estimate_and_variance() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0.5, 1, 7), rng.normal(0, 2, 9)
    found, test = brunner_munzel(ours.tolist(), theirs.tolist()), stats.brunnermunzel(theirs, ours)
    share = np.mean(ours[:, None] > theirs)
    assert found.probability == pytest.approx(share)
    # the statistic is (share - 1/2) / error, and the interval that of the logit
    error = (share - 0.5) / test.statistic
    placed, others = (ours[:, None] > theirs).mean(axis=1), (ours[:, None] < theirs).mean(axis=0)
    parts = placed.var(ddof=1) / 7, others.var(ddof=1) / 9
    free = sum(parts) ** 2 / (parts[0] ** 2 / 6 + parts[1] ** 2 / 8)
    half = stats.t.ppf(0.975, free) * error / (share * (1 - share))
    ends = [1 / (1 + math.exp(-(math.log(share / (1 - share)) + side * half))) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs", "probability", "ends"),
    [
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.82, 0.83], 1.0, proportion_confint(3, 3, method="beta")),
        ([0.8, 0.81], [0.9, 0.91, 0.92], 0.0, proportion_confint(0, 2, method="beta")),
        ([0.9, 0.9], [0.9, 0.9], 0.5, (0.0, 1.0)),
    ],
)
def test_groups_without_a_variance_have_the_interval_of_as_many_pairs(
    ours: list[float], theirs: list[float], probability: float, ends: tuple[float, float]
) -> None:
    found = brunner_munzel(ours, theirs)
    assert found.probability == probability
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [([0.9], [0.8]), ([0.9, 0.8], [0.7]), ([], [0.1, 0.2])])
def test_single_runs_say_nothing(ours: list[float], theirs: list[float]) -> None:
    assert superiority(dict(enumerate(ours)), dict(enumerate(theirs, start=100))) is None


@given(ACCURACIES, ACCURACIES, st.sampled_from([0, 100]))
def test_the_other_way_round_it_is_the_rest_to_one(
    ours: list[float], theirs: list[float], shift: int
) -> None:
    one, other = (
        of(ours, theirs, shift),
        superiority(dict(enumerate(theirs, start=shift)), dict(enumerate(ours))),
    )
    assert other is not None
    assert one.probability + other.probability == pytest.approx(1)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)
    assert 0 <= one.low <= one.probability <= one.high <= 1
