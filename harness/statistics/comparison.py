"""Comparison of two recipes: tests chosen in advance, their intervals, and the verdict.

The primary test is the paired t test over the seeds that both have; without two such seeds it is Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.statistics.distribution import judgeable_std, mean_of, median_of, std_of, t_quantile
from harness.statistics.fisher import FailureCounts
from harness.statistics.permutation import Permutation, relabelled, sign_flips
from harness.statistics.power import seeds_needed, smallest_difference, std_upper

Verdict = Literal["better", "worse", "cannot tell"]
VERDICTS: dict[int, Verdict] = {1: "better", -1: "worse", 0: "cannot tell"}  # by the sign that is shown

ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """A difference of means with its test; without a test only the difference is set.

    Attributes:
        difference: mean of the first - mean of the second, of a number where higher is better, such as
            the accuracy; of ``Fisher``, of finishing.
        low, high: its 95 % interval; of fractions cut at -1 and 1.
        p: two-sided, of the null hypothesis "no difference".
        effect_size: Cohen's d, the difference in standard deviations; of ``McNemar``, his g.
        error: its standard error; of the t tests alone, as the next one.
        free: degrees of freedom.
    """

    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    effect_size: float | None = None
    error: float | None = None
    free: float | None = None


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
        independent: whether the runs of each recipe are; else ``primary`` allows for their dependence,
            and nothing follows from its error for other numbers of runs.
        careful: the primary test with the spread that these comparisons have in common, where that is larger:
            see :func:`with_common_spread`; None where no seed is flagged.
        p_common: of ``careful``, after Holm's correction.
        seeds_needed: seeds of each recipe needed to detect the measured difference; None where it is
            significant already, or where the number is unknown.
        smallest_difference: the true difference that this number of seeds detects with a power of 80 %, by
            the upper bound of the measured spread (80 %); a fraction, None where it is unknown.
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
    independent: bool = True
    careful: Estimate | None = None
    p_common: float | None = None
    smallest_difference: float | None = None

    @property
    def pairs(self) -> float:
        """The harmonic mean of the two numbers of runs: n where they are equal."""
        return 2 * self.n * self.n_baseline / (self.n + self.n_baseline)

    @property
    def spread(self) -> float | None:
        """The std of a difference of two independent runs, one of each recipe; None without a t test."""
        if self.primary.error is None or not self.independent:
            return None
        return self.primary.error * math.sqrt(self.pairs)


def primary_test(
    variant: Mapping[int, float], baseline: Mapping[int, float], widest: float = 1.0, *, paired: bool = True
) -> Comparison | None:
    """Make the primary test alone; arguments and result are those of :func:`compare`."""
    shared = sorted(variant.keys() & baseline.keys()) if paired else []
    if len(shared) > 1:
        estimate = paired_t([variant[seed] - baseline[seed] for seed in shared])
        return Comparison("paired t", len(shared), len(shared), _cut(estimate, widest))
    if min(len(variant), len(baseline)) < 2:
        return None
    estimate = welch_t(list(variant.values()), list(baseline.values()))
    return Comparison("Welch t", len(variant), len(baseline), _cut(estimate, widest))


def compare(
    variant: Mapping[int, float], baseline: Mapping[int, float], widest: float = 1.0, *, paired: bool = True
) -> Comparison | None:
    """Make the primary test and its companions, before any correction: see :func:`judge`.

    Args:
        variant, baseline: seed -> a number where higher is better, such as the accuracy.
        widest: the largest difference that there can be: 1 of fractions.
        paired: whether runs of one seed are pairs.

    Returns:
        None without two shared seeds or two seeds of each.
    """
    comparison, ours, theirs = (
        primary_test(variant, baseline, widest, paired=paired),
        list(variant.values()),
        list(baseline.values()),
    )
    if comparison is None:
        return None
    if comparison.test == "Welch t":
        return replace(comparison, permutation=relabelled(ours, theirs))
    welch = welch_t(ours, theirs)
    differences = [variant[seed] - baseline[seed] for seed in sorted(variant.keys() & baseline.keys())]
    return replace(comparison, welch_p=welch.p, permutation=sign_flips(differences))


def _cut(estimate: Estimate, widest: float) -> Estimate:
    """Cut the interval at the largest differences that there can be: -1 and 1 of fractions."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(estimate.low, -widest), high=min(estimate.high, widest))


def compare_by_failures(failures: FailureCounts) -> Comparison:
    """Compare two recipes by their failed runs, if one has no finished run.

    Args:
        failures: as :func:`judge_failures` returns them; their verdict is that of the comparison.
    """
    share, share_baseline = failures.failed / failures.n, failures.failed_baseline / failures.n_baseline
    verdicts: dict[str, Verdict] = {"fails less often": "better", "fails more often": "worse"}
    return Comparison(
        "Fisher",
        failures.n,
        failures.n_baseline,
        Estimate(share_baseline - share, p=failures.p),
        p_holm=failures.p_holm,
        verdict=verdicts.get(failures.verdict, "cannot tell"),
    )


def judge(comparisons: Sequence[Comparison], *, flagged: bool = False) -> list[Comparison]:
    """Correct comparisons of accuracies that were made together, and give each its verdict.

    A verdict needs a p value after Holm's correction of at most ``ALPHA``, and several seeds: one run each
    compares the networks, not the recipes. Where a seed is flagged it also needs this of the test with the
    common spread.

    Args:
        flagged: whether a seed of one of the recipes is an outlier: see :mod:`.bad_seeds`.
    """
    if flagged:
        comparisons = with_common_spread(comparisons)
    tested = [comparison for comparison in comparisons if comparison.primary.p is not None]
    own = iter(holm([comparison.primary.p or 0.0 for comparison in tested]))
    common = iter(holm([(comparison.careful or comparison.primary).p or 0.0 for comparison in tested]))
    judged = []
    for comparison in comparisons:
        if comparison.primary.p is not None:
            p_holm, p_common = next(own), next(common)
            comparison = replace(
                comparison, p_holm=p_holm, p_common=None if comparison.careful is None else p_common
            )
        judged.append(_with_verdict(comparison, len(tested)))
    return judged


def _with_verdict(comparison: Comparison, tests: int) -> Comparison:
    """Decide whether a corrected comparison shows a difference, and in which direction."""
    test = comparison.primary
    if comparison.test not in ("paired t", "Welch t") or test.p is None:
        return comparison
    shown = max(comparison.p_holm or 0.0, comparison.p_common or 0.0) <= ALPHA
    # the most that Holm's correction requires of the smallest p value
    paired, alpha = comparison.test == "paired t", ALPHA / tests
    needed = None
    if (comparison.p_holm or 0.0) > ALPHA and test.effect_size and comparison.independent:
        needed = seeds_needed(test.effect_size, paired=paired, alpha=alpha)
    return replace(
        comparison,
        verdict=("better" if test.difference > 0 else "worse") if shown else "cannot tell",
        seeds_needed=needed,
        smallest_difference=_smallest_difference(comparison, alpha),
    )


def _smallest_difference(comparison: Comparison, alpha: float) -> float | None:
    """Return the difference detected with a power of 80 %, by the upper bound of the measured spread."""
    spread, free = comparison.spread, comparison.primary.free
    if spread is None or free is None:
        return None
    paired, n = comparison.test == "paired t", min(comparison.n, comparison.n_baseline)
    std = spread if paired else spread / math.sqrt(2)  # Welch: the root mean square of the two stds
    # whole degrees of freedom, rounded down except for the last bits
    upper = std_upper(std, max(2, math.floor(free + 1e-9) + 1))
    return smallest_difference(upper, n, paired=paired, alpha=alpha)


def with_common_spread(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Add to each t test the same test with the spread that all of them have in common, if that is larger.

    If a recipe has rare bad seeds and none was drawn, its mean is too high and its spread too small. No test
    on its own values can know this; the spreads of other comparisons can show it, if bad seeds were drawn
    there. The common spread is the median of all. The pair keeps its degrees of freedom, so the test never
    rejects what the primary one does not.
    """
    spreads = [spread for comparison in comparisons if (spread := comparison.spread) is not None]
    if not spreads:
        return list(comparisons)
    common, widened = median_of(spreads), []
    for comparison in comparisons:
        test, careful = comparison.primary, None
        if test.error is not None and test.free is not None and comparison.independent:
            careful = _t_test(
                test.difference, max(test.error, common / math.sqrt(comparison.pairs)), test.free, None
            )
        widened.append(replace(comparison, careful=careful))
    return widened


def judge_failures(failures: Sequence[FailureCounts | None]) -> list[FailureCounts | None]:
    """Correct tests of failures that were made together by Holm's procedure, and give each its verdict."""
    corrected = iter(holm([counts.p for counts in failures if counts is not None]))
    return [None if counts is None else counts.judged(next(corrected), ALPHA) for counts in failures]


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


def _t_test(difference: float, error: float, free: float, effect_size: float | None) -> Estimate:
    """Return the interval and the two-sided p of a difference with this standard error."""
    from scipy.special import stdtr

    half = t_quantile(free) * error
    p = min(1.0, 2 * float(stdtr(free, -abs(difference) / error)))
    return Estimate(difference, difference - half, difference + half, p, effect_size, error, free)


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
