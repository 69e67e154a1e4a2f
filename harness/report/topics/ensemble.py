"""The ensemble of the seeds, their agreement, and the images that every seed misses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.summary import VariantEvidence, VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.metrics import about_accuracy
from harness.report.topics.table import (
    SHOWN_VARIANT,
    VARIANT,
    Column,
    Shown,
    Table,
    form,
    page_table,
    percent,
)

MOST_IMAGES = 10  # images that every seed misses; the CSV has all of them


def _always_missed(findings: Findings) -> Iterator[dict[str, Any]]:
    for summary in findings.summaries:
        for image in (summary.evidence and summary.evidence.missed) or ():
            yield {"variant": summary.variant, "runs": summary.finished, **vars(image)}


ALWAYS_MISSED: Table[dict[str, Any]] = Table(
    "always_missed",
    "an image that every seed of a variant misses",
    _always_missed,
    (
        VARIANT,
        Column("runs", "that missed it"),
        Column("index", "its place in the evaluation split, from 0"),
        Column("label", "true class"),
        Column("predicted", "class that most runs predict"),
        Column("votes", "how often"),
    ),
)
TABLES = (ALWAYS_MISSED,)


SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column("ensemble_accuracy", "of the seeds' averaged probabilities", "evidence.ensemble_accuracy"),
    Column(
        "error_consistency",
        "mean Cohen's κ of being right, over pairs of seeds",
        "evidence.error_consistency",
    ),
    Column("missed_by_every_seed", "images", "evidence.missed", len),
)


def _missed(evidence: VariantEvidence) -> str:
    missed = len(evidence.missed or ())
    return f"{missed:,} ({100 * missed / evidence.images:.2f} %)"


def _gain(summary: VariantSummary) -> str | None:
    if summary.evidence is None or summary.evidence.ensemble_accuracy is None or summary.accuracy is None:
        return None
    return f"{100 * (summary.evidence.ensemble_accuracy - summary.accuracy.mean):+.2f}"


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("n", "finished"),
    Shown("ensemble accuracy, %", "evidence.ensemble_accuracy", percent(2)),
    Shown("gain over the mean of the seeds, points", _gain),
    Shown("error consistency (kappa)", "evidence.error_consistency", form(".3f")),
    Shown("images misclassified by all seeds", "evidence", _missed),
)
SHOWN_IMAGES: tuple[Shown[dict[str, Any]], ...] = (
    Shown("image (place in the split, from 0)", "index"),
    Shown("label", "label", numeric=False),
    Shown("majority prediction", "predicted", numeric=False),
    Shown("votes", lambda image: f"{image['votes']} of {image['runs']}"),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the ensembles, and of the first variant the images on whose wrong class most seeds agree."""
    title = "Ensemble and seed agreement"
    measured = [
        summary for summary in findings.summaries if summary.evidence and summary.evidence.missed is not None
    ]
    if not measured:
        return Section(title, [])
    text = (
        "The ensemble averages the probabilities of the seeds. Error consistency is the mean over all pairs "
        "of seeds of Cohen's kappa of being right: 0 if two seeds err on unrelated images, 1 if they err "
        "on the same images. "
    )
    lead = (
        "Are several networks together better than one, and do they err on the same images? Images that "
        "every seed misclassifies, above all as the same class, may have wrong labels."
    )
    table = page_table("summary", SHOWN, measured)
    blocks = [*about_accuracy(findings), Block("text", lead), table, explained(text)]
    if images := [row for row in _always_missed(findings) if row["variant"] == measured[0].variant]:
        classes = findings.results.of(measured[0].variant, "finished")[0].classes
        named = [
            {**image, **{which: classes[image[which]] for which in ("label", "predicted")}}
            for image in images[:MOST_IMAGES]
        ]
        heading = f"{measured[0].variant}: images misclassified by all seeds, those with most agreement first"
        blocks.append(page_table("always_missed", SHOWN_IMAGES, named, heading))
    best = max(measured, key=_accuracy)
    of_best = f" ({best.variant})" if len(measured) > 1 else ""
    return Section(title, blocks, about=f"ensemble accuracy {100 * _accuracy(best):.2f} %{of_best}")


def _accuracy(summary: VariantSummary) -> float:
    assert summary.evidence is not None and summary.evidence.ensemble_accuracy is not None
    return summary.evidence.ensemble_accuracy
