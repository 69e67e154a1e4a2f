"""Every metric of the last epoch, over the seeds of each variant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.findings import Findings
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.metrics import ACCURACY, Metric
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, VARIANT, Column, Shown, Table, page_table
from harness.statistics.distribution import Distribution


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
        Column("ci_low", "of the 95 % t interval of the mean; of fractions cut at 0 and 1", "values.ci_low"),
        Column("ci_high", "its upper end", "values.ci_high"),
        Column("min", "lowest run", "values.minimum"),
        Column("median", "of the runs", "values.median"),
        Column("max", "highest run", "values.maximum"),
    ),
)  # fmt: skip
TABLES = (METRICS,)

HOW_TO_READ = (
    "All are computed from the float32 logits of the last epoch. Balanced accuracy is the mean of the "
    "classes' accuracies; top-5 accuracy the share of images whose class is among the five largest logits; "
    "macro F1 the mean of the classes' F1; AUROC the mean of the areas under the ROC curves of one class "
    "against the rest; NLL the mean negative log-likelihood in nats, of which lower is better. A class "
    "without images counts in none of them, but for macro F1 where it is predicted. The target's metric "
    "decides comparisons and verdict; a difference in another one was not tested."
)


def about_accuracy(findings: Findings) -> list[Block]:
    """Say that a section is about accuracy, where the target is of another metric."""
    metric = findings.results.metric
    if metric.name == ACCURACY:
        return []
    text = (
        f"This section is about accuracy, of which alone it is defined; the target is of {metric.title}, and "
        "nothing here decides about it."
    )
    return [Block("text", text)]


def _shown(metric: Metric) -> Shown[VariantSummary]:
    units = Units(metric)
    title = metric.heading if metric.share else metric.title

    def write(values: Distribution) -> str:
        return units.mean_std(values, decimals=2).removesuffix(units.of_value)

    return Shown(units.heading(title), lambda summary: summary.metrics[metric.name], write)


def section(findings: Findings, figures: Figures) -> Section:
    """Show mean ± std of every metric of the variants that have a finished run."""
    known = [summary for summary in findings.summaries if summary.finished]
    metrics = [
        metric
        for metric in findings.results.metrics
        if any(summary.metrics[metric.name] is not None for summary in known)
    ]
    if not known:
        return Section("Metrics", [])
    shown = (SHOWN_VARIANT, Shown("n", "finished"), *map(_shown, metrics))
    target = findings.results.metric.title
    lead = f"Every metric of the last epoch, mean ± std over seeds. The target is of {target}."
    return Section(
        "Metrics",
        [Block("text", lead), page_table("metrics", shown, known), explained(HOW_TO_READ)],
    )
