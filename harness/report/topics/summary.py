"""``summary.csv``: a variant's numbers over its seeds, a row a variant."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text
from harness.analysis.provenance import at_once_text
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.report.blocks import Block
from harness.report.topics import accuracy, calibration, ensemble, noise, target, variance
from harness.report.topics.table import (
    SHOWN_VARIANT,
    VARIANT,
    Column,
    Shown,
    Table,
    form,
    page_table,
    percent,
    renamed,
)

SUMMARY: Table[VariantSummary] = Table(
    "summary",
    "a variant",
    lambda findings: findings.summaries,
    (
        VARIANT,
        Column("evaluated_on", "`test` or `holdout`"),
        Column("runs", "finished and failed runs"),
        Column("failed", "failed ones, which count as misses"),
        *accuracy.SUMMARY,
        Column("target", "the study's, of `metric`"),
        Column("reached", "finished runs at the target or better"),
        Column("loss_mean", "over finished runs", "loss.mean"),
        Column("loss_std", "over seeds", "loss.std"),
        Column("train_accuracy_mean", "over finished runs", "train_accuracy.mean"),
        Column("train_accuracy_std", "over seeds", "train_accuracy.std"),
        Column("parameters", "trainable ones"),
        Column("seconds_mean", "of a run", "seconds.mean"),
        Column("seconds_std", "over runs", "seconds.std"),
        *accuracy.DISTRIBUTION,
        *target.SUMMARY,
        *variance.SUMMARY,
        *ensemble.SUMMARY,
        *calibration.SUMMARY,
        *variance.BETWEEN_RUNS,
        Column("flagged", "the seed whose `metric` is an outlier (Grubbs's test at 5 %)"),
        *noise.SUMMARY,
        Column(
            "mean_df",
            "degrees of freedom of the interval of the mean, where runs share levels or images: see "
            "docs/variance.md; empty where they are independent",
            "corrected.degrees",
        ),
        Column(
            "lr_max_per",
            "`variant`: one LRMAX found for all seeds; `seed`: each run found its own, and the std includes "
            "the range test; empty where the study gives its rates",
            "found.per",
        ),
        Column(
            "lr_max_low",
            "lowest LRMAX of the variant's sweeps, or of its runs; empty for one sweep",
            "found.low",
        ),
        Column("lr_max_high", "the highest", "found.high"),
        *target.METRIC,
        *accuracy.OLD_SUMMARY,
        renamed("test_loss_mean", "loss_mean", "loss.mean"),
        renamed("test_loss_std", "loss_std", "loss.std"),
    ),
)


def _range(summary: VariantSummary) -> str | None:
    score = summary.score
    return summary.units.interval(score.minimum, score.maximum) if score and score.n > 1 else None


def _interval(summary: VariantSummary) -> str | None:
    score = summary.score
    return None if score is None else summary.units.interval(score.ci_low, score.ci_high)


SHOWN: tuple[Shown[VariantSummary], ...] = (
    Shown("loss", "loss.mean", form(".3f")),
    Shown("train accuracy, %", "train_accuracy.mean", percent(1)),
    Shown("minutes a run", "seconds.mean", minutes_text),
)


def block(findings: Findings) -> Block:
    """Return a folded table of what the ranked table does not have."""
    units = Units(findings.results.metric)
    columns = (
        SHOWN_VARIANT,
        Shown[VariantSummary](units.heading("95 % interval of the mean"), _interval),
        Shown[VariantSummary](units.heading("lowest to highest"), _range),
        *SHOWN,
        Shown[VariantSummary]("runs at once", lambda summary: _at_once(findings, summary)),
    )
    return page_table("summary", columns, findings.summaries, "More numbers of each variant")


def _at_once(findings: Findings, summary: VariantSummary) -> str | None:
    """Write how many runs shared the device, by which the minutes can be compared or not."""
    return at_once_text(run.record for run in findings.results.of(summary.variant, "finished"))
