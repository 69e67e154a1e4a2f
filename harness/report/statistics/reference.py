"""A number published elsewhere, held against what was measured here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.statistics.distribution import CONFIDENCE_LEVEL, judgeable_std, mean_of


@dataclass(frozen=True)
class Standing:
    """Where a published number lies; what takes two differing runs to judge is None without them.

    Attributes:
        difference: published - measured mean, a fraction.
        percentile: share of our runs below it, equal ones counted half.
        low, high: 95 % prediction interval for what was published.
        plausible: whether it lies in that interval.
    """

    n: int
    difference: float
    percentile: float | None
    low: float | None
    high: float | None
    plausible: bool | None


def standing(published: float, values: Sequence[float], runs: int = 1) -> Standing:
    """Whether a number like the published one is to be expected from the recipe as it runs here.

    Args:
        published: fraction in [0, 1].
        values: our accuracies, one a seed; at least one.
        runs: how many runs the published number is the mean of.
    """
    difference = published - mean_of(values)
    if len(values) < 2:
        return Standing(1, difference, None, None, None, None)
    below = sum(value < published for value in values) + sum(value == published for value in values) / 2
    low, high = prediction_interval(values, runs) or (None, None)
    plausible = None if low is None or high is None else low <= published <= high
    return Standing(len(values), difference, below / len(values), low, high, plausible)


def prediction_interval(
    values: Sequence[float], runs: int = 1, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float] | None:
    """Where the mean of ``runs`` further runs falls: mean ± t(n - 1) · std · sqrt(1 / runs + 1 / n).

    Hahn and Meeker, "Statistical Intervals" (2nd edition, 2017), 4.7, for normal values.

    Returns:
        ``(low, high)``, or None for fewer than two values, or where all are equal.
    """
    from scipy.special import stdtrit

    std = judgeable_std(values)
    if std is None:
        return None
    n, mean = len(values), mean_of(values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * std * math.sqrt(1 / runs + 1 / n)
    return mean - half, mean + half
