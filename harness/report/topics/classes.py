"""The accuracy of each class, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.analysis.findings import Findings
from harness.report.blocks import Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import RUN, Column, Table
from harness.statistics.target import clopper_pearson

Rows = Iterator[dict[str, Any]]


def _per_class(findings: Findings) -> Rows:
    for run in findings.results.finished:
        images, correct = run.confusion.sum(axis=1), run.confusion.diagonal()
        low, high = (end.tolist() for end in clopper_pearson(correct, np.maximum(images, 1)))
        for at, (n, right) in enumerate(zip(images.tolist(), correct.tolist(), strict=True)):
            yield {
                "variant": run.variant,
                "seed": run.seed,
                "class": run.classes[at],
                "images": n,
                "correct": right,
                "accuracy": right / n if n else None,
                "ci_low": low[at] if n else None,
                "ci_high": high[at] if n else None,
            }


PER_CLASS: Table[dict[str, Any]] = Table(
    "per_class",
    "a class of a run",
    _per_class,
    (
        *RUN,
        Column("class", "its name"),
        Column("images", "of it"),
        Column("correct", "that were right"),
        Column("accuracy", "the share"),
        Column("ci_low", "of its 95 % Clopper-Pearson interval"),
        Column("ci_high", "upper end"),
    ),
)
TABLES = (PER_CLASS,)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the accuracy of each class, and the confusion matrix."""
    return Section(
        "Confusion matrix",
        figures("confusion", "per_class"),
        about="which class is predicted for which, and the accuracy of each class",
    )
