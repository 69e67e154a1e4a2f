"""Variance components of a crossed design: the share of the variance over runs that each source causes.

The model is that of :mod:`harness.statistics.anova`. The rest is what no source causes alone: the
effects of all combinations together, and the draws that belong to no source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.anova import MeanSquares, combination_interval, mean_squares
from harness.statistics.distribution import CONFIDENCE_LEVEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Degrees of freedom of all sources together, as 4 x 4 levels have; below, correlations have no interval.
FEWEST = 9


@dataclass(frozen=True)
class Component:
    """The variance that a source causes, in squared fractions where the values are fractions.

    Attributes:
        degrees, mean_square: of the source itself; None for the rest of three and more sources, which is the
            sum of several.
        variance: unbiased estimate, so it may be negative.
        low, high: 95 % interval of it, cut at 0; None if it cannot be computed.
        f, p: of "the source causes no variance"; None for the rest, and where nothing varies.
    """

    degrees: int | None
    mean_square: float | None
    variance: float
    low: float | None
    high: float | None
    f: float | None = None
    p: float | None = None

    @property
    def std(self) -> float:
        """The root of the estimate, cut at 0."""
        return math.sqrt(max(self.variance, 0.0))


def crossed_components(values: ArrayLike) -> list[Component]:
    """Return the component of each source, and last that of the rest.

    Unbiased estimates by equating mean squares with their expectations (Searle et al. 1992, chapter 4), with
    the intervals of :func:`combination_interval`, which assume normal effects. Of two sources the test
    is the F test; of more, Satterthwaite's approximate one ("An approximate distribution of estimates of
    variance components", Biometrics Bulletin 2, 1946), because no single mean square is the right divisor.

    Args:
        values: (L1, ..., Lk), k of at least 2, each L of at least 2.
    """
    array = np.asarray(values, dtype=np.float64)
    squares = mean_squares(array, sources=array.ndim)
    constant = not any(np.any(square) for square in squares.squares.values())
    found = []
    for at in range(array.ndim):
        weights = squares.of_source(at)
        low, high = squares.interval(weights)
        f, p = quasi_f(squares, at)
        told = not constant and bool(np.isfinite(f))
        found.append(
            Component(
                squares.degrees((at,)),
                float(squares.squares[at,]),
                float(squares.estimate(weights)),
                None if constant else max(float(low), 0.0),
                None if constant else max(float(high), 0.0),
                float(f) if told else None,
                float(p) if told else None,
            )
        )
    weights = squares.of_rest()
    if array.ndim == 2:
        return [*found, single_component(float(squares.squares[0, 1]), squares.degrees((0, 1)))]
    ends = [None if constant else max(float(end), 0.0) for end in squares.interval(weights)]
    return [*found, Component(None, None, float(squares.estimate(weights)), *ends)]


def quasi_f(squares: MeanSquares, at: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return F and p of "a source causes no variance"; NaN without a divisor.

    The mean squares of positive weight over those of negative weight: of equal expectation without the
    source. With two sources one over one, and exact.
    """
    from scipy.special import fdtrc

    sums = []
    for sign in (1, -1):
        keys = [key for key, weight in squares.of_source(at).items() if weight * sign > 0]
        total = sum((squares.squares[key] for key in keys), np.zeros(()))
        spread = sum((squares.squares[key] ** 2 / squares.degrees(key) for key in keys), np.zeros(()))
        with np.errstate(invalid="ignore", divide="ignore"):
            sums.append((total, total**2 / spread))
    (above, own), (below, left) = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        f = np.where(below > 0, above / below, np.nan)
    return f, np.asarray(fdtrc(own, left, f))


def single_component(variance: float, degrees: int) -> Component:
    """Return a variance that is its own mean square, with its chi-square interval."""
    from scipy.special import chdtri

    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = (degrees * variance / float(chdtri(degrees, above)) for above in (tail, 1 - tail))
    return Component(degrees, variance, variance, low if variance else None, high if variance else None)


@dataclass(frozen=True)
class SharedLevel:
    """The covariance of two recipes that share a source's level, or the whole seed.

    Attributes:
        correlation: of their results, over pairs of runs that share only this; it may be outside -1 to 1.
        low, high: its 95 % interval, cut at -1 and 1; None for the whole seed, and where the rest has fewer
            than ``FEWEST`` degrees of freedom: the interval would be too wide.
        gain: the share of the variance of a difference that sharing it removes; negative if it adds.
    """

    correlation: float
    low: float | None
    high: float | None
    gain: float


def shared_levels(first: ArrayLike, second: ArrayLike) -> list[SharedLevel]:
    """Return the effect on two recipes of sharing each source's level, and last of sharing the whole seed.

    The variance of a difference of two runs is the sum of the two variances, less twice the covariance of
    what they share. A covariance component is estimated as a variance component is, of mean products (Searle
    et al. 1992, 11.1). Both recipes are first divided by their std over runs; a covariance is then a quarter
    of the variance of the sum less that of the difference, with :func:`combination_interval`.

    Args:
        first, second: (L1, ..., Lk) of both, with the same levels; each with some variance.
    """
    one, two = (np.asarray(values, dtype=np.float64) for values in (first, second))
    stds = [math.sqrt(total_variance(values)) for values in (one, two)]
    scale = 2 * stds[0] * stds[1] / (stds[0] ** 2 + stds[1] ** 2)
    found = []
    for estimate, low, high in shared_correlations(one / stds[0], two / stds[1], sources=one.ndim):
        found.append(
            SharedLevel(
                float(estimate),
                None if low is None else max(float(low), -1.0),
                None if high is None else min(float(high), 1.0),
                scale * float(estimate),
            )
        )
    return found


_Ends = tuple["NDArray[np.float64]", "NDArray[np.float64] | None", "NDArray[np.float64] | None"]


def shared_correlations(
    first: NDArray[np.float64], second: NDArray[np.float64], *, sources: int
) -> list[_Ends]:
    """Return each source's covariance component with its interval, and last that of the whole seed without.

    Args:
        first, second: (..., L1, ..., Lk), divided by their stds; a pair of designs, or many.
    """
    plus, minus = (mean_squares(values, sources=sources) for values in (first + second, first - second))
    told = plus.degrees(tuple(range(sources))) >= FEWEST
    found: list[_Ends] = []
    for at in range(sources):
        weights = plus.of_source(at)
        ends: tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None] = (None, None)
        if told:
            ends = combination_interval(
                [*(each / 4 for each in weights.values()), *(-each / 4 for each in weights.values())],
                [design.squares[key] for design in (plus, minus) for key in weights],
                [plus.degrees(key) for key in weights] * 2,
            )
        found.append(((plus.estimate(weights) - minus.estimate(weights)) / 4, *ends))
    whole = plus.of_everything()
    return [*found, ((plus.estimate(whole) - minus.estimate(whole)) / 4, None, None)]


def total_variance(values: ArrayLike) -> float:
    """Return the variance of a single run over all sources: the sum of the components, without bias."""
    array = np.asarray(values, dtype=np.float64)
    squares = mean_squares(array, sources=array.ndim)
    return float(squares.estimate(squares.of_everything()))


def variance_ratio(part: Component, whole: Component) -> tuple[float, float, float] | None:
    """Return a variance as a share of another one, with the 95 % interval of their ratio.

    The F interval of two independent variances (Snedecor and Cochran, 1989, 6.12); both are of normal values.

    Returns:
        (share, low, high); None where one of the two is 0.
    """
    from scipy.special import fdtri

    if not part.variance or not whole.variance or part.degrees is None or whole.degrees is None:
        return None
    ratio, tail = part.variance / whole.variance, (1 - CONFIDENCE_LEVEL) / 2
    low, high = (ratio / float(fdtri(part.degrees, whole.degrees, at)) for at in (1 - tail, tail))
    return ratio, low, high
