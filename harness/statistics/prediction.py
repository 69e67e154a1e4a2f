"""The place of a published number among ours: percentiles and prediction intervals."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.statistics.distribution import (
    CONFIDENCE_LEVEL,
    cut_shares,
    judgeable_std,
    mean_of,
    median_of,
    t_quantile,
)

Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Standing:
    """The place of a published number among ours; unknown values are None.

    Attributes:
        n: our runs.
        published: accuracy or share of runs, a fraction.
        measured: the same statistic of our runs.
        percentile: share of our runs below the published accuracy, equal ones counted half.
        low, high: 95 % prediction interval for what was published.
    """

    n: int
    published: float
    measured: float
    percentile: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        """Return published - measured, a fraction."""
        return self.published - self.measured

    @property
    def plausible(self) -> bool | None:
        """Tell whether the number lies in our prediction interval; None without one."""
        return None if self.low is None or self.high is None else self.low <= self.published <= self.high


def accuracy_standing(
    published: float, values: Sequence[float], runs: int = 1, statistic: Statistic = "mean"
) -> Standing:
    """Compare a published accuracy with ours.

    Args:
        published: fraction in [0, 1].
        values: our accuracies, one a seed; at least one.
        runs: how many runs the published number is the mean or median of.
    """
    measured = (median_of if statistic == "median" else mean_of)(values)
    if len(values) < 2:
        return Standing(1, published, measured)
    below = sum(value < published for value in values) + sum(value == published for value in values) / 2
    interval = prediction_interval(values, runs, statistic)
    low, high = cut_shares(*interval) if interval is not None else (None, None)
    return Standing(len(values), published, measured, below / len(values), low, high)


def share_standing(count: int, runs: int, reached: int, n: int) -> Standing:
    """Compare a published share of runs, ``count`` of ``runs``, with ours, ``reached`` of ``n`` >= 1."""
    low, high = share_prediction(reached, n, runs)
    return Standing(n, count / runs, reached / n, None, low / runs, high / runs)


def prediction_interval(
    values: Sequence[float], runs: int = 1, statistic: Statistic = "mean"
) -> tuple[float, float] | None:
    """Return the prediction interval of the mean or median of ``runs`` further runs, for normal values.

    mean ± t(n - 1) · std · sqrt(v + 1 / n), where v · std² is the variance of that statistic: 1 / runs for
    the mean (Hahn and Meeker, "Statistical Intervals", 2nd edition, 2017, 4.7), about
    1 / (1 + (runs - 1) · 2 / π) for the median, which is right for one run and for very many; its square
    root is at most 1 % too small, and 11 % too large for two runs, 2 % from 20 on (docs/statistics.md).

    Returns:
        ``(low, high)``, or None for fewer than two values, or where all are equal.
    """
    std = judgeable_std(values)
    if std is None:
        return None
    n, mean = len(values), mean_of(values)
    variance = 1 / runs if statistic == "mean" else 1 / (1 + (runs - 1) * 2 / math.pi)
    half = t_quantile(n - 1) * std * math.sqrt(variance + 1 / n)
    return mean - half, mean + half


def share_prediction(reached: int, n: int, runs: int) -> tuple[int, int]:
    """Return how many of ``runs`` further runs reach what ``reached`` of ``n`` did, with 95 % confidence.

    Thatcher (JRSS B, 1964): the counts that Fisher's exact test, with half of the error on each side, does
    not tell from ours. Hahn and Meeker (2017), 6.6.
    """
    from scipy.stats import hypergeom

    tail = (1 - CONFIDENCE_LEVEL) / 2
    counts = range(runs + 1)
    # the distribution of our count, given how many of all n + runs runs reached it
    low = bisect_left(
        counts, True, key=lambda count: hypergeom.sf(reached - 1, n + runs, reached + count, n) > tail
    )
    high = bisect_left(
        counts, True, key=lambda count: hypergeom.cdf(reached, n + runs, reached + count, n) <= tail
    )
    return low, high - 1
