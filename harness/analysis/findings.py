"""Everything that a report says, computed once from the runs on disk; the report only renders it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis import ranking as ranks
from harness.analysis import sentences as pairs
from harness.analysis.comparisons import VariantComparison, compare_variants
from harness.analysis.components import VarianceSources, variance_sources
from harness.analysis.looks import PairLooks, judge_looks, saved_sentence, without_unneeded
from harness.analysis.networks import variant_layers
from harness.analysis.noise import VariantNoise, list_noise
from harness.analysis.ranking import Ranked, rank_variants
from harness.analysis.references import ReferenceComparison, compare_references
from harness.analysis.results import Results
from harness.analysis.summary import VariantSummary, summarise
from harness.analysis.verdict import study_sentence, variant_line
from harness.analysis.warnings import study_warnings
from harness.metrics import Metric

if TYPE_CHECKING:
    from harness.analysis.attributions import Attributions
    from harness.models.summary import LayerRow

MOST_COMPARED = 12  # comparisons that the console shows, a line each; above, it names the table


@dataclass(frozen=True, eq=False)
class Findings:
    """The results of a study's analysis.

    Attributes:
        looks: each comparison at the planned looks; empty without looks.
        networks: variant -> the layers of its network.
        warnings: what a reader of the numbers has to know: mixed origins, doubtful range tests,
            attributions that fail their check.
        verdict: the answer in one sentence.
        verdicts: lines for the console: one for each variant that has a run, planned or on disk; one for each
            comparison; of three variants or more, those not significantly below any other; and how many
            runs the planned looks have saved.
        met: every run that was asked for is finished and reached the target on its last epoch.
        failures: a line for every run that was asked for and failed, or whose files cannot be trusted.
    """

    results: Results
    summaries: list[VariantSummary]
    comparisons: list[VariantComparison]
    ranking: list[Ranked]
    noise: list[VariantNoise]
    references: list[ReferenceComparison]
    looks: list[PairLooks]
    sources: VarianceSources
    attributions: Sequence[Attributions]
    networks: dict[str, list[LayerRow]]
    warnings: list[str]
    verdict: str
    verdicts: list[str]
    met: bool
    failures: list[str]

    @property
    def compared(self) -> list[VariantComparison]:
        """The comparisons that could be made."""
        return [comparison for comparison in self.comparisons if comparison.result is not None]


def analyse(
    results: Results,
    asked: Set[tuple[str, int]] = frozenset(),
    attributions: Sequence[Attributions] = (),
) -> Findings:
    """Compute every number and verdict of a report.

    Args:
        asked: (variant, seed) of the runs that the caller asked for; others on disk are reported, and decide
            neither ``met`` nor ``failures``.
        attributions: measures of the variants' Grad-CAM maps.
    """
    study, looks = results.study, judge_looks(results)
    among = {variant for variant, _ in asked} or set(results.variants)
    results = without_unneeded(results, looks, among)
    spared = {(run.variant, run.seed) for run in results.runs if run.status == "not needed"}
    summaries, comparisons = summarise(results), compare_variants(results)
    ranking = rank_variants(results, comparisons)
    reached = {
        (run.variant, run.seed)
        for run in results.finished
        if (value := run.number(results.metric.name)) is not None
        and results.metric.reaches(value, study.target.level)
    }
    return Findings(
        results=results,
        summaries=summaries,
        comparisons=comparisons,
        ranking=ranking,
        noise=list_noise(
            results,
            {summary.variant: summary.evidence.noise for summary in summaries if summary.evidence},
            comparisons,
        ),
        references=compare_references(study, summaries),
        looks=looks,
        sources=variance_sources(results, summaries),
        attributions=attributions,
        networks=variant_layers(results),
        warnings=study_warnings(results, attributions),
        verdict=study_sentence(study.baseline, summaries, comparisons),
        verdicts=[
            *(variant_line(study, summary) for summary in summaries),
            *(f"{study.name}: {text}" for text in _across_variants(comparisons, ranking, results.metric)),
            *(f"{study.name}: {text}" for text in [saved_sentence(results, looks, among)] if text),
        ],
        met=bool(asked) and asked - spared <= reached,
        failures=[
            f"{run.folder.name}: {run.error}"
            for run in results.runs
            if run.status == "failed" and (run.variant, run.seed) in asked
        ],
    )


def _across_variants(
    comparisons: Sequence[VariantComparison], ranking: Sequence[Ranked], metric: Metric
) -> list[str]:
    compared = [comparison for comparison in comparisons if comparison.result is not None]
    if len(compared) > MOST_COMPARED:
        lines = [f"{len(compared)} comparisons are in tables/comparisons.csv"]
    else:
        lines = [pairs.sentence(comparison, len(compared) > 1) for comparison in compared]
    return [*lines, ranks.sentence(ranking, metric)] if len(ranking) >= ranks.FEWEST else lines
