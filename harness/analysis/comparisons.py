"""Variants against the study's baseline, or all against all: the test of each pair, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.analysis.designs import corrected_difference
from harness.analysis.numbers import p_equals, points_text
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.statistics.comparison import (
    MOST_SEEDS,
    Comparison,
    compare,
    compare_by_failures,
    judge,
)
from harness.statistics.fisher import FailureCounts, compare_failures
from harness.statistics.mcnemar import compare_images


@dataclass(frozen=True)
class VariantComparison:
    """A variant against the baseline.

    Attributes:
        result: None where the two cannot be compared; ``obstacle`` says why.
        failures: of both recipes; None where no run failed by its recipe, or one of the two has none.
    """

    variant: str
    baseline: str
    result: Comparison | None
    obstacle: str = ""
    failures: FailureCounts | None = None

    @property
    def test(self) -> str | None:
        """The test's name; None where the two are not compared."""
        return None if self.result is None else self.result.test

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``cannot tell``."""
        return "cannot tell" if self.result is None else self.result.verdict


def compare_variants(results: Results) -> list[VariantComparison]:
    """Compare every variant with the baseline, in the study's order, corrected together by Holm.

    Where the study asks for all comparisons, every other pair follows: each variant against those before it.
    Compared are the last epochs' accuracies of finished runs, with the seeds that both have in pairs. Where
    one of the two has no finished run, the numbers of runs that their recipes made fail are.
    """
    baseline = results.study.baseline
    others = [variant for variant in results.variants if variant != baseline]
    pairs = [(variant, baseline) for variant in others if baseline in results.variants]
    if results.study.comparisons == "all":
        pairs += [(variant, earlier) for at, variant in enumerate(others) for earlier in others[:at]]
    failures = [_failures(results.of(first), results.of(second)) for first, second in pairs]
    compared = [
        _compare(results.of(first, "finished"), results.of(second, "finished"), failed)
        for (first, second), failed in zip(pairs, failures, strict=True)
    ]
    judged = iter(judge([result for result, _ in compared if result is not None]))
    return [
        VariantComparison(*pair, None if result is None else next(judged), obstacle, failed)
        for pair, (result, obstacle), failed in zip(pairs, compared, failures, strict=True)
    ]


def _failures(runs: list[Run], base: list[Run]) -> FailureCounts | None:
    failed, failed_base = (sum(run.failed_by_recipe for run in group) for group in (runs, base))
    finished, finished_base = (sum(run.status == "finished" for run in group) for group in (runs, base))
    return compare_failures(failed, failed + finished, failed_base, failed_base + finished_base)


def _compare(
    runs: list[Run], base: list[Run], failures: FailureCounts | None
) -> tuple[Comparison | None, str]:
    if failures is not None and not (runs and base):
        return compare_by_failures(failures), ""
    if not runs:
        return None, "it has no finished run"
    if not base:
        return None, "the other has no finished run"
    if not same_images([*runs, *base]):
        return None, "they were not evaluated on the same images"
    if (result := compare(_by_seed(runs), _by_seed(base))) is not None:
        mean = corrected_difference(runs, base)
        if mean is None or result.primary.p is None:
            return result, ""
        if mean.interval is None:
            return None, "its runs share levels or images, and too few have finished to allow for that"
        low, high = mean.interval
        result = replace(result, primary=replace(result.primary, low=low, high=high, p=mean.p()))
        return result, ""
    # One of the two has a single run: two networks can be compared, with the same seed if possible.
    shared = ((mine, theirs) for mine in runs for theirs in base if mine.seed == theirs.seed)
    run, other = next(shared, (runs[0], base[0]))
    if run.seeds.holdout != other.seeds.holdout:
        return None, "they were not evaluated on the same images"
    assert run.predictions is not None and other.predictions is not None
    return compare_images(run.predictions.correct, other.predictions.correct), ""


def _by_seed(runs: Sequence[Run]) -> dict[int, float]:
    return {run.seed: value for run in runs if (value := run.number("test_accuracy")) is not None}


def same_images(runs: Sequence[Run]) -> bool:
    """Return whether split and labels are the same; the images may be scaled or normalised anew.

    Where the hold-out varies from run to run, it must do so in all runs, and runs of one seed must share one.
    """
    kinds = {(run.data.get("evaluated_on"), run.own_holdout) for run in runs}
    holdouts: dict[int, set[int]] = {}  # seed -> hold-outs
    labels: dict[int, list[NDArray[np.int64]]] = {}  # hold-out -> labels of each run
    for run in runs:
        holdouts.setdefault(run.seed, set()).add(run.seeds.holdout)
        if run.predictions is not None:
            labels.setdefault(run.seeds.holdout, []).append(run.predictions.labels)
    return (
        len(kinds) == 1
        and all(len(drawn) == 1 for drawn in holdouts.values())
        and all(np.array_equal(group[0], other) for group in labels.values() for other in group[1:])
    )


# ---- in words -------------------------------------------------------------------------------------------


def sentence(comparison: VariantComparison, several: bool) -> str:
    """Write the verdict in a line, with the test, its n and the interval.

    Args:
        several: whether more than one comparison was made, so that Holm's correction changed something.
    """
    failures, pair = comparison.failures, f"{comparison.variant} against {comparison.baseline}"
    if comparison.result is None:
        text = f"{pair}: not compared, {comparison.obstacle}"
    elif comparison.result.test == "Fisher":
        return _failures_sentence(comparison, comparison.result, " after Holm" if several else "")
    else:
        text = _accuracy_sentence(comparison, comparison.result, " after Holm" if several else "")
    if failures is None:
        return text
    counts = _failures_text(failures, comparison.baseline)
    return f"{text}; beside that {counts} (Fisher's exact test, {p_equals(failures.p)})"


def _failures_sentence(comparison: VariantComparison, result: Comparison, holm: str) -> str:
    variant, baseline, failures = comparison.variant, comparison.baseline, comparison.failures
    assert failures is not None
    told = result.verdict != "cannot tell"
    verdict = f"is {result.verdict} than {baseline}" if told else f"against {baseline}: cannot tell"
    return (
        f"{variant} {verdict}: {_failures_text(failures, baseline)} "
        f"(Fisher's exact test, {p_equals(result.p_holm)}{holm})"
    )


def _accuracy_sentence(comparison: VariantComparison, result: Comparison, holm: str) -> str:
    pair, estimate = f"{comparison.variant} against {comparison.baseline}", result.primary
    if result.test == "McNemar":
        return (
            f"{pair}: cannot tell with n = 1; on these images its network is "
            f"{_difference_text(estimate.difference)} (McNemar, {p_equals(result.p_holm)}{holm}), "
            "which says nothing of other seeds"
        )
    same = result.n == result.n_baseline
    seeds = f"n = {result.n}" if same else f"n = {result.n} and {result.n_baseline}"
    if estimate.p is None or estimate.low is None or estimate.high is None:
        return (
            f"{pair}: cannot tell with {seeds}; "
            f"{_difference_text(estimate.difference)} with every seed: there is no spread to judge it by"
        )
    paired = " shared seeds" if result.test == "paired t" else ""
    interval = f"95 % interval {points_text(estimate.low)} to {points_text(estimate.high)}"
    test = f"{result.test}, {seeds}{paired}, {p_equals(result.p_holm)}{holm}"
    if result.verdict != "cannot tell":
        size = f"{abs(100 * estimate.difference):.2f} points"
        verdict = f"{comparison.variant} is {result.verdict} than {comparison.baseline}"
        return f"{verdict} by {size} ({interval}; {test})"
    needed = "more than " if result.seeds_needed is None else "about "
    return (
        f"{pair}: cannot tell with {seeds}; {_difference_text(estimate.difference)} "
        f"({test}); the {interval} {_excluded(estimate.low, estimate.high)}; a difference of this size would "
        f"take {needed}{result.seeds_needed or MOST_SEEDS:,} seeds to tell"
    )


def _excluded(low: float, high: float) -> str:
    """Say what the interval of a difference that no test has shown excludes."""
    if not low <= 0 <= high:
        return "is not corrected for the other comparisons"
    ends = [
        f"{100 * abs(end):.2f} points {word}"
        for end, word in ((low, "worse"), (high, "better"))
        if abs(end) < 1
    ]
    return f"excludes only that it is more than {' or '.join(ends)}" if ends else "excludes nothing"


def _difference_text(difference: float) -> str:
    """Write ``0.52 points better``; a small difference is never called equality, which a mean cannot show."""
    if round(100 * difference, 2) == 0:
        return "less than 0.01 points away"
    return f"{abs(100 * difference):.2f} points {'better' if difference > 0 else 'worse'}"


def _failures_text(failures: FailureCounts, baseline: str) -> str:
    """Write ``4 of 4 runs failed, and 0 of 4 of base``."""
    return (
        f"{failures.failed} of {failures.n} runs failed, and "
        f"{failures.failed_baseline} of {failures.n_baseline} of {baseline}"
    )
