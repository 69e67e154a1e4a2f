"""Comparison of two recipes: tests chosen in advance, their intervals, and the seeds needed.

The primary test is the paired t test over the seeds that both have; without two such seeds it is Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.statistics.distribution import judgeable_std, mean_of, std_of, t_quantile
from harness.statistics.fisher import FailureCounts
from harness.statistics.permutation import Permutation, relabelled, sign_flips
from harness.statistics.power import MOST_SEEDS as MOST_SEEDS
from harness.statistics.power import seeds_needed

Verdict = Literal["better", "worse", "cannot tell"]

ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """A difference of means with its test; where there is no test, all but the difference is None.

    Attributes:
        difference: mean of the first - mean of the second: of accuracies; of ``Fisher``, of finishing.
        low, high: its 95 % interval; of accuracies cut at -1 and 1.
        p: two-sided, of the null hypothesis "no difference".
        effect_size: Cohen's d, the difference in standard deviations; of ``McNemar``, his g.
    """

    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    effect_size: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A variant against a baseline.

    Attributes:
        test: the primary one: ``paired t``, ``Welch t``, ``McNemar`` (single runs: two networks, not two
            recipes), or ``Fisher`` where one of the two has no finished run: of the numbers of failed runs.
        n, n_baseline: the number of runs of each; the same seeds where the test is paired.
        primary: the result of the primary test.
        welch_p: Welch's test over all runs of both, beside a paired primary test.
        permutation: the permutation test that makes the same use of the seeds as the primary one.
        p_holm: p after Holm's correction over the comparisons that were made together.
        seeds_needed: seeds of each recipe that would show the measured difference; None where it is
            significant already, or where the number is unknown.
    """

    test: Literal["paired t", "Welch t", "McNemar", "Fisher"]
    n: int
    n_baseline: int
    primary: Estimate
    welch_p: float | None = None
    permutation: Permutation | None = None
    p_holm: float | None = None
    seeds_needed: int | None = None
    verdict: Verdict = "cannot tell"


def compare(variant: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison | None:
    """Make the primary test and its companions, before any correction: see :func:`judge`.

    Args:
        variant, baseline: seed -> accuracy, in fractions.

    Returns:
        None where there are neither two shared seeds nor two seeds of each.
    """
    shared = sorted(variant.keys() & baseline.keys())
    ours, theirs = list(variant.values()), list(baseline.values())
    welch = welch_t(ours, theirs) if min(len(ours), len(theirs)) > 1 else None
    if len(shared) > 1:
        differences = [variant[seed] - baseline[seed] for seed in shared]
        return Comparison(
            "paired t",
            len(shared),
            len(shared),
            _cut(paired_t(differences)),
            welch.p if welch is not None else None,
            sign_flips(differences),
        )
    if welch is None:
        return None
    return Comparison("Welch t", len(ours), len(theirs), _cut(welch), None, relabelled(ours, theirs))


def _cut(estimate: Estimate) -> Estimate:
    """Cut the interval at -1 and 1, as no difference of accuracies lies beyond."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(estimate.low, -1.0), high=min(estimate.high, 1.0))


def compare_by_failures(failures: FailureCounts) -> Comparison:
    """Compare two recipes, of which one has no finished run, by how many runs failed."""
    share, share_baseline = failures.failed / failures.n, failures.failed_baseline / failures.n_baseline
    test = Estimate(share_baseline - share, p=failures.p)
    return Comparison("Fisher", failures.n, failures.n_baseline, test)


def judge(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct comparisons that were made together, and give each its verdict.

    A verdict needs a p value after Holm's correction of at most ``ALPHA``, and several seeds: one run each
    compares the networks, not the recipes.
    """
    tested = [comparison for comparison in comparisons if comparison.primary.p is not None]
    corrected = iter(holm([comparison.primary.p or 0.0 for comparison in tested]))
    judged = []
    for comparison in comparisons:
        test = comparison.primary
        p_holm = None if test.p is None else next(corrected)
        verdict: Verdict = "cannot tell"
        needed = None
        if p_holm is not None and p_holm <= ALPHA and comparison.test != "McNemar":
            verdict = "better" if test.difference > 0 else "worse"
        elif test.effect_size and comparison.test in ("paired t", "Welch t"):
            # the most that Holm's correction requires of the smallest p value
            paired = comparison.test == "paired t"
            needed = seeds_needed(test.effect_size, paired=paired, alpha=ALPHA / len(tested))
        judged.append(replace(comparison, p_holm=p_holm, seeds_needed=needed, verdict=verdict))
    return judged


def paired_t(differences: Sequence[float]) -> Estimate:
    """Test by the paired t test whether the mean of the differences, one a seed, is zero.

    Student (Biometrika, 1908). Two recipes with the same seed share initialisation and order of the images,
    so their difference may vary less than each of them. The effect size is Cohen's d_z, mean / std of the
    differences (Cohen, "Statistical power analysis", 1988, 2.3.5).
    """
    mean, std, n = mean_of(differences), judgeable_std(differences), len(differences)
    return Estimate(mean) if std is None else _t_test(mean, std / math.sqrt(n), n - 1, mean / std)


def welch_t(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Test two independent groups of at least two values, whose variances may differ, by Welch's t test.

    Welch (Biometrika, 1947), degrees of freedom by Satterthwaite (1946). The effect size is Cohen's d with
    the root mean square of the two stds (Cohen 1988, 2.3.2).
    """
    difference = mean_of(first) - mean_of(second)
    if judgeable_std(first) is None and judgeable_std(second) is None:
        return Estimate(difference)
    (std, n), (other_std, m) = ((std_of(values) or 0.0, len(values)) for values in (first, second))
    parts = std**2 / n, other_std**2 / m
    free = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    pooled = math.sqrt((std**2 + other_std**2) / 2)
    return _t_test(difference, math.sqrt(sum(parts)), free, difference / pooled)


def _t_test(difference: float, error: float, free: float, effect_size: float) -> Estimate:
    """Return the interval and the two-sided p of a difference with this standard error."""
    from scipy.special import stdtr

    half = t_quantile(free) * error
    p = min(1.0, 2 * float(stdtr(free, -abs(difference) / error)))
    return Estimate(difference, difference - half, difference + half, p, effect_size)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for multiple comparisons; return them in the same order.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics,
    1979): the i-th smallest of k times k - i + 1, never below the one before it, at most 1.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected
