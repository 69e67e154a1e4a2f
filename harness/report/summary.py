"""What a study's runs say about its target: one summary a variant, and the verdict in a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.report import ranking
from harness.report.comparisons import compare_variants, sentence
from harness.report.evidence import Evidence, gather
from harness.report.numbers import decimals_of, plus_minus
from harness.report.results import Results, Run
from harness.statistics.distribution import Distribution, describe
from harness.study_file.config import Study

MOST_COMPARED = 12  # comparisons, each in a line on the console


@dataclass(frozen=True)
class Summary:
    """What the caller of a report gets.

    Attributes:
        verdicts: a line for the console about each variant that has a run, planned or on disk, and one about
            each that has a finished run and was compared with the baseline; of three variants or more, a
            last one about which may be the best.
        target_met: every run that was asked for is finished and reached the target on its last epoch.
        failures: a line for every run that was asked for and failed, or whose files cannot be trusted.
        warnings: what a reader of the numbers has to know: mixed origins, doubtful range tests,
            attributions that fail their check.
    """

    verdicts: list[str]
    target_met: bool
    failures: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class VariantSummary:
    """The numbers of a variant over its seeds; distributions are over the finished runs, None without one.

    Attributes:
        failed: runs that failed or are damaged; they count as runs that did not reach the target.
        missing: planned, not finished and not failed.
        reached: finished runs whose last epoch's accuracy is at least the target.
        accuracies: of the finished runs, by seed.
        evidence: what else these say; None without one.
    """

    variant: str
    evaluated_on: str
    finished: int
    failed: int
    missing: int
    reached: int
    accuracies: tuple[float, ...]
    target: float
    test_accuracy: Distribution | None
    test_loss: Distribution | None
    train_accuracy: Distribution | None
    seconds: Distribution | None
    parameters: int | None
    evidence: Evidence | None

    @property
    def runs(self) -> int:
        """Runs that came to an end: finished and failed."""
        return self.finished + self.failed


def summarise(results: Results) -> list[VariantSummary]:
    """A summary of every variant that has a run, in the study's order."""
    return [_summarise_variant(results, variant) for variant in results.variants]


def _summarise_variant(results: Results, variant: str) -> VariantSummary:
    finished = results.of(variant, "finished")
    accuracies = _values(finished, "test_accuracy")
    target = results.study.target.test_accuracy
    parameters = [value for run in results.of(variant) if (value := run.number("parameters")) is not None]
    return VariantSummary(
        variant=variant,
        evaluated_on=_evaluated_on(results, variant),
        finished=len(finished),
        failed=len(results.of(variant, "failed")),
        missing=len(results.of(variant, "missing")),
        reached=sum(value >= target for value in accuracies),
        accuracies=tuple(accuracies),
        target=target,
        test_accuracy=describe(accuracies, shares=True),
        test_loss=describe(_values(finished, "test_loss")),
        train_accuracy=describe(_values(finished, "train_accuracy"), shares=True),
        seconds=describe(_values(finished, "seconds", "timings")),
        parameters=int(parameters[0]) if parameters else None,
        evidence=gather(results, variant),
    )


def _values(runs: list[Run], key: str, table: Literal["metrics", "timings"] = "metrics") -> list[float]:
    return [value for run in runs if (value := run.number(key, table)) is not None]


def _evaluated_on(results: Results, variant: str) -> str:
    """``test`` or ``holdout``: what the runs recorded, else what the study asks for."""
    for run in results.of(variant, "finished"):
        recorded = run.data.get("evaluated_on")
        if recorded:
            return str(recorded)
    recipe = results.study.recipes.get(variant)
    return "holdout" if recipe is not None and recipe.data.holdout is not None else "test"


# ---- the verdict ------------------------------------------------------------------------------------------


def label(study: Study, variant: str) -> str:
    """``study``, or ``study/variant`` where the study has several."""
    return study.name if list(study.recipes) == [variant] else f"{study.name}/{variant}"


def verdict(study: Study, summary: VariantSummary) -> str:
    """One line: accuracy over the seeds, how many runs reached the target, and which ones are not there."""
    name = label(study, summary.variant)
    gone = []
    if summary.failed:
        gone.append(f"{summary.failed} of {summary.runs} failed")
    if summary.missing:
        gone.append(f"{summary.missing} not finished yet")
    if summary.test_accuracy is None:
        return f"{name}: no run finished ({', '.join(gone)})"
    where = " on the hold-out" if summary.evaluated_on == "holdout" else ""
    measured = accuracy_text(summary.test_accuracy, summary.target) + where
    if summary.finished == 1:
        measured += " (1 seed, no ± from one run)"
    else:
        measured += f" over {summary.finished} seeds"
    reached = f"{percent_text(summary.target)} reached by {summary.reached} of {summary.runs}"
    return ", ".join([f"{name}: {measured}; {reached}", *gone])


def accuracy_text(accuracy: Distribution, target: float, decimals: int = 1) -> str:
    """``93.4 ± 0.2 %``, the ± being the std over seeds; ``93.4 %`` from one run.

    More decimals where the std or the distance to the target needs them: a std is written as 0 only where it
    is 0, and a mean below the target is never rounded up to it.
    """
    mean, std = 100 * accuracy.mean, None if accuracy.std is None else 100 * accuracy.std
    decimals = decimals_of(std or 0.0, decimals)
    while decimals < 4 and (round(mean, decimals) >= 100 * target) != (accuracy.mean >= target):
        decimals += 1
    return f"{plus_minus(mean, std, decimals)} %"


def percent_text(fraction: float) -> str:
    """A study's own number, as exactly as it was written: ``90 %``, ``93.18 %``."""
    return f"{round(100 * fraction, 10):g} %"


def minutes_text(seconds: float | None) -> str:
    """``98.8``; ``0.04`` where one decimal would show nothing."""
    if seconds is None:
        return "–"
    return f"{seconds / 60:.1f}" if seconds >= 60 or not seconds else f"{seconds / 60:.2g}"


def conclude(
    results: Results, summaries: list[VariantSummary], warnings: list[str], asked: set[tuple[str, int]]
) -> Summary:
    """The answer for the caller.

    Args:
        asked: (variant, seed) of the runs that this call was about; others on disk are reported, and decide
            neither ``target_met`` nor ``failures``.
    """
    target = results.study.target.test_accuracy
    met, failures = set(), []
    for run in results.runs:
        accuracy = run.number("test_accuracy")
        if run.status == "finished" and accuracy is not None and accuracy >= target:
            met.add((run.variant, run.seed))
        if run.status == "failed" and (run.variant, run.seed) in asked:
            failures.append(f"{run.folder.name}: {run.error}")
    verdicts = [verdict(results.study, summary) for summary in summaries]
    compared = [one for one in compare_variants(results) if one.found is not None]
    if len(compared) > MOST_COMPARED:
        verdicts.append(f"{results.study.name}: {len(compared)} comparisons are in tables/comparisons.csv")
    else:
        verdicts += [f"{results.study.name}: {sentence(one, len(compared) > 1)}" for one in compared]
    if places := ranking.rank_variants(results):
        verdicts.append(f"{results.study.name}: {ranking.sentence(places)}")
    return Summary(verdicts, bool(asked) and asked <= met, failures, warnings)
