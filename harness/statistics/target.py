"""Runs and their target: success rates with exact intervals, tests, median times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.distribution import CONFIDENCE_LEVEL, judgeable_std, mean_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Share:
    """``count`` of ``n`` with its 95 % Clopper-Pearson interval."""

    count: int
    n: int
    low: float
    high: float


def share(count: int, n: int) -> Share:
    """Return ``count`` of ``n`` >= 1 independent trials, with its interval."""
    low, high = clopper_pearson(count, n)
    return Share(count, n, float(low), float(high))


def clopper_pearson(counts: ArrayLike, n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the exact 95 % interval of a probability, after ``counts`` successes in ``n`` trials.

    Clopper and Pearson (Biometrika, 1934), in its beta form. It covers at least 95 % for any probability
    is, and often more: for 3 of 3 it is everything from 29 % up.

    Args:
        counts, n: of one shape; 0 <= counts <= n and n >= 1.

    Returns:
        ``(low, high)``, of that shape.
    """
    from scipy.special import betaincinv

    k, total = np.asarray(counts, dtype=np.float64), np.asarray(n, dtype=np.float64)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    # The beta distribution has no parameter 0: there the bound is 0 or 1 by definition.
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1), total - k + 1, tail))
    high = np.where(k == total, 1.0, betaincinv(k + 1, np.maximum(total - k, 1), 1 - tail))
    return low, high


def p_above(values: Sequence[float], target: float) -> float | None:
    """Return p of "the mean is not above the target", by the one-sided one-sample t test.

    Student (1908). It assumes draws of a normal distribution. Where a few seeds are bad, it rejects far too
    often (docs/statistics.md), so it decides nothing, and is only shown beside the success rate.

    Returns:
        None for fewer than two values, or where all are equal.
    """
    from scipy.special import stdtr

    std = judgeable_std(values) if len(values) else None
    if std is None:
        return None
    n = len(values)
    return float(stdtr(n - 1, -(mean_of(values) - target) / (std / math.sqrt(n))))


@dataclass(frozen=True)
class TimeToTarget:
    """The times at which runs reached the target; ``median`` is None where half of them or more did not."""

    reached: int
    n: int
    median: float | None


def time_to_target(reached: Sequence[float], missed: int) -> TimeToTarget:
    """Return the median time to the target; the time of a run that missed it is infinite.

    The end of a schedule is no censoring: a run that ended there has missed the target, however long other
    runs took. So the median is taken over all times, with infinity for each miss; for an even number of runs
    it is the mean of the two in the middle.

    Args:
        reached: when each run that reached the target did, in epochs, steps or seconds.
        missed: how many finished without it, or failed.
    """
    n = len(reached) + missed
    times = [*sorted(reached), *[math.inf] * missed]
    median = (times[(n - 1) // 2] + times[n // 2]) / 2 if n else math.inf
    return TimeToTarget(len(reached), n, median if math.isfinite(median) else None)
