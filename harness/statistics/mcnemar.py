"""McNemar's test of two networks on the same images; it says nothing about other seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.comparison import Comparison, Estimate
from harness.statistics.distribution import CONFIDENCE_LEVEL, RESAMPLES, SEED

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def compare_images(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare two networks by McNemar's test and the paired bootstrap over images.

    The effect size is Cohen's g: the share of the first among the images that only one classifies correctly,
    minus 1/2; None without such images.

    Args:
        first, second: (N,) of 0 and 1: whether each network is right on image j.
    """
    correct, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((correct & ~other).sum()), int((other & ~correct).sum())
    discordant = only_first + only_second
    low, high = bootstrap_difference(only_first, only_second, len(correct))
    estimate = Estimate(
        difference=(only_first - only_second) / len(correct),
        low=low,
        high=high,
        p=mcnemar(only_first, only_second),
        effect_size=only_first / discordant - 0.5 if discordant else None,
    )
    return Comparison("McNemar", 1, 1, estimate)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test, by the binomial of the images where the two differ.

    McNemar (Psychometrika, 1947); Dietterich, "Approximate statistical tests for comparing supervised
    classification learning algorithms" (Neural Computation, 1998).
    """
    from scipy.special import bdtr

    fewer, discordant = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(bdtr(fewer, discordant, 0.5))) if discordant else 1.0


def bootstrap_difference(only_first: int, only_second: int, images: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval over images of the difference of two accuracies.

    Efron and Tibshirani, "An introduction to the bootstrap" (1993), 13.3. An image's difference is 1, -1 or
    0, so drawing images with replacement is one multinomial draw of how many there are of each.
    """
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(SEED).multinomial(images, shares, size=RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / images
    low, high = np.quantile(differences, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)
