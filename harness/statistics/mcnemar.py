"""Two single networks on the same images: what one run each can say, which is nothing about other seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.distribution import CONFIDENCE_LEVEL, RESAMPLES, SEED

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class NetworkComparison:
    """One network against another on the same N images.

    Attributes:
        only_first, only_second: images that only this one classifies correctly.
        difference: accuracy of the first - of the second.
        low, high: 95 % bootstrap interval over images of the difference.
        p: exact McNemar, two-sided.
        effect_size: Cohen's g, only_first / (only_first + only_second) - 1/2; None where both are 0.
    """

    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p: float
    effect_size: float | None


def compare_images(first: ArrayLike, second: ArrayLike) -> NetworkComparison:
    """McNemar's test and the paired bootstrap over images.

    Args:
        first, second: (N,) of 0 and 1: whether each network is right on image j.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    low, high = bootstrap_difference(only_first, only_second, len(one))
    discordant = only_first + only_second
    return NetworkComparison(
        only_first,
        only_second,
        (only_first - only_second) / len(one),
        low,
        high,
        mcnemar(only_first, only_second),
        only_first / discordant - 0.5 if discordant else None,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: only the images on which the two differ speak, by the binomial.

    McNemar (Psychometrika, 1947); Dietterich, "Approximate statistical tests for comparing supervised
    classification learning algorithms" (Neural Computation, 1998).
    """
    from scipy.special import bdtr

    fewer, discordant = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(bdtr(fewer, discordant, 0.5))) if discordant else 1.0


def bootstrap_difference(
    only_first: int, only_second: int, images: int, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Percentile bootstrap interval over images of the difference of two accuracies.

    Efron and Tibshirani, "An introduction to the bootstrap" (1993), 13.3. An image's difference is 1, -1 or
    0, so drawing images with replacement is one multinomial draw of how many there are of each.
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(SEED).multinomial(images, shares, size=RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / images
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
