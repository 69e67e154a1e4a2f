"""Variance components of crossed designs: against statsmodels, plain loops and known truths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.statistics.anova import combination_interval, mean_squares
from harness.statistics.components import (
    FEWEST,
    crossed_components,
    shared_levels,
    single_component,
    total_variance,
    variance_ratio,
)

Array = NDArray[np.float64]
SHAPES = st.lists(st.integers(2, 4), min_size=2, max_size=3).map(tuple)
VALUES = SHAPES.flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.floats(0, 1, width=32), unique=True)
)


def drawn(shape: tuple[int, ...], *stds: float, seed: int = 0) -> Array:
    """Values of the model: an effect of each source with its std, and a rest with std 1."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    for axis, std in enumerate(stds):
        own = [1] * len(shape)
        own[axis] = shape[axis]
        values = values + std * rng.normal(size=own)
    return values


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_mean_squares_are_those_of_statsmodels(values: Array) -> None:
    names = [f"C(s{axis})" for axis in range(values.ndim)]
    places = list(itertools.product(*map(range, values.shape)))
    frame = pd.DataFrame(places, columns=[f"s{axis}" for axis in range(values.ndim)]).assign(y=values.ravel())
    # all but the highest interaction, which is what is left
    formula = " + ".join(names) if len(names) == 2 else f"({' + '.join(names)})**{len(names) - 1}"
    table = anova_lm(ols(f"y ~ {formula}", frame).fit())
    squares = mean_squares(values, sources=values.ndim)
    for key in squares.squares:
        name = ":".join(names[at] for at in key) if len(key) < len(names) else "Residual"
        assert squares.degrees(key) == table.loc[name, "df"]
        assert squares.squares[key] == pytest.approx(table.loc[name, "mean_sq"], rel=1e-6, abs=1e-9)
    if values.ndim == 2:
        for component, name in zip(crossed_components(values), names, strict=False):
            if table.loc["Residual", "mean_sq"] > 1e-6 and table.loc[name, "mean_sq"] > 1e-6:
                assert component.f == pytest.approx(table.loc[name, "F"], rel=1e-5)
                assert component.p == pytest.approx(table.loc[name, "PR(>F)"], rel=1e-4, abs=1e-12)


def test_of_three_sources_p_is_satterthwaites() -> None:
    values = drawn((4, 3, 2), 1.0)
    squares = mean_squares(values, sources=3)
    above = [(float(squares.squares[key]), squares.degrees(key)) for key in ((0,), (0, 1, 2))]
    below = [(float(squares.squares[key]), squares.degrees(key)) for key in ((0, 1), (0, 2))]
    sums = [sum(square for square, _ in part) for part in (above, below)]
    degrees = [
        total**2 / sum(square**2 / n for square, n in part)
        for total, part in zip(sums, (above, below), strict=True)
    ]
    component = crossed_components(values)[0]
    assert component.f == pytest.approx(sums[0] / sums[1])
    assert component.p == pytest.approx(stats.f.sf(sums[0] / sums[1], *degrees))


@settings(deadline=None)
@given(VALUES)
def test_the_components_add_up_to_the_variance_of_a_single_run(values: Array) -> None:
    *found, rest = crossed_components(values)
    assert sum(c.variance for c in found) + rest.variance == pytest.approx(total_variance(values), abs=1e-12)


def test_estimates_are_right_on_average_and_may_be_negative() -> None:
    stds = (1.0, 0.5, 0.0)
    found = [[c.variance for c in crossed_components(drawn((4, 4, 3), *stds, seed=at))] for at in range(800)]
    means = np.mean(found, axis=0)
    errors = 4 * np.std(found, axis=0) / math.sqrt(len(found))
    assert np.all(np.abs(means - [1.0, 0.25, 0.0, 1.0]) < errors)
    assert min(row[2] for row in found) < 0


def test_the_interval_of_one_mean_square_is_the_chi_square_interval() -> None:
    low, high = combination_interval([2.0], [3.0], [7])
    assert low == pytest.approx(2 * 3 * 7 / stats.chi2.ppf(0.975, 7))
    assert high == pytest.approx(2 * 3 * 7 / stats.chi2.ppf(0.025, 7))
    single = single_component(6.0, 7)
    assert (single.low, single.high) == pytest.approx((float(low), float(high)))


def test_an_interval_is_cut_at_0_and_holds_the_estimate() -> None:
    for at in range(50):
        for component in crossed_components(drawn((3, 4), 0.3, 0.0, seed=at)):
            assert component.low is not None and component.high is not None
            assert 0 <= component.low <= max(component.variance, 0) <= component.high


def test_values_that_are_all_equal_give_no_interval_and_no_p() -> None:
    for component in crossed_components(np.full((3, 3), 0.1 + 0.2)):
        assert (component.variance, component.low, component.f, component.p) == (0.0, None, None, None)
    assert single_component(0.0, 4).low is None


@pytest.mark.parametrize("shape", [(4, 4), (4, 3, 2)])
def test_what_sharing_a_source_gives_is_its_covariance_component_by_plain_loops(
    shape: tuple[int, ...],
) -> None:
    first, second = drawn(shape, 1.0, 0.5), 2 * drawn(shape, 1.0, 0.5, seed=1) + drawn(shape, 1.0)
    places, k = list(itertools.product(*map(range, shape))), len(shape)

    def product(shared: set[int]) -> float:
        """The mean product over pairs of runs that share exactly these sources: its expectation is simple."""
        pairs = [
            first[p] * second[q]
            for p in places
            for q in places
            if {at for at in range(k) if p[at] == q[at]} == shared
        ]
        return float(np.mean(pairs))

    # runs that share a source alone, less runs that share nothing: its covariance component
    nothing = product(set())
    one, two = total_variance(first), total_variance(second)
    *sources, whole = shared_levels(first, second)
    everything = set(range(k))
    for shared, found in [*(({at}, each) for at, each in enumerate(sources)), (everything, whole)]:
        covariance = product(shared) - nothing
        assert found.correlation == pytest.approx(covariance / math.sqrt(one * two), abs=1e-9)
        assert found.gain == pytest.approx(2 * covariance / (one + two), abs=1e-9)
    assert (whole.low, whole.high) == (None, None)
    told = math.prod(size - 1 for size in shape) >= FEWEST
    assert all((each.low is not None) is told for each in sources)


def test_a_recipe_compared_with_itself_saves_everything_and_with_its_opposite_adds_as_much() -> None:
    values = drawn((4, 4, 2), 1.0)
    assert shared_levels(values, values)[-1].gain == pytest.approx(1.0)
    assert shared_levels(values, -values)[-1].gain == pytest.approx(-1.0)
    far = drawn((4, 4, 2), 5.0)
    assert shared_levels(far, 0.5 + far)[0].correlation > 0.5


def test_a_share_has_the_f_interval_of_two_variances() -> None:
    found = variance_ratio(single_component(2.0, 4), single_component(8.0, 9))
    assert found is not None
    share, low, high = found
    assert share == 0.25
    assert low == pytest.approx(0.25 / stats.f.ppf(0.975, 4, 9))
    assert high == pytest.approx(0.25 / stats.f.ppf(0.025, 4, 9))
    assert variance_ratio(single_component(0.0, 4), single_component(8.0, 9)) is None
