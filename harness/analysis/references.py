"""What was published elsewhere, compared with the variants' measured distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.analysis.numbers import percent_text, several, std_text
from harness.analysis.summary import VariantSummary
from harness.statistics.comparison import ALPHA, holm
from harness.statistics.prediction import Standing, accuracy_standing, share_standing
from harness.study_file.config import Reference, Study


@dataclass(frozen=True)
class Claim:
    """One published number of a reference.

    Attributes:
        statistic: of the runs' accuracies; or the share of runs at ``reference.at_least`` or more.
        text: ``94.08 %, median of 50 runs``; ``35 of 50 runs at 94 % or more``; ``93.18 %, 1 run``.
    """

    reference: Reference
    statistic: Literal["mean", "median", "share"]
    text: str

    def standing(self, accuracies: Sequence[float], runs: int, evaluated_on: str = "test") -> Standing:
        """Compare the published number with a variant's runs.

        On a hold-out only the difference is known: what was published was measured on other images.

        Args:
            accuracies: of the finished ones; at least one, but for a share.
            runs: how many finished or failed; a failed run has not reached what a share is of.
        """
        reference = self.reference
        if self.statistic == "share":
            assert reference.at_least is not None and reference.count is not None
            reached = sum(accuracy >= reference.at_least for accuracy in accuracies)
            standing = share_standing(reference.count, reference.runs, reached, runs)
        else:
            assert reference.test_accuracy is not None
            standing = accuracy_standing(reference.test_accuracy, accuracies, reference.runs, self.statistic)
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
        """Tell whether our runs do not exclude the number, after the correction; None if it is not judged."""
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
            claim.standing(summary.accuracies, summary.runs, summary.evaluated_on),
        )
        for name, reference in study.references.items()
        for summary in summaries
        if reference.is_of(summary.variant)
        for claim in claims(reference)
        if summary.accuracies or (claim.statistic == "share" and summary.runs)
    ]
    corrected = iter(holm([one.standing.p for one in compared if one.standing.p is not None]))
    return [one if one.standing.p is None else replace(one, p_holm=next(corrected)) for one in compared]


def claims(reference: Reference) -> list[Claim]:
    """List what a reference says: an accuracy, a share of runs, or both."""
    stated: list[Claim] = []
    if reference.test_accuracy is not None:
        of = "1 run" if reference.runs == 1 else f"{reference.statistic} of {reference.runs:,} runs"
        stated.append(Claim(reference, reference.statistic, f"{percent_text(reference.test_accuracy)}, {of}"))
    if reference.at_least is not None:
        runs, least = several(reference.runs, "run"), percent_text(reference.at_least)
        stated.append(Claim(reference, "share", f"{reference.count:,} of {runs} at {least} or more"))
    return stated


def excluded(compared: ReferenceComparison) -> str:
    """Return ``excluded``, ``not excluded (interval 0.9 points wide)``, or why it is not judged."""
    standing = compared.standing
    if compared.evaluated_on != "test":
        return "not judged: ours are on held-out images"
    if compared.plausible is None or standing.low is None or standing.high is None:
        return "not judged: one run" if standing.n == 1 else "not judged: our runs do not differ"
    if not compared.plausible:
        return "excluded"
    holm = "" if standing.plausible else " after Holm"
    return f"not excluded{holm} (interval {std_text(100 * (standing.high - standing.low), 1)} points wide)"
