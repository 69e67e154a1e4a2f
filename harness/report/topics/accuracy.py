"""The target's metric of the seeds: each run, their distribution, and the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.numbers import decimals_of
from harness.analysis.summary import VariantSummary
from harness.analysis.units import Units
from harness.metrics import ACCURACY
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import RUN, SHOWN_VARIANT, Column, Shown, Table, page_table, renamed
from harness.statistics.distribution import BOOTSTRAP_FROM, Distribution
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
    _of("ci_low", "of the 95 % t interval of the mean, cut at 0 and 1", "ci_low"),
    _of("ci_high", "its upper end", "ci_high"),
    _of("min", "lowest run", "minimum"),
    _of("max", "highest run", "maximum"),
)
DISTRIBUTION: tuple[Column[VariantSummary], ...] = (
    _of("median", "over finished runs", "median"),
    _of("iqm", "mean of the middle half", "iqm"),
    Column(
        "bootstrap_low",
        f"of the BCa bootstrap interval of the mean of `metric`, from {BOOTSTRAP_FROM} runs on",
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


def _shown(units: Units) -> tuple[Shown[VariantSummary], ...]:
    def mean(score: Distribution) -> str:
        decimals = decimals_of(units.scale * (score.std or 0.0), units.decimals(3))
        return f"{units.scale * score.mean:.{decimals}f}"

    return (
        SHOWN_VARIANT,
        Shown("n", "score.n"),
        Shown(units.heading("mean"), "score", mean),
        Shown(units.heading("std", difference=True), "score.std", units.std),
        Shown(units.heading("standard error", difference=True), "score.sem", units.std),
        Shown(
            units.heading("95 % t interval"),
            "score",
            lambda score: units.interval(score.ci_low, score.ci_high),
        ),
        Shown(
            units.heading("95 % BCa interval"),
            "evidence.bootstrap",
            lambda ends: units.interval(*ends),
            only_if="evidence.bootstrap",
        ),
        Shown(units.heading("lowest"), "score.minimum", units.value),
        Shown(units.heading("median"), "score.median", units.value),
        Shown(units.heading("interquartile mean"), "score.iqm", partial(units.value, decimals=3)),
        Shown(units.heading("highest"), "score.maximum", units.value),
    )


def section(findings: Findings, figures: Figures) -> Section:
    """Show every run against the target, the distribution over seeds, and the learning curves."""
    return Section(
        f"{findings.results.metric.heading} and learning curves",
        [
            *figures("accuracy"),
            *_distribution(findings),
            *figures("curves"),
        ],
    )


def _distribution(findings: Findings) -> list[Block]:
    """Show the target's metric over seeds as a table; nothing where every variant has one seed."""
    several = [summary for summary in findings.summaries if summary.score and summary.score.n > 1]
    if not several:
        return []
    text = (
        "Over the n finished runs, one a seed. The standard error is the std divided by sqrt(n). The t "
        "interval takes the seeds for normal; a bootstrap interval (BCa) covers too rarely with few seeds "
        f"and is shown from {BOOTSTRAP_FROM} on. The interquartile mean leaves out the lowest and the "
        "highest quarter (n // 4 runs each)."
    )
    metric = findings.results.metric
    what = "accuracies" if metric.name == ACCURACY else metric.title
    lead = f"The same in numbers: the last epoch's {what} over the seeds."
    table = "summary" if metric.name == ACCURACY else "metrics"
    return [
        Block("text", lead),
        page_table(table, _shown(Units(metric)), several),
        explained(text),
    ]
