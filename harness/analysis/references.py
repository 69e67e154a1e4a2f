"""Compare published numbers with the measured distributions of the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.numbers import several
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.metrics import ACCURACY, METRICS, Metric, metric_of
from harness.statistics.comparison import ALPHA, holm
from harness.statistics.prediction import Standing, share_standing, value_standing
from harness.study_file.config import Study
from harness.study_file.targets import Reference


@dataclass(frozen=True)
class Claim:
    """One published number of a reference.

    Attributes:
        statistic: of the metric in the runs; or the share of runs at ``reference.at_least`` or more.
        text: ``94.08 %, median of 50 runs``; ``35 of 50 runs at 94 % or more``; ``93.18 %, 1 run``.
    """

    reference: Reference
    statistic: Literal["mean", "median", "share"]
    text: str

    @property
    def metric(self) -> Metric:
        """The metric of the published number; of a share that which the runs reached."""
        return metric_of(self.reference.of)

    @property
    def units(self) -> Units:
        """The unit of the published number; a share of runs is in percent."""
        return Units(METRICS[ACCURACY] if self.statistic == "share" else self.metric)

    def standing(self, values: Sequence[float], runs: int, evaluated_on: str = "test") -> Standing:
        """Compare the published number with a variant's runs.

        On a hold-out only the difference is known: what was published was measured on other images.

        Args:
            values: of the metric in the finished ones; at least one, but for a share.
            runs: how many finished or failed; a failed run has not reached what a share is of.
        """
        reference = self.reference
        if self.statistic == "share":
            assert reference.at_least is not None and reference.count is not None
            reached = sum(self.metric.reaches(value, reference.at_least) for value in values)
            standing = share_standing(reference.count, reference.runs, reached, runs)
        else:
            assert reference.level is not None
            share = self.metric.share
            standing = value_standing(reference.level, values, reference.runs, self.statistic, share=share)
        if evaluated_on == "test":
            return standing
        return replace(standing, percentile=None, low=None, high=None, p=None)


@dataclass(frozen=True)
class ReferenceComparison:
    """A published number against one variant.

    Attributes:
        p_holm: p after Holm's correction over all such comparisons of the study; None where it has no p.
    """

    name: str
    claim: Claim
    variant: str
    evaluated_on: str
    standing: Standing
    p_holm: float | None = None

    @property
    def plausible(self) -> bool | None:
        """Whether the number is consistent with our runs after the correction; None if it is not judged."""
        return None if self.p_holm is None else self.p_holm > ALPHA


def compare_references(study: Study, summaries: Sequence[VariantSummary]) -> list[ReferenceComparison]:
    """Compare every published number with each variant that it is of and that has a finished run.

    A share of runs is also compared with a variant whose runs all failed: none of them has reached it.
    """
    compared = [
        ReferenceComparison(
            name,
            claim,
            summary.variant,
            summary.evaluated_on,
            claim.standing(summary.values[claim.metric.name], summary.runs, summary.evaluated_on),
        )
        for name, reference in study.references.items()
        for summary in summaries
        if reference.is_of(summary.variant)
        for claim in claims(reference)
        if summary.values[claim.metric.name] or (claim.statistic == "share" and summary.runs)
    ]
    corrected = iter(holm([one.standing.p for one in compared if one.standing.p is not None]))
    return [one if one.standing.p is None else replace(one, p_holm=next(corrected)) for one in compared]


def claims(reference: Reference) -> list[Claim]:
    """List what a reference says: a metric's number, a share of runs, or both."""
    stated: list[Claim] = []
    metric = metric_of(reference.of)
    units, what = Units(metric), "" if metric.name == ACCURACY else f"{metric.title} "
    if reference.level is not None:
        of = "1 run" if reference.runs == 1 else f"{reference.statistic} of {reference.runs:,} runs"
        stated.append(Claim(reference, reference.statistic, f"{what}{units.exact(reference.level)}, {of}"))
    if reference.at_least is not None:
        runs, least = several(reference.runs, "run"), f"{what}{units.exact(reference.at_least)}"
        stated.append(Claim(reference, "share", f"{reference.count:,} of {runs} at {least} or more"))
    return stated


def consistency(compared: ReferenceComparison) -> str:
    """Return ``no``, ``yes (interval 0.9 points wide)``, or why it is not judged."""
    standing = compared.standing
    if compared.evaluated_on != "test":
        return "not judged: ours are on held-out images"
    if compared.plausible is None or standing.low is None or standing.high is None:
        return "not judged: one run" if standing.n == 1 else "not judged: our runs do not differ"
    if not compared.plausible:
        return "no"
    holm = "" if standing.plausible else " after Holm"
    units = compared.claim.units
    width = f"{units.std(standing.high - standing.low, 1)}{units.of_difference}"
    return f"yes{holm} (interval {width} wide)"
