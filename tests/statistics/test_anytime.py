"""E-values are the Bayes factors that they claim to be; the confidence sequence is their inversion."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from harness.statistics.anytime import confidence_sequence, e_value, failures_e_value

# differences of accuracies, in steps of a test set of 10,000 images
samples = st.lists(st.integers(-500, 500), min_size=2, max_size=30).map(
    lambda steps: [x / 10_000 for x in steps]
)
ABOUT_ONE = [0.0103, 0.0041, 0.0122, 0.0087, 0.0153, 0.0064]


def differences(n: int, effect: float) -> list[float]:
    values = np.random.default_rng(n).normal(size=n)
    return list(0.002 * ((values - values.mean()) / values.std(ddof=1) + effect))


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("effect", [0.0, 0.4, -1.5])
def test_it_is_the_likelihood_ratio_of_t_over_normal_effects(n: int, effect: float) -> None:
    values = differences(n, effect)
    t, free = stats.ttest_1samp(values, 0).statistic, n - 1

    def weighted(size: float) -> float:
        return float(stats.nct.pdf(t, free, size * math.sqrt(n)) * stats.norm.pdf(size))

    ratio = integrate.quad(weighted, -8, 8, limit=200, epsabs=0)[0] / stats.t.pdf(t, free)
    assert e_value(values) == pytest.approx(ratio, rel=1e-6)


def test_under_the_null_it_is_one_on_average_whatever_has_been_seen() -> None:
    # scale-free: what has been seen is fixed up to its scale, which has the density of a chi with 3 freedoms
    seen, rng = np.array([0.4, -0.1, 0.9]), np.random.default_rng(0)
    scales = np.sqrt(rng.chisquare(3, 20_000) / (seen**2).sum())
    after = [
        e_value([*(scale * seen), new]) for scale, new in zip(scales, rng.normal(size=20_000), strict=True)
    ]
    found = np.array(after, dtype=float)
    assert found.mean() == pytest.approx(e_value(list(seen)), abs=4 * found.std() / math.sqrt(len(found)))


@settings(deadline=None)
@given(samples, st.floats(1e-3, 1e3))
def test_neither_sign_nor_scale_nor_order_change_it(values: list[float], scale: float) -> None:
    found = e_value(values)
    if found is not None:
        assert found >= 0
        changed = e_value([-scale * value for value in reversed(values)])
        # differences that are equal to 1e-12 are taken for equal, whatever their scale
        assert changed is None or changed == pytest.approx(found, rel=1e-6)


@settings(deadline=None)
@given(samples, st.sampled_from([0.05, 0.01, 0.05 / 3, 0.5]))
def test_the_confidence_sequence_holds_the_means_that_are_not_rejected(
    values: list[float], level: float
) -> None:
    found = confidence_sequence(values, level)
    if found is None:
        assert e_value(values) is None
        return
    low, high = found
    mean, std = np.mean(values), np.std(values, ddof=1)
    if math.isinf(high):
        assert low == -math.inf
        assert (e_value(values, float(mean + 1e6 * std)) or 0.0) < 1 / level
        return

    def above(null: float) -> float:
        return (e_value(values, null) or 0.0) - 1 / level

    root = optimize.brentq(above, mean, mean + 1e9 * std, xtol=1e-15, rtol=1e-12)
    assert high == pytest.approx(root, rel=1e-6)
    assert low == pytest.approx(2 * mean - root, rel=1e-6, abs=1e-9)


def test_a_smaller_level_gives_a_wider_interval() -> None:
    widths = [np.ptp(confidence_sequence(ABOUT_ONE, level) or (0, 0)) for level in (0.2, 0.05, 0.05 / 3)]
    assert widths == sorted(widths)
    t = stats.t.interval(0.95, 5, np.mean(ABOUT_ONE), stats.sem(ABOUT_ONE))
    assert widths[1] > t[1] - t[0]  # the price of looking at every n


def test_few_seeds_cannot_give_a_verdict() -> None:
    # n = 4 reaches √5³ = 11.2 at most, n = 5 36
    assert e_value([1.0, 1.0, 1.0, 1.000001]) == pytest.approx(5**1.5, rel=1e-3)
    assert e_value([1.0, 1.0, 1.0, 1.0, 1.000001]) == pytest.approx(36, rel=1e-3)
    assert confidence_sequence([1.0, 1.1, 1.0], 0.05) == (-math.inf, math.inf)


def test_evidence_too_large_for_a_float_is_cut() -> None:
    found = e_value([1.0, 1.0 + 1e-9] * 500)
    assert found is not None
    assert 1e300 < found < sys.float_info.max


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.1, 0.1 + 1e-17]])
def test_equal_or_too_few_differences_say_nothing(values: list[float]) -> None:
    assert e_value(values) is None
    assert confidence_sequence(values, 0.05) is None


@pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
def test_the_level_is_a_probability(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        confidence_sequence(ABOUT_ONE, level)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_e_value_of_failures_is_at_most_one_on_average_where_both_fail_equally_often(
    share: float,
) -> None:
    blocks = [(ours, theirs) for ours in (False, True) for theirs in (False, True)]
    total = 0.0
    for failed in itertools.product(blocks, repeat=3):
        probability = math.prod(share if has else 1 - share for block in failed for has in block)
        total += probability * failures_e_value(failed)
    assert 0.85 < total <= 1


def test_the_e_value_of_failures_grows_where_one_recipe_alone_fails() -> None:
    grown = [failures_e_value([(True, False)] * n) for n in (0, 1, 3, 4)]
    assert grown[:2] == [1, 1] and grown[2] < 20 < grown[3]
    assert failures_e_value([(True, True)] * 8) == pytest.approx(1)
