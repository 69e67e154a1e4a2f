"""The variance over seeds, split into chance and real differences; and, separately, the noise of new images.

On the fixed test images, even runs whose errors are independent differ by chance. A second, separate noise is
that the images are a sample: other images would give another accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.distribution import CONFIDENCE_LEVEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


MOST_STD = 0.5  # the largest std of values in [0, 1], over infinitely many runs


@dataclass(frozen=True)
class SeedVariance:
    """Parts of the variance of the accuracy over seeds, and the noise of new images; all in fractions.

    Attributes:
        std: measured over the seeds on this test set, divisor n - 1.
        independent_std: std of test-set noise alone, if errors were independent between images:
            sqrt(sum p(1 - p)) / N, p(1 - p) estimated without bias from the seeds.
        independent_std_plug_in: the same with p = share of seeds that are right, the textbook's formula: too
            small by the factor sqrt((n - 1) / n).
        between_runs: unbiased estimate of the variance of a run's accuracy on infinitely many new images, in
            squared fractions; negative where the seeds differ less than by test-set noise.
        p_luck: p (sampling noise only), the probability of a variance at least as large as the measured one:
            small where runs really differ; None where every seed is right on the same images.
        sampling_std: std of one network's accuracy over new test sets of this size: sqrt(a(1 - a) / N).
        low, high: 95 % interval of the std between runs, the root of what ``between_runs`` estimates; None
            where the seeds differ too little for any such std.
    """

    n: int
    images: int
    std: float
    independent_std: float
    independent_std_plug_in: float
    between_runs: float
    p_luck: float | None
    sampling_std: float
    low: float | None
    high: float | None


def seed_variance(correct: ArrayLike) -> SeedVariance | None:
    """Split the variance of the accuracy over seeds into chance on the test images and real differences.

    Jordan, "On the Variance of Neural Network Training with respect to Test Sets and Distributions" (ICLR
    2024, arXiv 2304.01910; first called "Calibrated Chaos"): definition 1 for independent errors, theorem 2
    for the between-run variance, N / (N - 1) · (variance over seeds - sum p(1 - p) / N^2). Both variances
    have the divisor n - 1 here; otherwise few seeds would show an excess that does not exist. ``p_luck`` is
    the chi-square test of a variance: under independent errors an accuracy is a sum of many small independent
    parts, so it is close to normal for any images. The interval is the chi-square interval of a variance
    (Snedecor and Cochran, "Statistical Methods", 8th edition, 1989, 5.11) minus the variance of test-set
    noise, cut at 0 and ``MOST_STD``. It assumes normal runs and a known test-set noise.

    Args:
        correct: (n, N) of 0 and 1: whether seed i is right on image j.

    Returns:
        None for fewer than two seeds or two images.
    """
    from scipy.special import chdtrc, chdtri

    matrix = np.asarray(correct, dtype=bool)
    n, images = matrix.shape
    if n < 2 or images < 2:
        return None
    right = matrix.sum(axis=0, dtype=np.int64)
    # Computed in integers as far as possible, because the parts are small differences of large sums.
    per_image = float((right * (n - right)).sum()) / n**2  # sum of p(1 - p)
    totals = matrix.sum(axis=1, dtype=np.int64)
    squares = float(n * (totals**2).sum() - totals.sum() ** 2) / n
    variance = squares / (n - 1) / images**2
    luck = per_image * n / (n - 1) / images**2
    accuracy = float(totals.sum()) / (n * images)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = (
        ((n - 1) * variance / float(chdtri(n - 1, above)) - luck) * images / (images - 1)
        for above in (tail, 1 - tail)
    )
    has_interval = luck > 0 and high >= 0
    return SeedVariance(
        n=n,
        images=images,
        std=math.sqrt(variance),
        independent_std=math.sqrt(luck),
        independent_std_plug_in=math.sqrt(per_image) / images,
        between_runs=(variance - luck) * images / (images - 1),
        p_luck=float(chdtrc(n - 1, (n - 1) * variance / luck)) if luck else None,
        sampling_std=sampling_std(accuracy, images),
        low=min(math.sqrt(max(low, 0.0)), MOST_STD) if has_interval else None,
        high=min(math.sqrt(high), MOST_STD) if has_interval else None,
    )


def sampling_std(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy over N images, the binomial's: sqrt(a(1 - a) / N).

    Args:
        accuracy: fraction in [0, 1].
        images: N.
    """
    return math.sqrt(accuracy * (1 - accuracy) / images)
