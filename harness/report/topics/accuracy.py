"""The target's metric in every run, and over the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import RUN, Column, Table, renamed
from harness.statistics.distribution import BOOTSTRAP_FROM
from harness.store.run_files import OLD_HISTORY


def _history(findings: Findings) -> Iterator[dict[str, Any]]:
    for run in findings.results.runs:
        for row in run.history:
            on = run.data.get("evaluated_on")
            yield {"variant": run.variant, "seed": run.seed, **row, "evaluated_on": on}


HISTORY: Table[dict[str, Any]] = Table(
    "history",
    "an epoch of a run",
    _history,
    (
        *RUN,
        Column("epoch", "from 1"),
        Column("lr", "of the epoch's first step"),
        Column("train_loss", "mean over the epoch's batches, as trained on"),
        Column("train_accuracy", "likewise"),
        Column("eval_loss", "after the epoch, on what `evaluated_on` says; after the last one in float32"),
        Column("eval_accuracy", "likewise"),
        Column("train_seconds", "of the epoch's training"),
        Column("eval_seconds", "of its evaluation"),
        Column("images_per_second", "trained on"),
        Column("raw_loss", "as `eval_loss`, of the weights as trained; empty without an average of them"),
        Column("raw_accuracy", "likewise"),
        Column("evaluated_on", "`test` or `holdout`"),
        *(renamed(old, new) for new, old in OLD_HISTORY.items()),
    ),
)
TABLES = (HISTORY,)


def _of(name: str, meaning: str, statistic: str) -> Column[VariantSummary]:
    return Column(f"accuracy_{name}", meaning, f"accuracy.{statistic}")


# columns of summary.csv, which has them in two places
SUMMARY = (
    _of("mean", "over finished runs, last epoch", "mean"),
    _of("std", "over seeds, divisor n - 1", "std"),
    _of("sem", "std / √n", "sem"),
    _of("ci_low", "lower end of the 95 % t interval of the mean, cut at 0 and 1", "ci_low"),
    _of("ci_high", "its upper end", "ci_high"),
    _of("min", "lowest run", "minimum"),
    _of("max", "highest run", "maximum"),
)
DISTRIBUTION: tuple[Column[VariantSummary], ...] = (
    _of("median", "over finished runs", "median"),
    _of("iqm", "mean of the middle half", "iqm"),
    Column(
        "bootstrap_low",
        f"lower end of the BCa bootstrap interval of the mean of `metric`, from {BOOTSTRAP_FROM} runs on",
        "evidence.bootstrap",
        itemgetter(0),
    ),
    Column("bootstrap_high", "its upper end", "evidence.bootstrap", itemgetter(1)),
)


OLD_SUMMARY: tuple[Column[VariantSummary], ...] = tuple(
    renamed(f"test_{column.name}", column.name, str(column.value))
    for column in (*SUMMARY, *DISTRIBUTION)
    if column.name.startswith("accuracy_")
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show every run against the target, and the learning curves."""
    title = f"{findings.results.metric.heading} and learning curves"
    return Section(title, figures("accuracy", "curves"))
