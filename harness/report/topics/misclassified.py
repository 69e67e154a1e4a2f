"""Misclassified images: every error of every run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.analysis.findings import Findings
from harness.analysis.numbers import several
from harness.analysis.runs import Run
from harness.report.blocks import Block, Cell, Section, explained
from harness.report.figures.galleries import percent
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, RUN, Column, Shown, Table, page_table

Rows = Iterator[dict[str, Any]]
MOST_ERRORS = 5  # of a run, on the page


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


MISCLASSIFIED: Table[dict[str, Any]] = Table(
    "misclassified",
    "an error of a run",
    _misclassified,
    (
        *RUN,
        Column("index", "the image's place in the evaluation split, from 0"),
        Column("label", "true class, from 0"),
        Column("predicted", "predicted class, from 0"),
        Column("confidence", "softmax of that class"),
    ),
)
TABLES = (MISCLASSIFIED,)


def _listed(findings: Findings) -> list[Run]:
    return findings.results.finished[:MOST_ROWS]


def _place(run: Run) -> str:
    return f"errors-{run.variant}-{run.seed}"


def errors(findings: Findings, run: Run) -> Cell | None:
    """Return the number of a finished run's errors, with a link to where they are listed."""
    if run.predictions is None:
        return None
    listed = run in _listed(findings)
    return Cell(f"{_count(run):,}", to=f"#{_place(run)}" if listed else "tables/misclassified.csv")


def _count(run: Run) -> int:
    assert run.predictions is not None
    return len(run.predictions.wrong)


def _examples(run: Run) -> str:
    """Write ``image 12: 4 as 9 (98.1 %); ...``, the most confident errors first."""
    predictions = run.predictions
    assert predictions is not None
    wrong = predictions.wrong
    surest = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:MOST_ERRORS]
    return "; ".join(
        f"image {at}: {run.classes[predictions.labels[at]]} as {run.classes[predictions.predicted[at]]} "
        f"({percent(predictions.confidence[at])})"
        for at in surest.tolist()
    )


def _share(run: Run) -> str:
    assert run.predictions is not None
    return f"{_count(run):,} of {len(run.predictions.labels):,}"


SHOWN: tuple[Shown[Run], ...] = (
    Shown("run", lambda run: Cell(run.name, anchor=_place(run)), numeric=False),
    Shown("errors", _share),
    Shown(f"the {MOST_ERRORS} most confident errors", lambda run: _examples(run) or None, numeric=False),
)
HOW_TO_READ = (
    "An image's number is its place in the evaluation split, from 0. It is followed by the actual class, the "
    "predicted class and the softmax probability of the predicted class."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the most confident errors as images, and those of every run in words."""
    finished = findings.results.finished
    if not finished:
        return Section("Misclassified images", [])
    counts = [_count(run) for run in finished]
    low, high = min(counts), max(counts)
    return Section(
        "Misclassified images",
        [
            *figures("misclassified"),
            Block("heading", "Errors of every run"),
            page_table("misclassified", SHOWN, _listed(findings)),
            explained(HOW_TO_READ),
        ],
        about=several(low, "error") if low == high else f"{low:,} to {high:,} errors in a run",
    )
