"""Calibration: how well the predicted probabilities agree with the accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.numbers import plus_minus
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import RUN, SHOWN_VARIANT, Column, Shown, Table, page_table
from harness.statistics.distribution import Distribution


def _bins(findings: Findings) -> Iterator[dict[str, Any]]:
    """Yield every run's bins that hold an image."""
    for run in findings.results.finished:
        assert run.predictions is not None
        bins = run.predictions.reliability
        columns = {
            "bin_low": bins.edges[:-1],
            "bin_high": bins.edges[1:],
            "images": bins.counts,
            "confidence": bins.confidence,
            "accuracy": bins.accuracy,
        }
        for values in zip(*(column.tolist() for column in columns.values()), strict=True):
            row = dict(zip(columns, values, strict=True))
            if row["images"]:
                yield {"variant": run.variant, "seed": run.seed, **row}


CALIBRATION: Table[dict[str, Any]] = Table(
    "calibration",
    "a bin of confidence of a run, where images lie in it",
    _bins,
    (
        *RUN,
        Column("bin_low", "above this confidence"),
        Column("bin_high", "up to this"),
        Column("images", "in it"),
        Column("confidence", "their mean"),
        Column("accuracy", "their share that was right"),
    ),
)
TABLES = (CALIBRATION,)

SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column("ece_mean", "expected calibration error, 15 bins", "evidence.ece.mean"),
    Column("ece_std", "over seeds", "evidence.ece.std"),
    Column("brier_mean", "Brier score, 0 to 2", "evidence.brier.mean"),
    Column("brier_std", "over seeds", "evidence.brier.std"),
)


def _points(scores: Distribution) -> str:
    return plus_minus(100 * scores.mean, scores.std and 100 * scores.std, 2)


def _score(scores: Distribution) -> str:
    return plus_minus(scores.mean, scores.std, 4)


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("n", "evidence.ece.n"),
    Shown("ECE, points", "evidence.ece", _points),
    Shown("NLL, nats", "loss", _score),
    Shown("Brier score", "evidence.brier", _score),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the scores of the variants that have a finished run, and the reliability diagrams."""
    blocks: list[Block] = []
    about = ""
    if known := [summary for summary in findings.summaries if summary.evidence is not None]:
        lead = "How well the predicted probabilities agree with the accuracy. All three scores are best at 0."
        text = (
            "ECE is the expected calibration error in 15 bins of equal width, NLL the negative "
            "log-likelihood (the loss), and the Brier score lies between 0 and 2. Each is one number a run, "
            "mean ± std over the n seeds."
        )
        blocks = [Block("text", lead), page_table("summary", SHOWN, known), explained(text)]
        best = min(known, key=_ece)
        about = f"ECE {100 * _ece(best):.2f} points{f', lowest: {best.variant}' if len(known) > 1 else ''}"
    return Section("Calibration", [*blocks, *figures("calibration")], about=about)


def _ece(summary: VariantSummary) -> float:
    assert summary.evidence is not None
    return summary.evidence.ece.mean
