"""The distribution of n values, one a seed: mean, standard deviation and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE_LEVEL = 0.95
# With fewer values the bootstrap's interval covers too rarely; docs/statistics.md has the coverage.
BOOTSTRAP_FROM = 50
RESAMPLES = 9_999
SEED = 20_230_401  # of all resampling: a fixed number, so that the same values give the same result


@dataclass(frozen=True)
class Distribution:
    """The statistics of n values; those that need two values are None for one.

    Attributes:
        std: sample standard deviation, divisor n - 1.
        sem: standard error of the mean, std / sqrt(n).
        ci_low, ci_high: 95 % t interval of the mean; None also where all values are equal.
        iqm: mean of the middle half, see :func:`interquartile_mean`.
    """

    n: int
    mean: float
    minimum: float
    maximum: float
    std: float | None
    sem: float | None
    ci_low: float | None
    ci_high: float | None
    median: float
    iqm: float


def describe(values: Sequence[float], *, shares: bool = False) -> Distribution | None:
    """Describe the values, one a seed; None without values.

    Args:
        shares: whether they are fractions, such as accuracies: the interval is cut at 0 and 1, beyond which
            their mean cannot lie, so it holds the mean as often as the uncut one.
    """
    if not len(values):
        return None
    std = std_of(values)
    low, high = t_interval(values) or (None, None)
    if low is not None and high is not None and shares:
        low, high = cut_shares(low, high)
    return Distribution(
        n=len(values),
        mean=mean_of(values),
        minimum=min(values),
        maximum=max(values),
        std=std,
        sem=None if std is None else std / math.sqrt(len(values)),
        ci_low=low,
        ci_high=high,
        median=median_of(values),
        iqm=interquartile_mean(values),
    )


def cut_shares(low: float, high: float) -> tuple[float, float]:
    """Cut an interval of fractions at 0 and 1."""
    return max(low, 0.0), min(high, 1.0)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean; the sum is exact (Shewchuk 1997, Python's ``fsum``), so the order does not matter."""
    return math.fsum(values) / len(values)


def std_of(values: Sequence[float]) -> float | None:
    """Return the sample std (Bessel), sqrt(sum((x - mean)^2) / (n - 1)); None for one value."""
    if len(values) < 2:
        return None
    # In floating point the mean of equal values may differ from them; relative to the lowest value it is 0.
    lowest = min(values)
    above = [value - lowest for value in values]
    mean = mean_of(above)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in above) / (len(values) - 1))


def judgeable_std(values: Sequence[float]) -> float | None:
    """Return the std, if a test may divide by it; None for one value, and where all values are equal.

    Equal accuracies, and equal differences of accuracies even more so, are not equal in floating point: a std
    of 1e-17 would make any mean infinitely significant.
    """
    std = std_of(values)
    largest = max(abs(value) for value in values)
    return None if std is None or std <= 1e-12 * max(largest, 1.0) else std


def median_of(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the middle two."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean without n // 4 values at each end, so of all values for n < 4.

    Agarwal et al., "Deep RL at the edge of the statistical precipice" (NeurIPS 2021), as rliable computes it.
    """
    cut = len(values) // 4
    return mean_of(sorted(values)[cut : len(values) - cut])


def t_quantile(degrees_of_freedom: float) -> float:
    """Return the quantile of Student's t for a two-sided interval of ``CONFIDENCE_LEVEL``."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE_LEVEL) / 2))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the mean: mean ± t(n - 1, 0.975) · std / sqrt(n).

    Student, "The probable error of a mean" (Biometrika, 1908). It assumes independent draws of a normal
    distribution, so it describes the recipe over seeds on this one test set.

    Returns:
        ``(low, high)``, or None for fewer than two values, or where all are equal: an interval without width
        would claim certainty.
    """
    std = judgeable_std(values)
    if std is None:
        return None
    mean = mean_of(values)
    half = t_quantile(len(values) - 1) * std / math.sqrt(len(values))
    return mean - half, mean + half


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the BCa bootstrap interval of the mean; the same values give the same interval.

    Efron, "Better bootstrap confidence intervals" (JASA, 1987), by :func:`scipy.stats.bootstrap`. It assumes
    that the values represent their distribution; few values do not. The report shows it from
    ``BOOTSTRAP_FROM`` values on.

    Returns:
        ``(low, high)``, or None where the values are fewer than two or all equal.
    """
    from scipy.stats import bootstrap

    if judgeable_std(values) is None:
        return None
    interval = bootstrap(
        (np.sort(np.asarray(values, dtype=np.float64)),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE_LEVEL,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)
