"""Every run, finished or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text
from harness.analysis.provenance import at_once_text
from harness.analysis.runs import Arrival, Run
from harness.analysis.units import Units
from harness.metrics import ACCURACY, METRICS
from harness.report.blocks import Block, Cell, Section
from harness.report.topics.figures import Figures
from harness.report.topics.misclassified import errors
from harness.report.topics.table import MOST_ROWS, Column, Shown, Table, form, page_table, percent, renamed
from harness.store.run_files import OLD_METRICS


@dataclass(frozen=True)
class RunRow:
    """A run, and when it reached the target that the study has now."""

    run: Run
    arrival: Arrival | None
    flagged: bool


def _rows(findings: Findings) -> Iterator[RunRow]:
    metric, target = findings.results.metric, findings.results.study.target.level
    flagged = {summary.variant: summary.flagged for summary in findings.summaries}
    for run in findings.results.runs:
        yield RunRow(run, run.arrival(metric, target), flagged.get(run.variant) == run.seed)


def _recorded(name: str, meaning: str, table: Literal["metrics", "timings"] = "metrics") -> Column[RunRow]:
    return Column(name, meaning, lambda row: row.run.number(name, table))


def _number(name: str, row: RunRow) -> float | None:
    return row.run.number(name)


_MEANINGS = {
    "balanced_accuracy": "mean of the classes' accuracies; this and the next four as `accuracy`",
    "top5_accuracy": "share of images whose class is among the five largest logits; empty for five classes",
    "macro_f1": "mean of the classes' F1",
    "auroc": "mean of the areas under the ROC curves of one class against the rest",
    "nll": "negative log-likelihood, nats an image: lower is better",
}


RUNS: Table[RunRow] = Table(
    "runs",
    "a run, finished or not",
    _rows,
    (
        Column("variant", "its name; `base` is the study file itself", "run.variant"),
        Column("seed", "of the run", "run.seed"),
        Column(
            "status",
            "`finished`, `failed`, `missing`, or `not needed`: planned, and spared by a verdict at a look",
            "run.status",
        ),
        _recorded("epochs", "that were trained"),
        _recorded("accuracy", "of the last epoch, in float32: the one that counts"),
        _recorded("loss", "cross-entropy of the last epoch, in float32"),
        _recorded("train_accuracy", "of the last epoch, over the batches as trained on"),
        _recorded(
            "best_accuracy",
            "over all epochs, those before the last in the run's precision; mentioned, never used",
        ),
        _recorded("best_epoch", "when that was"),
        Column(
            "epochs_to_target",
            "first epoch that reached the study's target; empty where no epoch has its metric",
            "arrival.epochs",
        ),
        Column("seconds_to_target", "training time until then", "arrival.seconds"),
        _recorded("parameters", "trainable ones"),
        _recorded("lr_min", "the rate found or given: the schedule's lower corner"),
        _recorded(
            "lr_max",
            "the rate found or given: the schedule's upper corner; where that falls between two steps, no "
            "step has it: see `learning_rates`",
        ),
        _recorded("seconds", "training and evaluation, over all processes that worked on it", "timings"),
        Column("error", "why it failed", "run.error"),
        Column(
            "flagged",
            "`yes` where the target's metric is an outlier among the variant's seeds (Grubbs's test, 5 %)",
            lambda row: "yes" if row.flagged else None,
        ),
        _recorded("raw_accuracy", "of the last epoch's weights as trained, where their average is evaluated"),
        _recorded("raw_loss", "likewise"),
        Column(
            "ties",
            "evaluation images whose largest logit is that of several classes; they count for the first one",
            "run.predictions.ties",
        ),
        Column("evaluated_on", "`test` or `holdout`", lambda row: row.run.data.get("evaluated_on")),
        *(_recorded(name, _MEANINGS[name]) for name in METRICS if name in _MEANINGS),
        *(
            renamed(old, new, partial(_number, new))
            for new, old in OLD_METRICS.items()
            if new != "ties"  # which runs.csv did not have
        ),
        Column(
            "seconds_runs_at_once",
            "runs on the device while its seconds were measured, such as `1` or `1 to 3`; only with `1` are "
            "they those of a run alone; empty where that was not recorded",
            lambda row: at_once_text([row.run.record]),
        ),
    ),
)
TABLES = (RUNS,)


def _finished(heading: str, key: str, write: Callable[[float], str]) -> Shown[RunRow]:
    """Return a column with a metric of the finished runs."""
    return Shown(heading, lambda row: row.run.number(key) if row.run.status == "finished" else None, write)


def _best(run: Run) -> str | None:
    best = run.number("best_accuracy") if run.status == "finished" else None
    return None if best is None else f"{100 * best:.2f} ({run.number('best_epoch')})"


def _named(row: RunRow) -> Cell:
    """Return the run's name, with a link to its record."""
    run = row.run
    return Cell(run.name, to="" if run.record is None else f"runs/{run.name}/{run.folder.record_file.name}")


def _shown(findings: Findings) -> tuple[Shown[RunRow], ...]:
    """Return the first columns, with the target's metric if it is none of the others."""
    metric = findings.results.metric
    units = Units(metric)
    further = () if metric.name in (ACCURACY, "nll") else (
        _finished(units.heading(metric.title), metric.name, units.value),
    )  # fmt: skip
    return (
        Shown("run", _named, numeric=False),
        Shown("status", "run.status", numeric=False),
        *further,
        _finished("accuracy, %", "accuracy", percent(2)),
        Shown("errors", lambda row: errors(findings, row.run)),
    )


SHOWN: tuple[Shown[RunRow], ...] = (
    _finished("loss", "loss", form(".4f")),
    Shown(
        "accuracy as trained, %",
        lambda row: row.run.number("raw_accuracy"),
        percent(2),
        only_if=lambda row: row.run.number("raw_accuracy") is not None,
    ),
    Shown("ties", "run.predictions.ties", only_if="run.predictions.ties"),
    Shown("best accuracy, % (epoch)", "run", _best),
    Shown("epochs to target", "arrival.epochs"),
    Shown("minutes", lambda row: row.run.number("seconds", "timings"), minutes_text),
    Shown("cause of failure", lambda row: row.run.error or None, numeric=False, only_if="run.error"),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show all runs; if they are too many, those that are not finished, and the first of the others."""
    rows = list(_rows(findings))
    first = sorted(rows, key=lambda row: row.run.status == "finished")[:MOST_ROWS]
    text = (
        "Click a run's name to open its record. Click its number of errors to list its misclassified images. "
        "The best epoch is for information only: it is selected on the test images, so its accuracy is too "
        "high."
    )
    if more := len(rows) - len(first):
        text += f" {more} more finished runs stand in tables/runs.csv."
    shown = [row for row in rows if row in first]
    statuses = Counter(row.run.status for row in rows)
    return Section(
        "All runs",
        [page_table("runs", (*_shown(findings), *SHOWN), shown), Block("text", text)],
        about=", ".join(f"{number} {status}" for status, number in statuses.items()),
    )
