"""Power: the seeds that a comparison needs, and the difference that a number of seeds detects.

All of it assumes normal seeds. A difference is two-sided at ``alpha``; divide ``alpha`` by the number of
comparisons where several are made: Holm's first step, so the number of seeds is enough for each of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.statistics.distribution import judgeable_std, std_of

POWER = 0.8
MOST_SEEDS = 10_000  # a larger number of seeds is not given


@dataclass(frozen=True)
class Correlation:
    """The correlation of two recipes' accuracies over shared seeds.

    Attributes:
        low: its one-sided lower bound, with ``POWER`` as its confidence.
        n: shared seeds.
    """

    value: float
    low: float
    n: int


def seeds_for(
    difference: float, std: float, *, paired: bool, alpha: float, power: float = POWER
) -> int | None:
    """Return the number of seeds of each recipe that detects a true difference of this size with this power.

    Args:
        difference: of the two means, a fraction such as 0.003; its sign does not matter.
        std: over seeds; of the differences of equal seeds where paired, else of each of the recipes. Same
            unit as the difference.
        paired: the paired t test; else Welch's test.
        alpha: two-sided level of the test.

    Returns:
        None where more than ``MOST_SEEDS`` would be needed.

    Raises:
        ValueError: the difference is 0, or the std negative.
    """
    if difference == 0 or std < 0:
        raise ValueError("a difference other than 0 and a std of at least 0 are needed")
    effect_size = abs(difference) / std if std > 0 else math.inf
    return seeds_needed(effect_size, paired=paired, alpha=alpha, power=power)


def seeds_needed(effect_size: float, *, paired: bool, alpha: float, power: float = POWER) -> int | None:
    """Return the number of seeds of each recipe that detects an effect of this size with this power.

    Cohen (1988), chapter 2, by the noncentral t distribution. Where the effect size was measured and not
    chosen, the number is a guess: with few seeds a measured effect is on average too large, and the number
    too small.

    Args:
        effect_size: as for :func:`t_power`; infinite where nothing varies.

    Returns:
        None where more than ``MOST_SEEDS`` would be needed.
    """
    if math.isinf(effect_size):
        return 2
    return _fewest(lambda n: t_power(effect_size, n, paired=paired, alpha=alpha), power)


def t_power(effect_size: float, n: int, *, paired: bool, alpha: float) -> float:
    """Return the probability that a two-sided t test with n >= 2 seeds of each recipe finds the effect.

    Args:
        effect_size: Cohen's d_z where paired, else d.
    """
    from scipy.special import nctdtr, stdtrit

    free, shift = (n - 1, math.sqrt(n)) if paired else (2 * n - 2, math.sqrt(n / 2))
    critical = float(stdtrit(free, 1 - alpha / 2))
    away = abs(effect_size) * shift
    below, above = (float(nctdtr(free, away, bound)) for bound in (-critical, critical))
    # scipy returns NaN for very small probabilities
    return (0.0 if math.isnan(below) else below) + 1 - (0.0 if math.isnan(above) else above)


def smallest_difference(
    std: float, n: int, *, paired: bool, alpha: float, power: float = POWER
) -> float | None:
    """Return the smallest true difference that n seeds of each recipe detect with this power.

    Args:
        std, paired, alpha: as for :func:`seeds_for`.

    Returns:
        In the unit of the std; None for fewer than two seeds, which allow no test.
    """
    if n < 2:
        return None
    return std * _least(lambda effect: t_power(effect, n, paired=paired, alpha=alpha), power)


def smallest_margin(std: float, n: int, *, correlation: float = 0.0, alpha: float) -> float | None:
    """Return the smallest margin within which n shared seeds show equality with ``POWER``.

    Args:
        std, correlation, alpha: as for :func:`seeds_for_margin`.

    Returns:
        In the unit of the std; None for fewer than two seeds.
    """
    if n < 2:
        return None
    unit = paired_std(1.0, correlation)
    return std * unit * _least(lambda margin: margin_power(margin, 1.0, n, alpha=alpha), POWER)


def seeds_for_margin(
    margin: float, std: float, *, correlation: float = 0.0, alpha: float, power: float = POWER
) -> int | None:
    """Return the number of shared seeds that shows two equal recipes to be equal within the margin.

    Args:
        margin: largest difference that counts as equal, a fraction.
        std: over seeds, of each of the recipes.
        correlation: of the two accuracies of a seed, below or equal to 1.
        alpha: level of each of the two one-sided tests.

    Returns:
        None where more than ``MOST_SEEDS`` would be needed.
    """
    of_differences = paired_std(std, correlation)
    return _fewest(lambda n: margin_power(margin, of_differences, n, alpha=alpha), power)


def margin_power(margin: float, std: float, n: int, *, alpha: float) -> float:
    """Return the probability that n >= 2 seeds show equality within the margin, where nothing differs.

    The two one-sided paired t tests (Schuirmann, J. Pharmacokinet. Biopharm., 1987) both reject where
    |mean difference| < margin - t · s / √n. Its probability, given s, is of the normal distribution; the
    integral over s, whose square is chi-square, is the exact power (Phillips, 1990, same journal).

    Args:
        std: of the differences of equal seeds, in the unit of the margin.
        alpha: level of each of the two tests.
    """
    from scipy.special import gammaln, ndtr, stdtrit

    if std == 0:
        return float(margin > 0)
    free, reach = n - 1, margin * math.sqrt(n) / std
    critical = float(stdtrit(free, 1 - alpha))
    # u = s / std; beyond ten of its own stds its weight is negligible
    around = 10 / math.sqrt(2 * free)
    low, high = max(0.0, 1 - around), min(1 + around, reach / critical)
    if high <= low:
        return 0.0
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u = low + (high - low) * (nodes + 1) / 2
    log_density = (math.log(2) + (free / 2) * math.log(free / 2) - gammaln(free / 2) - free * u**2 / 2) + (
        free - 1
    ) * np.log(u)
    inside = 2 * ndtr(reach - critical * u) - 1
    return float((weights * np.exp(log_density) * inside).sum() * (high - low) / 2)


def paired_std(std: float, correlation: float) -> float:
    """Return the std of the differences of equal seeds of two recipes that both have this std."""
    return std * math.sqrt(2 * (1 - correlation))


def std_upper(std: float, n: int, level: float = POWER) -> float:
    """Return the one-sided upper confidence bound of a std, for normal values.

    s · √((n - 1) / χ²(1 - level, n - 1)) (Hahn and Meeker, "Statistical Intervals", 2nd edition, 2017, 4.2).

    Args:
        std: of n values, divisor n - 1; of a std pooled over groups, n - 1 is the sum of their n - 1.
        level: how often the bound is above the true std, such as 0.8.

    Raises:
        ValueError: fewer than two values.
    """
    from scipy.special import chdtri

    if n < 2:
        raise ValueError("a std needs at least two values")
    return std * math.sqrt((n - 1) / float(chdtri(n - 1, level)))  # chdtri takes the upper tail


def pooled_std(groups: Iterable[Sequence[float]]) -> tuple[float, int] | None:
    """Return the std within groups of values, one a recipe, and its degrees of freedom.

    √(Σ (nᵢ - 1) sᵢ² / Σ (nᵢ - 1)): assumes that the recipes have equal variances over seeds.

    Returns:
        None where no group has two values, or none varies.
    """
    stds = [(std, len(values) - 1) for values in groups if (std := std_of(values)) is not None]
    free = sum(freedom for _, freedom in stds)
    variance = sum(std**2 * freedom for std, freedom in stds) / free if free else 0.0
    return (math.sqrt(variance), free) if variance > 1e-24 else None


def correlation_of(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> Correlation | None:
    """Return the correlation of two recipes' accuracies over shared seeds, with its lower bound.

    The mean of Fisher's z = artanh r over the pairs of recipes with at least four shared seeds, weighted by
    n - 3. z has the variance 1 / (n - 3) (Fisher, Metron, 1921); the bound takes n from the longest pair,
    because pairs that share the baseline's runs are not independent.
    """
    from scipy.special import ndtri

    usable = [
        (first, second)
        for first, second in pairs
        if len(first) > 3 and judgeable_std(first) is not None and judgeable_std(second) is not None
    ]
    if not usable:
        return None
    most = 1 - 1e-9
    z = [math.atanh(max(-most, min(most, float(np.corrcoef(*pair)[0, 1])))) for pair in usable]
    weights = [len(first) - 3 for first, _ in usable]
    mean = sum(value * weight for value, weight in zip(z, weights, strict=True)) / sum(weights)
    low = mean - float(ndtri(POWER)) / math.sqrt(max(weights))
    return Correlation(math.tanh(mean), math.tanh(low), max(weights) + 3)


def _least(power_of: Callable[[float], float], power: float) -> float:
    """Return the smallest effect whose power is enough, in units of the std."""
    low, high = 0.0, 1.0
    while power_of(high) < power:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:  # until no number is between
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def _fewest(power_of: Callable[[int], float], power: float) -> int | None:
    """Return the smallest number of seeds whose power is enough; None above ``MOST_SEEDS``."""
    counts = range(2, MOST_SEEDS + 1)
    at = bisect_left(counts, power, key=power_of)
    return counts[at] if at < len(counts) else None
