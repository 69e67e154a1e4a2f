"""Write a comparison in words: its verdict, its test, and what else the runs show."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.analysis.comparisons import VariantComparison
from harness.analysis.numbers import evidence_text, p_equals, percent_text
from harness.analysis.units import Units
from harness.statistics.anova import EQUAL
from harness.statistics.comparison import ALPHA, Comparison
from harness.statistics.fisher import FailureCounts
from harness.statistics.margin import AgainstMargin
from harness.statistics.superiority import MEANINGFUL, Superiority


def sentence(comparison: VariantComparison, several: bool) -> str:
    """Write the verdict in a line, with the test, its n and the interval.

    Args:
        several: whether more than one comparison was made, so that Holm's correction changed something.
    """
    holm = " after Holm" if several else ""
    failures, result = comparison.failures, comparison.result
    if result is None:
        text = f"{comparison.variant} against {comparison.baseline}: not compared, {comparison.obstacle}"
    elif result.test == "Fisher":
        return _failures_sentence(comparison, result, holm)
    else:
        values = _values_sentence(comparison, result, several)
        text = "; ".join([values, *_limits(comparison, result, holm)])
    if failures is None:
        return text
    told = "no significant difference" if failures.verdict == "not shown" else f"it {failures.verdict}"
    counts = failures_text(failures, comparison.baseline)
    return f"{text}; failed runs: {counts}, {told} ({_failures_test(failures, holm)})"


def further_sentences(comparison: VariantComparison) -> list[str]:
    """Write what else the runs say: the power of n, P(A > B), the test without outlying seeds."""
    result, units, said = comparison.result, comparison.units, []
    if result is not None and result.verdict == "cannot tell" and result.smallest_difference is not None:
        smallest = result.smallest_difference
        if smallest < units.metric.widest:
            size = units.amount(smallest)
            said.append(f"n = {result.n} detects a true difference of {size} or more with 80 % power")
        else:
            said.append(f"n = {result.n} is too few to detect any true difference with 80 % power")
    if comparison.superiority is not None:
        said.append(superiority_text(comparison.superiority, comparison.variant, comparison.baseline, units))
    if comparison.without is not None:
        test = comparison.without.primary
        p = f" ({p_equals(test.p)}, not corrected)" if test.p is not None else ""
        said.append(
            f"without the outlier {flagged_text(comparison)}: {_difference_text(test.difference, units)}{p}"
        )
    return said


def test_text(comparison: VariantComparison, several: bool, *, turned: bool = False) -> str:
    """Write interval and test: ``95 % interval +0.1 to +0.4; paired t, n = 5 shared seeds, p = 0.01``.

    Args:
        several: whether more than one comparison was made, so that Holm's correction changed something.
        turned: give the interval of the second minus the first.
    """
    result = comparison.result
    assert result is not None
    holm = " after Holm" if several else ""
    if result.test == "McNemar":
        return f"McNemar's test, one run each, {p_equals(result.p_holm)}{holm}"
    paired = " shared seeds" if result.test == "paired t" else ""
    if result.primary.p is None:
        return f"{_seeds(result)}{paired}, no spread to test"
    if comparison.evidence is not None and comparison.evidence.sign is not None:
        seeds = _seeds(result) if comparison.look is None else f"n = {comparison.look.pairs}"
        test = f"{seeds}{paired}; {comparison.evidence.text}"
    else:
        test = f"{result.test}, {_seeds(result)}{paired}, {p_equals(result.p_holm)}{holm}"
    return f"{_interval_text(comparison, turned)}; {test}"


def _seeds(result: Comparison) -> str:
    """Write ``n = 5``; ``n = 5 and 4`` where the two have other numbers of seeds."""
    same = result.n == result.n_baseline
    return f"n = {result.n}" if same else f"n = {result.n} and {result.n_baseline}"


def _failures_sentence(comparison: VariantComparison, result: Comparison, holm: str) -> str:
    variant, baseline, failures = comparison.variant, comparison.baseline, comparison.failures
    assert failures is not None
    told = result.verdict != "cannot tell"
    verdict = f"is significantly {result.verdict} than {baseline}" if told else f"against {baseline}"
    significant = "" if told else ", no significant difference"
    return (
        f"{variant} {verdict}: {failures_text(failures, baseline)}{significant} "
        f"({_failures_test(failures, holm)})"
    )


def _failures_test(failures: FailureCounts, holm: str) -> str:
    if failures.e_value is not None and failures.e_needed is not None:
        needed = evidence_text(failures.e_needed)
        return f"e-value, valid at any n: e = {evidence_text(failures.e_value)}, {needed} needed"
    return f"Fisher's exact test, {p_equals(failures.p_holm)}{holm}"


def _values_sentence(comparison: VariantComparison, result: Comparison, several: bool) -> str:
    units, estimate = comparison.units, result.primary
    pair, details = f"{comparison.variant} against {comparison.baseline}", test_text(comparison, several)
    if result.test == "McNemar":
        return (
            f"{pair}: not tested over seeds (n = 1): {_difference_text(estimate.difference, units)} on these "
            f"images ({details}); other seeds may differ"
        )
    if estimate.p is None:
        return (
            f"{pair}: no test ({_seeds(result)}): {_difference_text(estimate.difference, units)} with every "
            "seed, so there is no spread"
        )
    difference = comparison.difference or 0.0
    if result.verdict != "cannot tell":
        size = units.amount(difference)
        verdict = f"{comparison.variant} is significantly {result.verdict} than {comparison.baseline}"
        return f"{verdict} by {size} ({details})"
    difference_text = _difference_text(difference, units)
    return f"{pair}: no significant difference ({_seeds(result)}): {difference_text} ({details})"


def _interval_text(comparison: VariantComparison, turned: bool) -> str:
    """Write the interval that belongs to the kind of answer."""
    sequential = comparison.sequential
    name = f"95 % interval{' for all looks together' if sequential else ''}"
    low, high = comparison.interval
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"no {name} yet"
    low, high = (-high, -low) if turned else (low, high)
    unit = comparison.units.of_difference
    text = f"{name} {comparison.units.signed_interval(low, high)}{unit}"
    excludes_zero = not low <= 0 <= high
    uncorrected = excludes_zero and comparison.verdict == "cannot tell"
    return f"{text}, not corrected for the other comparisons" if uncorrected else text


def _limits(comparison: VariantComparison, result: Comparison, holm: str) -> Iterator[str]:
    """Write what is shown of the margin, and why a small p alone gives no verdict."""
    if comparison.margin is not None:
        sequential = comparison.sequential
        yield margin_text(comparison.margin, None if sequential else holm, comparison.units)
    fixed = comparison.evidence is None or comparison.evidence.sign is None
    if fixed and result.p_common is not None and (result.p_holm or 0.0) <= ALPHA < result.p_common:
        yield (
            "a seed of the study is an outlier, and with the median spread of all comparisons "
            f"{p_equals(result.p_common)}{holm}"
        )


def margin_text(result: AgainstMargin, holm: str | None, units: Units) -> str:
    """Write ``equivalent within 0.2 points (p = 0.01 after Holm)``; no p where it does not decide (None)."""
    size = units.exact_amount(result.margin)
    said = {
        "better by at least the margin": (f"better by at least {size}", result.p_better),
        "worse by at least the margin": (f"worse by at least {size}", result.p_worse),
        "equivalent": (f"equivalent within {size}", result.p_equivalent),
        "not worse": (f"not worse by {size} or more", result.p_not_worse),
    }
    if result.verdict not in said:
        return f"no significant result about the margin of {size}"
    text, p = said[result.verdict]
    return text if holm is None else f"{text} ({p_equals(p)}{holm})"


def superiority_text(result: Superiority, variant: str, baseline: str, units: Units) -> str:
    """Write ``a beats b in 4 of 5 seeds (P(a > b) 80 %, ...)``; ``P(a < b)`` where lower is better."""
    sign = ">" if units.metric.higher_is_better else "<"
    interval = f"interval {100 * result.low:.0f} to {100 * result.high:.0f} %"
    share = f"P({variant} {sign} {baseline}) {100 * result.probability:.0f} %"
    mark = f"{percent_text(MEANINGFUL)} or more counts as meaningful"
    if result.n is None:
        return f"{share} ({interval}; {mark})"
    ties = f", {result.ties} equal" if result.ties else ""
    return (
        f"{variant} beats {baseline} in {result.wins} of {result.n} seeds{ties} ({share}, {interval}; {mark})"
    )


def flagged_text(comparison: VariantComparison) -> str:
    """Write ``seed 3 of wide and seed 5 of base``."""
    both = (
        (comparison.flagged, comparison.variant),
        (comparison.flagged_baseline, comparison.baseline),
    )
    return " and ".join(f"seed {seed} of {variant}" for seed, variant in both if seed is not None)


def _difference_text(difference: float, units: Units) -> str:
    """Write ``0.52 points better``."""
    if abs(difference) < EQUAL:
        return "the means are equal"
    return f"{units.amount(difference)} {'better' if difference > 0 else 'worse'}"


def failures_text(failures: FailureCounts, baseline: str) -> str:
    """Write ``4 of 4 runs failed, and 0 of 4 of base``."""
    return (
        f"{failures.failed} of {failures.n} runs failed, and "
        f"{failures.failed_baseline} of {failures.n_baseline} of {baseline}"
    )
