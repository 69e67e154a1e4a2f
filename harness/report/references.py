"""What was published elsewhere, compared with the variants' measured distributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.config import Reference, Study
from harness.report.statistics import Standing, accuracy_standing, share_standing
from harness.report.summary import VariantSummary, percent_text

Statistic = Literal["mean", "median", "share"]


@dataclass(frozen=True)
class VariantStanding:
    """A published number against one variant.

    Attributes:
        statistic: what was published: the mean or median of the runs' accuracies, or the share of runs that
            reached ``reference.at_least``.
    """

    name: str
    reference: Reference
    statistic: Statistic
    variant: str
    evaluated_on: str
    standing: Standing


def hold_references(study: Study, summaries: list[VariantSummary]) -> list[VariantStanding]:
    """Every published number of the study against every variant that it is of and that has a finished run.

    On a hold-out only the difference is shown: what was published was measured on other images.
    """
    found = []
    for name, reference in study.references.items():
        for summary in summaries:
            if not summary.accuracies or reference.variant not in (None, summary.variant):
                continue
            for statistic, standing in standings(reference, summary.accuracies, summary.runs):
                if summary.evaluated_on != "test":
                    standing = replace(standing, percentile=None, low=None, high=None)
                found.append(
                    VariantStanding(
                        name, reference, statistic, summary.variant, summary.evaluated_on, standing
                    )
                )
    return found


def standings(
    reference: Reference, accuracies: Sequence[float], runs: int
) -> Iterator[tuple[Statistic, Standing]]:
    """Each number of a reference against a variant's runs.

    Args:
        accuracies: of the finished ones; at least one.
        runs: how many finished or failed; a failed run has not reached what a share is of.
    """
    if reference.test_accuracy is not None:
        published, statistic = reference.test_accuracy, reference.statistic
        yield statistic, accuracy_standing(published, accuracies, reference.runs, statistic)
    if reference.at_least is not None and reference.count is not None:
        reached = sum(accuracy >= reference.at_least for accuracy in accuracies)
        yield "share", share_standing(reference.count, reference.runs, reached, runs)


def claims(reference: Reference) -> list[str]:
    """``["94.08 %, median of 50 runs", "35 of 50 runs at 94 % or more"]``; ``["93.18 %, 1 run"]``."""
    found = []
    if reference.test_accuracy is not None:
        accuracy = percent_text(reference.test_accuracy)
        many = f"{reference.statistic} of {reference.runs:,} runs"
        found.append(f"{accuracy}, {'1 run' if reference.runs == 1 else many}")
    if reference.at_least is not None:
        reached = f"{reference.count:,} of {reference.runs:,} run{'s' * (reference.runs > 1)}"
        found.append(f"{reached} at {percent_text(reference.at_least)} or more")
    return found
