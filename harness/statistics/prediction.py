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
        published: a metric, such as the accuracy as a fraction; or the share of runs.
        measured: the same statistic of our runs.
        percentile: share of our runs below a published single run, equal ones counted half; None for a number
            of several runs.
        low, high: 95 % prediction interval for the published number.
        p: two-sided, of the test whose interval that is: of "the published runs are runs of our recipe".
    """

    n: int
    published: float
    measured: float
    percentile: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def difference(self) -> float:
        """Return published - measured."""
        return self.published - self.measured

    @property
    def plausible(self) -> bool | None:
        """Tell whether the number lies in our prediction interval; None without one."""
        return None if self.low is None or self.high is None else self.low <= self.published <= self.high


def value_standing(
    published: float,
    values: Sequence[float],
    runs: int = 1,
    statistic: Statistic = "mean",
    *,
    share: bool = True,
) -> Standing:
    """Compare a published number, such as an accuracy, with ours.

    Args:
        values: ours, one a seed; at least one.
        runs: how many runs the published number is the mean or median of.
        share: whether they are fractions: the interval is cut at 0 and 1.
    """
    measured = (median_of if statistic == "median" else mean_of)(values)
    percentile = low = high = p = None
    if len(values) > 1 and runs == 1:
        below = sum(value < published for value in values) + sum(value == published for value in values) / 2
        percentile = below / len(values)
    if (error := prediction_error(values, runs, statistic)) is not None:
        low, high = _around(values, error)
        low, high = cut_shares(low, high) if share else (low, high)
        p = _two_sided(published - mean_of(values), error, len(values) - 1)
    return Standing(len(values), published, measured, percentile, low, high, p)


def share_standing(count: int, runs: int, reached: int, n: int) -> Standing:
    """Compare a published share of runs, ``count`` of ``runs``, with ours, ``reached`` of ``n`` >= 1."""
    from scipy.stats import hypergeom

    low, high = share_prediction(reached, n, runs)
    ours = hypergeom(n + runs, reached + count, n)  # given how many of all runs reached it
    p = min(1.0, 2 * float(min(ours.cdf(reached), ours.sf(reached - 1))))
    return Standing(n, count / runs, reached / n, None, low / runs, high / runs, p)


def prediction_interval(
    values: Sequence[float], runs: int = 1, statistic: Statistic = "mean"
) -> tuple[float, float] | None:
    """Return the 95 % prediction interval of the mean or median of ``runs`` further runs.

    Returns:
        ``(low, high)`` around our mean, or None for fewer than two values, or where all are equal.
    """
    error = prediction_error(values, runs, statistic)
    return None if error is None else _around(values, error)


def prediction_error(values: Sequence[float], runs: int = 1, statistic: Statistic = "mean") -> float | None:
    """Return the standard error of a statistic of further runs minus our mean, for normal values.

    std · sqrt(v + 1 / n), where v · std² is the variance of that statistic: 1 / runs for the mean (Hahn and
    Meeker, "Statistical Intervals", 2nd edition, 2017, 4.7), also for the median of two, which is their mean;
    about 1 / (1 + (runs - 1) · 2 / π) for the median of more, which is right for one run and for very many;
    its square root is at most 1 % too small, and 7 % too large for four runs, 2 % from 20 on
    (docs/statistics.md).

    Returns:
        None for fewer than two values, or where all are equal.
    """
    std = judgeable_std(values)
    if std is None:
        return None
    variance = 1 / runs if statistic == "mean" or runs == 2 else 1 / (1 + (runs - 1) * 2 / math.pi)
    return std * math.sqrt(variance + 1 / len(values))


def _around(values: Sequence[float], error: float) -> tuple[float, float]:
    mean, half = mean_of(values), t_quantile(len(values) - 1) * error
    return mean - half, mean + half


def _two_sided(difference: float, error: float, free: int) -> float:
    from scipy.special import stdtr

    return min(1.0, 2 * float(stdtr(free, -abs(difference) / error)))


def share_prediction(reached: int, n: int, runs: int) -> tuple[int, int]:
    """Return the 95 % interval of how many of ``runs`` further runs reach what ``reached`` of ``n`` did.

    Thatcher (JRSS B, 1964): the counts that Fisher's exact test, with half of the error on each side, does
    not distinguish from ours. Hahn and Meeker (2017), 6.6.
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
