"""Each class's accuracy, and every error."""

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


def _misclassified(findings: Findings) -> Rows:
    for run in findings.results.finished:
        assert run.predictions is not None
        wrong = run.predictions.wrong
        of_wrong = {
            "index": wrong,
            "label": run.predictions.labels[wrong],
            "predicted": run.predictions.predicted[wrong],
            "confidence": run.predictions.confidence[wrong],
        }
        for values in zip(*(column.tolist() for column in of_wrong.values()), strict=True):
            yield {"variant": run.variant, "seed": run.seed, **dict(zip(of_wrong, values, strict=True))}


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
MISCLASSIFIED: Table[dict[str, Any]] = Table(
    "misclassified",
    "an error of a run",
    _misclassified,
    (
        *RUN,
        Column("index", "the image's place in the evaluation split, from 0"),
        Column("label", "true class, from 0"),
        Column("predicted", "class it was taken for"),
        Column("confidence", "softmax of that class"),
    ),
)
TABLES = (PER_CLASS, MISCLASSIFIED)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the figures of classes and errors."""
    return Section(
        "Classes and errors",
        [
            *figures("per_class", "confusion", "misclassified"),
        ],
    )
