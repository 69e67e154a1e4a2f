"""The accuracies of the seeds: each run, their distribution, and the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.numbers import decimals_of, interval_text, std_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import RUN, SHOWN_VARIANT, Column, Shown, Table, page_table, percent
from harness.statistics.distribution import BOOTSTRAP_FROM, Distribution


def _history(findings: Findings) -> Iterator[dict[str, Any]]:
    for run in findings.results.runs:
        for row in run.history:
            yield {"variant": run.variant, "seed": run.seed, **row}


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
        Column("test_loss", "after the epoch; after the last one in float32"),
        Column("test_accuracy", "likewise"),
        Column("train_seconds", "of the epoch's training"),
        Column("eval_seconds", "of its evaluation"),
        Column("images_per_second", "trained on"),
        Column("raw_loss", "as `test_loss`, of the weights as trained; empty without an average of them"),
        Column("raw_accuracy", "likewise"),
    ),
)
TABLES = (HISTORY,)


def _of(name: str, meaning: str, statistic: str) -> Column[VariantSummary]:
    return Column(f"test_accuracy_{name}", meaning, f"test_accuracy.{statistic}")


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
        f"of the BCa bootstrap interval of the mean, from {BOOTSTRAP_FROM} runs on",
        "evidence.bootstrap",
        itemgetter(0),
    ),
    Column("bootstrap_high", "its upper end", "evidence.bootstrap", itemgetter(1)),
)


def _mean(accuracy: Distribution) -> str:
    return f"{100 * accuracy.mean:.{decimals_of(100 * (accuracy.std or 0.0), 3)}f}"


def t_interval(accuracy: Distribution) -> str:
    """Write the t interval of the mean, in percent."""
    return interval_text(accuracy.ci_low, accuracy.ci_high)


def _points(std: float) -> str:
    return std_text(100 * std, 3)


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("n", "test_accuracy.n"),
    Shown("mean, %", "test_accuracy", _mean),
    Shown("std, points", "test_accuracy.std", _points),
    Shown("standard error, points", "test_accuracy.sem", _points),
    Shown("95 % t interval, %", "test_accuracy", t_interval),
    Shown(
        "95 % BCa interval, %",
        "evidence.bootstrap",
        lambda ends: interval_text(*ends),
        only_if="evidence.bootstrap",
    ),
    Shown("lowest, %", "test_accuracy.minimum", percent(2)),
    Shown("median, %", "test_accuracy.median", percent(2)),
    Shown("interquartile mean, %", "test_accuracy.iqm", percent(3)),
    Shown("highest, %", "test_accuracy.maximum", percent(2)),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show every run against the target, the distribution over seeds, and the learning curves."""
    return Section(
        "Accuracy and learning curves",
        [
            *figures("accuracy"),
            *_distribution(findings),
            *figures("curves"),
        ],
    )


def _distribution(findings: Findings) -> list[Block]:
    """Show the accuracies over seeds as a table; nothing where every variant has one seed."""
    several = [
        summary for summary in findings.summaries if summary.test_accuracy and summary.test_accuracy.n > 1
    ]
    if not several:
        return []
    text = (
        "Over the n finished runs, one a seed. The standard error is the std divided by sqrt(n). The t "
        "interval takes the seeds for normal; a bootstrap interval (BCa) covers too rarely with few seeds "
        f"and is shown from {BOOTSTRAP_FROM} on. The interquartile mean leaves out the lowest and the "
        "highest quarter (n // 4 runs each)."
    )
    lead = "The same in numbers: the last epoch's accuracies over the seeds."
    return [
        Block("text", lead),
        page_table("summary", SHOWN, several),
        explained(text),
    ]
