"""What was published elsewhere, compared with what was measured here."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.statistics.distribution import CONFIDENCE_LEVEL, cut_shares, judgeable_std, mean_of, median_of

Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Standing:
    """Where a published number lies; what cannot be judged is None.

    Attributes:
        n: our runs.
        published: accuracy or share of runs, a fraction.
        measured: the same statistic of our runs.
        percentile: share of our runs below the published accuracy, equal ones counted half.
        low, high: 95 % prediction interval for what was published.
        plausible: whether the published number lies in that interval.
    """

    n: int
    published: float
    measured: float
    percentile: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        """Published - measured, a fraction."""
        return self.published - self.measured

    @property
    def plausible(self) -> bool | None:
        """Whether such a number is to be expected from the recipe as it runs here."""
        return None if self.low is None or self.high is None else self.low <= self.published <= self.high


def accuracy_standing(
    published: float, values: Sequence[float], runs: int = 1, statistic: Statistic = "mean"
) -> Standing:
    """A published accuracy against ours.

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
    """A published share of runs, ``count`` of ``runs``, against ours, ``reached`` of ``n`` >= 1."""
    low, high = share_prediction(reached, n, runs)
    return Standing(n, count / runs, reached / n, None, low / runs, high / runs)


def prediction_interval(
    values: Sequence[float],
    runs: int = 1,
    statistic: Statistic = "mean",
    level: float = CONFIDENCE_LEVEL,
) -> tuple[float, float] | None:
    """Where the mean or median of ``runs`` further runs falls, for normal values; around our mean.

    mean ± t(n - 1) · std · sqrt(v + 1 / n), where v · std² is the variance of that statistic: 1 / runs for
    the mean (Hahn and Meeker, "Statistical Intervals", 2nd edition, 2017, 4.7), about
    1 / (1 + (runs - 1) · 2 / π) for the median, which is right for one run and for very many; its square
    root is at most 1 % too small, and 11 % too large for two runs, 2 % from 20 on (docs/statistics.md).

    Returns:
        ``(low, high)``, or None for fewer than two values, or where all are equal.
    """
    from scipy.special import stdtrit

    std = judgeable_std(values)
    if std is None:
        return None
    n, mean = len(values), mean_of(values)
    variance = 1 / runs if statistic == "mean" else 1 / (1 + (runs - 1) * 2 / math.pi)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * std * math.sqrt(variance + 1 / n)
    return mean - half, mean + half


def share_prediction(reached: int, n: int, runs: int, level: float = CONFIDENCE_LEVEL) -> tuple[int, int]:
    """How many of ``runs`` further runs reach what ``reached`` of ``n`` did, at least with this confidence.

    Thatcher (JRSS B, 1964): the counts that Fisher's exact test, with half of the error on each side, does
    not tell from ours. Hahn and Meeker (2017), 6.6.
    """
    tail = (1 - level) / 2
    counts = range(runs + 1)

    def tails(count: int) -> tuple[float, float]:
        """P(at most ``reached``), P(at least ``reached``), given how many of all runs did."""
        shares = _hypergeometric(reached + count, n, runs)
        return math.fsum(shares[: reached + 1]), math.fsum(shares[reached:])

    low = bisect.bisect_left(counts, True, key=lambda count: tails(count)[1] > tail)
    high = bisect.bisect_left(counts, True, key=lambda count: tails(count)[0] <= tail) - 1
    return low, high


def _hypergeometric(successes: int, n: int, runs: int) -> list[float]:
    """Probability that 0, 1, ... n of our n runs are among ``successes`` of n + ``runs`` runs."""
    whole = _log_choose(n + runs, successes)
    return [
        math.exp(_log_choose(n, ours) + _log_choose(runs, successes - ours) - whole)
        if 0 <= successes - ours <= runs
        else 0.0
        for ours in range(n + 1)
    ]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
