"""Variants against the study's baseline, or all against all: which test applies, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.results import Results, Run
from harness.statistics.comparison import (
    MOST_SEEDS,
    Comparison,
    compare,
    compare_by_failures,
    judge,
)
from harness.statistics.fisher import Failures, compare_failures
from harness.statistics.mcnemar import compare_images


@dataclass(frozen=True)
class VariantComparison:
    """A variant against the baseline; ``found`` is None, and ``obstacle`` says why, where that cannot be.

    Attributes:
        failures: of both recipes; None where no run failed by its recipe, or one of the two has none.
    """

    variant: str
    baseline: str
    found: Comparison | None
    obstacle: str = ""
    failures: Failures | None = None


def compare_variants(results: Results) -> list[VariantComparison]:
    """A comparison for every variant but the baseline, in the study's order, corrected together by Holm.

    Where the study asks for all comparisons, every other pair follows: each variant against those before it.
    Compared are the last epochs' accuracies of finished runs, with the seeds that both have in pairs. Where
    one of the two has no finished run, the numbers of runs that their recipes made fail are.
    """
    baseline = results.study.baseline
    others = [variant for variant in results.variants if variant != baseline]
    pairs = [(variant, baseline) for variant in others if baseline in results.variants]
    if results.study.comparisons == "all":
        pairs += [(variant, earlier) for at, variant in enumerate(others) for earlier in others[:at]]
    failures = [_failures(results.of(one), results.of(two)) for one, two in pairs]
    compared = [
        _compare(results.of(one, "finished"), results.of(two, "finished"), failed)
        for (one, two), failed in zip(pairs, failures, strict=True)
    ]
    judged = iter(judge([found for found, _ in compared if found is not None]))
    return [
        VariantComparison(*pair, None if found is None else next(judged), obstacle, failed)
        for pair, (found, obstacle), failed in zip(pairs, compared, failures, strict=True)
    ]


def _failures(runs: list[Run], base: list[Run]) -> Failures | None:
    failed, failed_base = (sum(run.failed_by_recipe for run in each) for each in (runs, base))
    finished, finished_base = (sum(run.status == "finished" for run in each) for each in (runs, base))
    return compare_failures(failed, failed + finished, failed_base, failed_base + finished_base)


def _compare(runs: list[Run], base: list[Run], failures: Failures | None) -> tuple[Comparison | None, str]:
    if failures is not None and not (runs and base):
        return compare_by_failures(failures), ""
    if not runs:
        return None, "it has no finished run"
    if not base:
        return None, "the other has no finished run"
    if not same_images([*runs, *base]):
        return None, "they were not evaluated on the same images"
    found = compare(_by_seed(runs), _by_seed(base))
    if found is not None:
        return found, ""
    # One of the two has a single run: two networks can be compared, with the same seed if possible.
    one, two = runs[0], base[0]
    for run in runs:
        for other in base:
            if run.seed == other.seed:
                one, two = run, other
    assert one.predictions is not None and two.predictions is not None
    return compare_images(one.predictions.correct, two.predictions.correct), ""


def _by_seed(runs: Sequence[Run]) -> dict[int, float]:
    return {run.seed: value for run in runs if (value := run.number("test_accuracy")) is not None}


def same_images(runs: Sequence[Run]) -> bool:
    """The same split, and the same labels in the same order; the images may be scaled or normalised anew."""
    labels = [run.predictions.labels for run in runs if run.predictions is not None]
    splits = {run.data.get("evaluated_on") for run in runs}
    return len(splits) == 1 and all(np.array_equal(labels[0], other) for other in labels[1:])


# ---- in words -------------------------------------------------------------------------------------------


def sentence(comparison: VariantComparison, several: bool) -> str:
    """The verdict in a line, with the test, its n and the interval.

    Args:
        several: whether more than one comparison was made, so that Holm's correction changed something.
    """
    failures, found = comparison.failures, comparison.found
    text = _sentence(comparison, several)
    if failures is None or found is not None and found.test == "Fisher":
        return text
    counts = failures_text(failures, comparison.baseline)
    return f"{text}; beside that {counts} (Fisher's exact test, {p_equals(failures.p)})"


def _sentence(comparison: VariantComparison, several: bool) -> str:
    variant, baseline, found = comparison.variant, comparison.baseline, comparison.found
    if found is None:
        return f"{variant} against {baseline}: not compared, {comparison.obstacle}"
    estimate, holm = found.primary, " after Holm" if several else ""
    if found.test == "Fisher" and comparison.failures is not None:
        told = found.verdict != "cannot tell"
        verdict = f"is {found.verdict} than {baseline}" if told else f"against {baseline}: cannot tell"
        return (
            f"{variant} {verdict}: {failures_text(comparison.failures, baseline)} "
            f"(Fisher's exact test, {p_equals(found.p_holm)}{holm})"
        )
    if found.test == "McNemar":
        return (
            f"{variant} against {baseline}: cannot tell with n = 1; on these images its network is "
            f"{difference_text(estimate.difference)} (McNemar, {p_equals(found.p_holm)}{holm}), "
            "which says nothing of other seeds"
        )
    seeds = f"n = {found.n}" if found.n == found.n_baseline else f"n = {found.n} and {found.n_baseline}"
    if estimate.p is None or estimate.low is None or estimate.high is None:
        return (
            f"{variant} against {baseline}: cannot tell with {seeds}; "
            f"{difference_text(estimate.difference)} with every seed: there is no spread to judge it by"
        )
    paired = " shared seeds" if found.test == "paired t" else ""
    interval = f"95 % interval {points(estimate.low)} to {points(estimate.high)}"
    test = f"{found.test}, {seeds}{paired}, {p_equals(found.p_holm)}{holm}"
    if found.verdict != "cannot tell":
        size = f"{abs(100 * estimate.difference):.2f} points"
        return f"{variant} is {found.verdict} than {baseline} by {size} ({interval}; {test})"
    if estimate.low <= 0 <= estimate.high:
        ends = [
            f"{100 * abs(end):.2f} points {word}"
            for end, word in ((estimate.low, "worse"), (estimate.high, "better"))
            if abs(end) < 1
        ]
        excluded = f"excludes only that it is more than {' or '.join(ends)}" if ends else "excludes nothing"
    else:
        excluded = "is not corrected for the other comparisons"
    return (
        f"{variant} against {baseline}: cannot tell with {seeds}; {difference_text(estimate.difference)} "
        f"({test}); the {interval} {excluded}; {seeds_text(found)}"
    )


def seeds_text(found: Comparison) -> str:
    """How many seeds would be enough."""
    if found.seeds_needed is None:
        return f"a difference of this size would take more than {MOST_SEEDS:,} seeds to tell"
    return f"a difference of this size would take about {found.seeds_needed:,} seeds to tell"


def difference_text(difference: float) -> str:
    """Write ``0.52 points better``; a small difference is never called equality, which a mean cannot show."""
    if round(100 * difference, 2) == 0:
        return "less than 0.01 points away"
    return f"{abs(100 * difference):.2f} points {'better' if difference > 0 else 'worse'}"


def failures_text(failures: Failures, baseline: str) -> str:
    """Write ``4 of 4 runs failed, and 0 of 4 of base``."""
    return (
        f"{failures.failed} of {failures.n} runs failed, and "
        f"{failures.failed_baseline} of {failures.n_baseline} of {baseline}"
    )


def points(fraction: float) -> str:
    """Percentage points with their sign: ``+0.52``."""
    return f"{100 * fraction:+.2f}"


def p_equals(p: float | None) -> str:
    """``p = 0.012``, ``p < 0.0001``."""
    return f"p {'' if p is None or p < 0.0001 else '= '}{p_text(p)}"


def p_text(p: float | None) -> str:
    """Two digits, and never 0."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
