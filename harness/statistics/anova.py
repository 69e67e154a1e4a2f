"""The analysis of variance of crossed designs: mean squares, and intervals of their weighted sums.

A run has a level of every source, and every combination of levels has one run: values of the shape
(L1, ..., Lk). The model is the full random one: y = mean + an effect of each source's level + an effect of
each combination of levels of two sources, and so on, all of them independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.distribution import CONFIDENCE_LEVEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

EQUAL = 1e-12  # values that differ by less are equal except for rounding
Sources = tuple[int, ...]  # places of some sources, rising


@dataclass(frozen=True, eq=False)
class MeanSquares:
    """The analysis of variance of one crossed design, or of many of one shape.

    Attributes:
        levels: of each source.
        squares: the mean square of each source, and of all combinations of sources; an array a design where
            there are many.
    """

    levels: Sources
    squares: dict[Sources, NDArray[np.float64]]

    def degrees(self, sources: Sources) -> int:
        """Return the degrees of freedom of a mean square."""
        return math.prod(self.levels[at] - 1 for at in sources)

    def runs(self, sources: Sources) -> int:
        """Return how many runs share a level of each of these sources."""
        return math.prod(size for at, size in enumerate(self.levels) if at not in sources)

    def of_source(self, at: int) -> dict[Sources, float]:
        """Return the weights of the mean squares whose sum is a source's component, without bias.

        A mean square is expected to be the sum of (runs a level) times the component, over all combinations
        that contain its sources; the weights solve these equations.
        """
        one = 1 / self.runs((at,))
        return {sources: (-1) ** (len(sources) - 1) * one for sources in self.squares if at in sources}

    def of_everything(self) -> dict[Sources, float]:
        """Return the weights of the variance of a single run."""
        return {
            sources: sum(
                (-1) ** (len(sources) - size) / self.runs(part)
                for size in range(1, len(sources) + 1)
                for part in combinations(sources, size)
            )
            for sources in self.squares
        }

    def of_rest(self) -> dict[Sources, float]:
        """Return the weights of the rest: what no source causes alone."""
        own = [self.of_source(at) for at in range(len(self.levels))]
        whole = self.of_everything()
        left = {key: whole[key] - sum(weights.get(key, 0.0) for weights in own) for key in whole}
        return {key: weight for key, weight in left.items() if len(key) > 1}

    def estimate(self, weights: Mapping[Sources, float]) -> NDArray[np.float64]:
        """Return the weighted sum of mean squares."""
        return sum((weight * self.squares[key] for key, weight in weights.items()), np.zeros(()))

    def interval(self, weights: Mapping[Sources, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the 95 % interval of the quantity that a weighted sum of mean squares estimates."""
        return combination_interval(
            list(weights.values()),
            [self.squares[key] for key in weights],
            [self.degrees(key) for key in weights],
        )

    def pooled_rest(self) -> tuple[NDArray[np.float64], int]:
        """Return the mean square of everything but the sources, as one, and its degrees of freedom."""
        rest = [key for key in self.squares if len(key) > 1]
        degrees = sum(map(self.degrees, rest))
        return sum((self.squares[key] * self.degrees(key) for key in rest), np.zeros(())) / degrees, degrees


def mean_squares(values: ArrayLike, *, sources: int) -> MeanSquares:
    """Return the mean squares of balanced crossed designs with one run a combination.

    Searle, Casella and McCulloch, "Variance Components" (1992), chapter 4.

    Args:
        values: (..., L1, ..., Lk), k = ``sources`` of at least 2.
    """
    array = np.asarray(values, dtype=np.float64)
    first = array.ndim - sources
    levels = array.shape[first:]
    left: dict[Sources, NDArray[np.float64]] = {}
    left[()] = array - array.mean(axis=tuple(range(first, array.ndim)), keepdims=True)
    places = [key for size in range(1, sources + 1) for key in combinations(range(sources), size)]
    squares = {}
    for key in places:  # the effect of a combination is its mean less the effects of all of its parts
        others = tuple(first + at for at in range(sources) if at not in key)
        effect = left[()].mean(axis=others, keepdims=True) if others else left[()]
        for size in range(1, len(key)):
            for part in combinations(key, size):
                effect = effect - left[part]
        left[key] = effect
        runs = math.prod(levels[at] for at in range(sources) if at not in key)
        total = runs * (effect**2).sum(axis=tuple(range(first, array.ndim)))
        # without this, rounding errors would give an F ratio
        squares[key] = np.where(total > EQUAL**2, total, 0.0) / math.prod(levels[at] - 1 for at in key)
    return MeanSquares(tuple(levels), squares)


def combination_interval(
    weights: Sequence[float], squares: Sequence[ArrayLike], degrees: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of a weighted sum of expected mean squares, some weights being negative.

    The modified large-sample interval of Ting, Burdick, Graybill, Jeyaratnam and Lu, "Confidence intervals
    on linear combinations of variance components that are unrestricted in sign" (J. Statistical Computation
    and Simulation 35, 1990). Exact for a single mean square.

    Args:
        squares: independent mean squares, each a number or an array.
    """
    parts = [
        (weight, np.asarray(s, dtype=np.float64), n)
        for weight, s, n in zip(weights, squares, degrees, strict=True)
    ]
    estimate = sum((weight * square for weight, square, _ in parts), np.zeros(()))
    above = [(weight * square, n) for weight, square, n in parts if weight > 0]
    below = [(-weight * square, n) for weight, square, n in parts if weight < 0]
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low = estimate - np.sqrt(np.maximum(_width(above, below, tail), 0.0))
    high = estimate + np.sqrt(np.maximum(_width(below, above, tail), 0.0))
    return low, high


_Part = tuple["NDArray[np.float64]", int]


def _width(away: Sequence[_Part], towards: Sequence[_Part], tail: float) -> NDArray[np.float64]:
    """Return the square of the distance to the lower bound; to the upper one with the parts exchanged."""
    from scipy.special import chdtri, fdtri

    def upper(n: int) -> float:  # of the ratio of a mean square to what it is expected to be
        return float(chdtri(n, tail)) / n

    def lower(n: int) -> float:
        return float(chdtri(n, 1 - tail)) / n

    total = np.zeros(())
    for part, n in away:
        total = total + ((1 - 1 / upper(n)) * part) ** 2
    for part, n in towards:
        total = total + ((1 / lower(n) - 1) * part) ** 2
    for one, n in away:
        for other, m in towards:
            f = float(fdtri(n, m, 1 - tail))
            mixed = ((f - 1) ** 2 - ((1 - 1 / upper(n)) * f) ** 2 - (1 / lower(m) - 1) ** 2) / f
            total = total + mixed * one * other
    for at, (one, n) in enumerate(away):
        for other, m in away[at + 1 :]:
            both = (1 - 1 / upper(n + m)) ** 2 * (n + m) ** 2 / (n * m)
            own = (1 - 1 / upper(n)) ** 2 * n / m + (1 - 1 / upper(m)) ** 2 * m / n
            total = total + (both - own) / (len(away) - 1) * one * other
    return total
