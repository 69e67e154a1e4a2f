"""Means of runs that are not independent: several hold-outs of the same images, and crossed designs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.anova import mean_squares
from harness.statistics.distribution import judgeable_std, mean_of, t_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class CorrectedMean:
    """A mean with the standard error that allows for the dependence of its values.

    Attributes:
        sem: standard error of the mean; None where it cannot be computed.
        degrees: of freedom of its t distribution; None likewise.
    """

    mean: float
    sem: float | None = None
    degrees: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t interval; None where there is no standard error, or it is 0."""
        if not self.sem or self.degrees is None:
            return None
        half = t_quantile(self.degrees) * self.sem
        return self.mean - half, self.mean + half

    def p(self, value: float = 0.0) -> float | None:
        """Return the two-sided p of "the true mean is this value", for differences of 0."""
        if not self.sem or self.degrees is None:
            return None
        return 2 * _below(-abs(self.mean - value) / self.sem, self.degrees)

    def p_above(self, value: float) -> float | None:
        """Return the one-sided p of "the true mean is not above this value"."""
        if not self.sem or self.degrees is None:
            return None
        return _below((value - self.mean) / self.sem, self.degrees)


def _below(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, t))


def corrected_t(values: Sequence[float], test_train_ratio: float) -> CorrectedMean:
    """Return the mean of values on several random hold-outs, such as differences of two recipes.

    The hold-outs come from the same images and their train images overlap, so the values are correlated and
    std / sqrt(k) is too small, however large k is. Nadeau and Bengio, "Inference for the generalization
    error" (Machine Learning 52, 2003), section 3: std * sqrt(1 / k + n_test / n_train), with k - 1 degrees of
    freedom.

    Args:
        values: one a hold-out. Average the runs that share a hold-out first.
        test_train_ratio: images evaluated on / images trained on.
    """
    draws, mean = len(values), mean_of(values)
    std = judgeable_std(values)
    if std is None:
        return CorrectedMean(mean)
    return CorrectedMean(mean, std * math.sqrt(1 / draws + test_train_ratio), draws - 1)


def crossed_t(values: ArrayLike, ratios: Sequence[float]) -> CorrectedMean:
    """Return the mean of a crossed design, whose runs share levels and are not independent.

    The variance of the mean is the sum of each source's component over its number of levels and of the rest
    over the number of runs (Searle, Casella and McCulloch, "Variance Components", 1992, chapter 3);
    components below 0 count as 0, and the rest is pooled. The degrees of freedom are Satterthwaite's
    (Biometrics Bulletin 2, 1946), and at least those of the source with the fewest levels.

    Args:
        values: (L1, ..., Lk); one run a combination.
        ratios: of each source, what :func:`corrected_t` adds to 1 / L: images evaluated on / images trained
            on for the hold-out, 0 for the others.
    """
    array = np.asarray(values, dtype=np.float64)
    mean, runs = mean_of(array.ravel().tolist()), array.size
    if array.ndim < 2:
        return corrected_t(array.tolist(), ratios[0])
    if judgeable_std(array.ravel().tolist()) is None:
        return CorrectedMean(mean)
    squares = mean_squares(array, sources=array.ndim)
    pooled, left = squares.pooled_rest()
    rest = float(pooled)
    own = [(float(squares.squares[at,]), levels - 1) for at, levels in enumerate(squares.levels)]
    above = [(square, n) for square, n in own if square > rest]
    parts = [(part / runs, n) for part, n in [*above, (rest * (1 - len(above)), left)]]
    parts += [
        (square / squares.runs((at,)) * ratio, n)
        for at, ((square, n), ratio) in enumerate(zip(own, ratios, strict=True))
    ]
    variance = math.fsum(part for part, _ in parts)
    degrees = variance**2 / math.fsum(part**2 / n for part, n in parts)
    return CorrectedMean(mean, math.sqrt(variance), max(degrees, min(n for _, n in own)))
