"""Means of runs that share images or levels: their standard error is larger than std / sqrt(n)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.components import crossed_components
from harness.statistics.corrected import corrected_t, crossed_t

VALUES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12)


@settings(deadline=None)
@given(VALUES, st.floats(0, 2))
def test_hold_outs_have_nadeau_and_bengios_variance(values: list[float], ratio: float) -> None:
    found = corrected_t(values, ratio)
    if np.ptp(values) <= 1e-9:
        return
    k = len(values)
    sem = math.sqrt((1 / k + ratio) * np.var(values, ddof=1))
    assert found.sem == pytest.approx(sem) and found.degrees == k - 1
    t = np.mean(values) / sem
    assert found.p() == pytest.approx(2 * stats.t.sf(abs(t), k - 1), abs=1e-12)
    assert found.interval is not None
    assert found.interval == pytest.approx(stats.t.interval(0.95, k - 1, np.mean(values), sem))


@settings(deadline=None)
@given(VALUES)
def test_without_shared_images_it_is_the_plain_t_test(values: list[float]) -> None:
    if np.ptp(values) > 1e-9:
        plain = stats.ttest_1samp(values, 0.5, alternative="greater")
        assert corrected_t(values, 0.0).p_above(0.5) == pytest.approx(plain.pvalue, abs=1e-12)


@pytest.mark.parametrize("values", [[0.5], [0.3, 0.3, 0.3]])
def test_one_value_and_equal_values_have_no_interval(values: list[float]) -> None:
    found = corrected_t(values, 0.25)
    assert (found.mean, found.interval, found.p()) == (values[0], None, None)


def test_the_mean_of_a_crossed_design_is_as_sure_as_its_levels_allow() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 1)) + 0.5 * rng.normal(size=(1, 5)) + 0.1 * rng.normal(size=(4, 5))
    found = crossed_t(values, [0.0, 0.0])
    *sources, rest = (max(component.variance, 0) for component in crossed_components(values))
    expected = sum(v / levels for v, levels in zip(sources, values.shape, strict=True)) + rest / values.size
    assert found.sem == pytest.approx(math.sqrt(expected))
    assert found.degrees is not None and 2 <= found.degrees < 8
    assert found.sem > 1.5 * values.std(ddof=1) / math.sqrt(values.size)  # what independent runs would have
    with_images = crossed_t(values, [0.0, 0.25])
    assert with_images.sem is not None and with_images.sem > found.sem


def test_a_design_of_one_source_is_the_plain_t_test() -> None:
    values = [0.1, 0.4, 0.3]
    assert crossed_t(values, [0.0]) == corrected_t(values, 0.0)
