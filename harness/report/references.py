"""Published numbers against the variants' measured distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.config import Reference, Study
from harness.report import statistics
from harness.report.statistics import Standing
from harness.report.summary import VariantSummary


@dataclass(frozen=True)
class VariantStanding:
    """A published number against one variant."""

    name: str
    reference: Reference
    variant: str
    evaluated_on: str
    standing: Standing


def hold_references(study: Study, summaries: list[VariantSummary]) -> list[VariantStanding]:
    """Every reference of the study against every variant with a finished run.

    On a hold-out only the difference is shown: what was published was measured on other images.
    """
    found = []
    for name, reference in study.references.items():
        for summary in summaries:
            if not summary.accuracies:
                continue
            held = statistics.standing(reference.test_accuracy, summary.accuracies, reference.runs)
            if summary.evaluated_on != "test":
                held = replace(held, percentile=None, low=None, high=None, plausible=None)
            found.append(VariantStanding(name, reference, summary.variant, summary.evaluated_on, held))
    return found
