"""How often a run of one recipe beats a run of another: P(A > B), with ties counted half."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.statistics.distribution import t_quantile
from harness.statistics.target import clopper_pearson

MEANINGFUL = 0.75  # Bouthillier et al., "Accounting for variance in machine learning benchmarks" (2021)
_EQUAL = 1e-12  # accuracies that differ by less are equal except for rounding


@dataclass(frozen=True)
class Superiority:
    """P(A > B) + P(A = B) / 2 of two runs, with its 95 % interval.

    Attributes:
        wins, ties, n: of pairs with one seed; None where the runs are not paired.
    """

    probability: float
    low: float
    high: float
    wins: int | None = None
    ties: int | None = None
    n: int | None = None


def superiority(
    variant: Mapping[int, float], baseline: Mapping[int, float], *, paired: bool = True
) -> Superiority | None:
    """Estimate how often the variant beats the baseline, over the seeds that both have if there are two.

    Args:
        variant, baseline: seed -> accuracy, in fractions.
        paired: whether runs of one seed are pairs.

    Returns:
        None without two shared seeds or two seeds of each.
    """
    shared = variant.keys() & baseline.keys()
    if paired and len(shared) > 1:
        return _of_pairs([variant[seed] - baseline[seed] for seed in shared])
    if min(len(variant), len(baseline)) < 2:
        return None
    return brunner_munzel(list(variant.values()), list(baseline.values()))


def _of_pairs(differences: Sequence[float]) -> Superiority:
    """Return the share of pairs that are won, ties being half a win, with an exact interval.

    Clopper and Pearson's interval; a tie counts as lost for the lower end and as won for the upper one, so
    that it covers at least 95 % with ties as well.
    """
    n = len(differences)
    wins = sum(difference > _EQUAL for difference in differences)
    ties = sum(abs(difference) <= _EQUAL for difference in differences)
    low, _ = clopper_pearson(wins, n)
    _, high = clopper_pearson(wins + ties, n)
    return Superiority((wins + ties / 2) / n, float(low), float(high), wins, ties, n)


def brunner_munzel(first: Sequence[float], second: Sequence[float]) -> Superiority:
    """Estimate P(A > B) of two independent groups of at least two values each.

    Brunner and Munzel, "The nonparametric Behrens-Fisher problem" (Biometrical Journal, 2000): the mean of
    the placements, its variance, and Satterthwaite's degrees of freedom. The t interval is that of its logit
    (Brunner, Bathke and Konietschke, "Rank and Pseudo-Rank Procedures", 2018), which stays inside 0 and 1;
    the plain one covers only 88 % where the probability is 92 % (docs/statistics.md). Where no placement
    varies, such as of groups that do not overlap, there is no variance. Then the interval is Clopper and
    Pearson's of as many independent pairs as the smaller group has values.
    """
    ours, theirs = ([round(value / _EQUAL) for value in group] for group in (first, second))
    placed = [_placement(value, theirs) for value in ours]
    others = [_placement(value, ours) for value in theirs]
    n, m = len(ours), len(theirs)
    probability = math.fsum(placed) / n
    parts = _variance(placed) / n, _variance(others) / m
    if sum(parts) <= 1e-15:
        wins = min(n, m) if probability > 0.75 else 0
        draws = min(n, m) if 0.25 < probability < 0.75 else 0
        pairs = _of_pairs([1.0] * wins + [0.0] * draws + [-1.0] * (min(n, m) - wins - draws))
        return Superiority(probability, pairs.low, pairs.high)
    free = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    logit = math.log(probability / (1 - probability))
    half = t_quantile(free) * math.sqrt(sum(parts)) / (probability * (1 - probability))
    low, high = (1 / (1 + math.exp(min(-end, 700.0))) for end in (logit - half, logit + half))
    return Superiority(probability, low, high)


def _placement(value: int, among: Sequence[int]) -> float:
    """Return the share of values below this one, equal ones counted half."""
    return (sum(other < value for other in among) + sum(other == value for other in among) / 2) / len(among)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
