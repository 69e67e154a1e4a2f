"""Variants against the study's baseline, or all against all: the test of each pair, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.designs import corrected_difference, share_seeds
from harness.analysis.evidence import Evidence, evidence_for
from harness.analysis.looks import Look, compared_pairs
from harness.analysis.results import Results
from harness.analysis.runs import Run, by_seed, same_images
from harness.analysis.starts import Answer, Pair, answers
from harness.analysis.units import Units
from harness.metrics import ACCURACY, METRICS, Metric
from harness.statistics.anytime import failures_e_value
from harness.statistics.bad_seeds import flagged_seed
from harness.statistics.comparison import (
    ALPHA,
    VERDICTS,
    Comparison,
    compare,
    compare_by_failures,
    judge,
    judge_failures,
    primary_test,
)
from harness.statistics.fisher import FailureCounts, compare_failures
from harness.statistics.margin import AgainstMargin, against_margin, judge_margins, margin_verdict
from harness.statistics.mcnemar import compare_images
from harness.statistics.superiority import Superiority, superiority

Flagged = Mapping[str, int]  # variant -> its outlier seed


@dataclass(frozen=True)
class VariantComparison:
    """A variant against the baseline.

    Attributes:
        result: None where the two cannot be compared; ``obstacle`` says why.
        failures: of both recipes; None where no run failed by its recipe, or one of the two has none.
        margin: what it shows of the study's margin; None without one, and where there is no t test.
        superiority: how often a run of the first beats one of the second; None without several runs.
        flagged, flagged_baseline: the outlier seed of each.
        without: the primary test without these seeds; None where none is flagged or too few are left.
        evidence: the kind of answer, and what shows the difference where n was not fixed in advance; None
            without a t test.
        metric: the target's, which is compared: turned so that every difference above 0 is better.
    """

    variant: str
    baseline: str
    result: Comparison | None
    obstacle: str = ""
    failures: FailureCounts | None = None
    margin: AgainstMargin | None = None
    superiority: Superiority | None = None
    flagged: int | None = None
    flagged_baseline: int | None = None
    without: Comparison | None = None
    evidence: Evidence | None = None
    metric: Metric = METRICS[ACCURACY]

    @property
    def units(self) -> Units:
        """The unit of what is compared."""
        return Units(self.metric)

    @property
    def sequential(self) -> bool:
        """Whether planned looks or an e-value decide, and not p."""
        return self.evidence is not None and self.evidence.sign is not None

    @property
    def test(self) -> str | None:
        """The test's name; None where the two are not compared."""
        return None if self.result is None else self.result.test

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``cannot tell``."""
        return "cannot tell" if self.result is None else self.result.verdict

    @property
    def look(self) -> Look | None:
        """The look that the verdict is of; None without one. Later seeds belong to no verdict."""
        looks = None if self.evidence is None else self.evidence.looks
        return None if looks is None or looks.latest is None or looks.latest.error is None else looks.latest

    @property
    def difference(self) -> float | None:
        """The difference of means that belongs to the interval; above 0 the first is better."""
        if self.result is None or self.result.test == "Fisher":
            return None
        return self.result.primary.difference if self.look is None else self.look.difference

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of the difference that belongs to the kind of answer, if there is one."""
        if self.result is None:
            return None, None
        if self.evidence is None or self.evidence.sign is None:
            return self.result.primary.low, self.result.primary.high
        return self.evidence.low, self.evidence.high

    @property
    def fails_differently(self) -> bool:
        """Whether one of the two is shown to fail more often than the other."""
        return self.failures is not None and self.failures.verdict != "not shown"


def flagged_seeds(results: Results) -> Flagged:
    """Return the outlier seeds of each variant."""
    independent = {
        variant: [run for run in results.of(variant, "finished") if run.independent]
        for variant in results.variants
    }
    seeds = {variant: flagged_seed(results.by_seed(runs)) for variant, runs in independent.items()}
    return {variant: seed for variant, seed in seeds.items() if seed is not None}


def compare_variants(results: Results) -> list[VariantComparison]:
    """Compare every variant with the baseline, in the study's order, corrected together.

    Where the study asks for all comparisons, every other pair follows: each variant against those before it.
    Compared is the target's metric of the finished runs, with the seeds that both have in pairs; and,
    corrected by themselves, how many runs their recipes made fail. Where one of the two has no finished run,
    that is the comparison. Where n was fixed in advance, the test decides after Holm's correction; else the
    planned looks do, or an e-value: see :mod:`harness.analysis.evidence`.
    """
    pairs = [pair for pair in compared_pairs(results.study) if set(pair) <= set(results.variants)]
    finished = {variant: results.of(variant, "finished") for variant in results.variants}
    kinds = answers(results, pairs)
    failures = _judge_failures(results, kinds)
    compared = [
        _compare(finished[first], finished[second], failed, results.metric)
        for (first, second), failed in zip(pairs, failures, strict=True)
    ]
    seeds = flagged_seeds(results)
    of_accuracies = [result for result, _ in compared if result is not None and result.test != "Fisher"]
    judged = iter(judge(of_accuracies, flagged=bool(seeds)))
    evidence = evidence_for(results, kinds)
    comparisons = []
    for pair, (result, obstacle), failed in zip(pairs, compared, failures, strict=True):
        one = VariantComparison(*pair, result, obstacle, failed, metric=results.metric)
        if result is not None and result.test != "Fisher":
            one = replace(one, result=next(judged))
            one = _with_companions(one, results, seeds)
            one = _by_evidence(one, evidence[pair])
        comparisons.append(one)
    return _against_margin(comparisons, results.study.margin)


def _by_evidence(comparison: VariantComparison, evidence: Evidence) -> VariantComparison:
    """Let the evidence decide a comparison whose n was not fixed in advance."""
    result = comparison.result
    if result is None or result.test not in ("paired t", "Welch t"):
        return comparison
    if evidence.sign is not None:  # what n can show is told of a test at a fixed n
        result = replace(result, verdict=VERDICTS[evidence.sign], seeds_needed=None, smallest_difference=None)
    return replace(comparison, result=result, evidence=evidence)


def _with_companions(comparison: VariantComparison, results: Results, seeds: Flagged) -> VariantComparison:
    """Add what stands beside the verdict: P(A > B), and the test without outliers."""
    runs, base = (results.of(name, "finished") for name in (comparison.variant, comparison.baseline))
    ours, theirs = results.by_seed(runs), results.by_seed(base)
    flagged, flagged_baseline = seeds.get(comparison.variant), seeds.get(comparison.baseline)
    without, paired = None, share_seeds(runs, base)
    if flagged is not None or flagged_baseline is not None:
        without = primary_test(
            {seed: value for seed, value in ours.items() if seed != flagged},
            {seed: value for seed, value in theirs.items() if seed != flagged_baseline},
            results.metric.widest,
            paired=paired,
        )
    comparison = replace(comparison, flagged=flagged, flagged_baseline=flagged_baseline, without=without)
    if all(run.independent for run in (*runs, *base)):
        return replace(comparison, superiority=superiority(ours, theirs, paired=paired))
    return comparison


def _against_margin(
    comparisons: Sequence[VariantComparison], margin: float | None
) -> list[VariantComparison]:
    """Add what each comparison shows of the study's margin, if there is one."""
    if margin is None:
        return list(comparisons)
    tested = [
        None if one.result is None else against_margin(one.result.careful or one.result.primary, margin)
        for one in comparisons
    ]
    judged = judge_margins(tested)
    return [
        replace(one, margin=result if result is None else _margin_by_evidence(result, one.evidence))
        for one, result in zip(comparisons, judged, strict=True)
    ]


def _margin_by_evidence(result: AgainstMargin, evidence: Evidence | None) -> AgainstMargin:
    """Let the evidence decide about the margin where n was not fixed in advance."""
    if evidence is None or evidence.sign is None:
        return result
    return replace(result, verdict=margin_verdict(evidence.beyond_minus, evidence.beyond_plus))


def _judge_failures(results: Results, kinds: Mapping[Pair, Answer]) -> list[FailureCounts | None]:
    """Compare how many runs of each pair their recipes made fail; where n was not fixed, by e-values."""
    ended = {
        name: {
            run.seed: run.failed_by_recipe
            for run in results.of(name)
            if run.status == "finished" or run.failed_by_recipe
        }
        for name in results.variants
    }
    counted = [
        compare_failures(sum(ours.values()), len(ours), sum(theirs.values()), len(theirs))
        for ours, theirs in ((ended[first], ended[second]) for first, second in kinds)
    ]
    needed = sum(counts is not None for counts in counted) / ALPHA
    judged = []
    for (pair, answer), counts in zip(kinds.items(), judge_failures(counted), strict=True):
        if counts is not None and answer.kind != "fixed":
            ours, theirs = (ended[name] for name in pair)
            value = failures_e_value(
                [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            )
            counts = counts.judged_by(value, needed)
        judged.append(counts)
    return judged


def _compare(
    runs: list[Run], base: list[Run], failures: FailureCounts | None, metric: Metric
) -> tuple[Comparison | None, str]:
    if failures is not None and not (runs and base):
        return compare_by_failures(failures), ""
    if not runs:
        return None, "it has no finished run"
    if not base:
        return None, "the other has no finished run"
    if not same_images([*runs, *base]):
        return None, "they were not evaluated on the same images"
    if not (by_seed(runs, metric) and by_seed(base, metric)):
        return None, f"{metric.title} is not known of both"
    ours, theirs, paired = by_seed(runs, metric), by_seed(base, metric), share_seeds(runs, base)
    if (result := compare(ours, theirs, metric.widest, paired=paired)) is not None:
        mean = corrected_difference(runs, base, metric) if paired else None
        if not paired and not all(run.independent for run in (*runs, *base)):
            return None, "its runs share levels or images, and the data are not the same"
        if mean is None or result.primary.p is None:
            return result, ""
        if mean.interval is None:
            return None, "its runs share levels or images, and too few have finished to allow for that"
        low, high = max(mean.interval[0], -metric.widest), min(mean.interval[1], metric.widest)
        corrected = replace(result.primary, low=low, high=high, p=mean.p(), error=mean.sem, free=mean.degrees)
        return replace(result, primary=corrected, independent=False, welch_p=None, permutation=None), ""
    if metric.name != ACCURACY:
        return None, "one run has no spread, and McNemar's test of two networks is of their accuracy alone"
    # One of the two has a single run: two networks can be compared, with the same seed if possible.
    shared = ((mine, theirs) for mine in runs for theirs in base if mine.seed == theirs.seed)
    run, other = next(shared, (runs[0], base[0]))
    if run.seeds.holdout != other.seeds.holdout or not paired:
        return None, "they were not evaluated on the same images"
    if run.predictions is None or other.predictions is None:
        return (
            None,
            "one run has no spread, and McNemar's test needs the predictions of both, which are not there",
        )
    return compare_images(run.predictions.correct, other.predictions.correct), ""
