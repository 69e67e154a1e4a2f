"""Every metric of the last epoch, over the seeds of each variant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from harness.analysis.findings import Findings
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.metrics import ACCURACY, Metric
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, VARIANT, Column, Shown, Table, page_table
from harness.statistics.distribution import BOOTSTRAP_FROM, Distribution

IN_CALIBRATION = "nll"  # the page shows it there


@dataclass(frozen=True)
class MetricRow:
    """A metric of a variant."""

    summary: VariantSummary
    metric: Metric
    values: Distribution | None


def _rows(findings: Findings) -> Iterator[MetricRow]:
    for summary in findings.summaries:
        for metric in findings.results.metrics:
            yield MetricRow(summary, metric, summary.metrics[metric.name])


METRICS: Table[MetricRow] = Table(
    "metrics",
    "a metric of a variant",
    _rows,
    (
        Column(VARIANT.name, VARIANT.meaning, "summary.variant"),
        Column("evaluated_on", "`test` or `holdout`", "summary.evaluated_on"),
        Column("metric", "its name, or the import path of one of your own", "metric.name"),
        Column("better", "`higher` or `lower`", lambda row: ("lower", "higher")[row.metric.higher_is_better]),
        Column(
            "target", "the study's, in the row of its metric",
            lambda row: row.summary.target if row.metric.name == row.summary.metric.name else None,
        ),
        Column("n", "finished runs that have it", lambda row: row.values.n if row.values else 0),
        Column("mean", "over these, last epoch", "values.mean"),
        Column("std", "over seeds, divisor n - 1", "values.std"),
        Column("sem", "standard error of the mean", "values.sem"),
        Column("ci_low", "lower end of the 95 % t interval; fractions are cut at 0 and 1", "values.ci_low"),
        Column("ci_high", "its upper end", "values.ci_high"),
        Column("min", "lowest run", "values.minimum"),
        Column("median", "of the runs", "values.median"),
        Column("max", "highest run", "values.maximum"),
    ),
)  # fmt: skip
TABLES = (METRICS,)

SEEDS = (
    "The target's metric over the n finished runs, one for each seed. Its mean, std and t "
    "interval are in the first section. The bootstrap interval (BCa) is shown from "
    f"{BOOTSTRAP_FROM} seeds on: with few seeds it is too narrow. The interquartile mean leaves out the "
    "lowest and the highest quarter of the runs (n // 4 runs each)."
)
METRICS_TEXT = (
    "All metrics are computed from the float32 logits of the last epoch. Balanced accuracy is the mean of "
    "the classes' accuracies. Top-5 accuracy is the share of images whose class is among the five largest "
    "logits. Macro F1 is the mean of the classes' F1. AUROC is the mean area under the ROC curve of one "
    "class against the rest. Classes without images are left out, but macro F1 counts them where they are "
    "predicted. Only the target's metric decides comparisons and the verdict. Differences in the other "
    "metrics were not tested."
)


def about_accuracy(findings: Findings) -> list[Block]:
    """Say that a section is about accuracy, where the target is of another metric."""
    metric = findings.results.metric
    if metric.name == ACCURACY:
        return []
    text = (
        f"This section is about accuracy. The target is of {metric.title}, and nothing here decides about it."
    )
    return [Block("text", text)]


def _of_target(units: Units) -> tuple[Shown[VariantSummary], ...]:
    """Return the columns of the target's metric over seeds that the first section does not have."""
    return (
        SHOWN_VARIANT,
        Shown("n", "score.n"),
        Shown(
            units.heading("95 % BCa interval"),
            "evidence.bootstrap",
            lambda ends: units.interval(*ends),
            only_if="evidence.bootstrap",
        ),
        Shown(units.heading("median"), "score.median", units.value),
        Shown(units.heading("interquartile mean"), "score.iqm", partial(units.value, decimals=3)),
    )


def _shown(metric: Metric) -> Shown[VariantSummary]:
    units = Units(metric)
    title = metric.heading if metric.share else metric.title

    def write(values: Distribution) -> str:
        return units.mean_std(values, decimals=2).removesuffix(units.of_value)

    return Shown(units.heading(title), lambda summary: summary.metrics[metric.name], write)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the target's metric over seeds, and mean ± std of the other metrics."""
    known = [summary for summary in findings.summaries if summary.finished]
    several = [summary for summary in known if summary.score and summary.score.n > 1]
    target = findings.results.metric
    others = [
        metric
        for metric in findings.results.metrics
        if metric.name not in (target.name, IN_CALIBRATION)
        and any(summary.metrics[metric.name] is not None for summary in known)
    ]
    blocks: list[Block] = []
    if several:
        csv = "summary" if target.name == ACCURACY else "metrics"
        blocks += [
            Block("heading", f"{target.heading} over seeds"),
            page_table(csv, _of_target(Units(target)), several),
            explained(SEEDS),
        ]
    if others:
        shown = (SHOWN_VARIANT, *map(_shown, others))
        blocks += [
            Block("heading", "Other metrics, mean ± std over seeds"),
            page_table("metrics", shown, known),
            explained(METRICS_TEXT),
        ]
    named = [metric.title for metric in others]
    return Section(
        "All metrics", blocks, about=", ".join([f"{target.title} over seeds"] * bool(several) + named)
    )
