"""The learning rates: what the range tests chose, and the rate of every step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.runs import RangeTestResult, Run
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, SHOWN_VARIANT, VARIANT, Column, Shown, Table, page_table

Rows = Iterator[dict[str, Any]]


def _range_test(findings: Findings) -> Rows:
    for variant, range_test in findings.results.range_tests.items():
        for row in range_test.rows:
            yield {"variant": variant, **row}


def _first_runs(findings: Findings) -> Iterator[Run]:
    """Yield each variant's first finished run, as the rates do not depend on the seed."""
    for variant in findings.results.variants:
        yield from findings.results.of(variant, "finished")[:1]


def _steps(findings: Findings) -> Rows:
    for run in _first_runs(findings):
        for row in run.rates:
            yield {"variant": run.variant, **row}


RANGE_TEST: Table[dict[str, Any]] = Table(
    "range_test",
    "a step of a variant's range test",
    _range_test,
    (
        VARIANT,
        Column("iteration", "from 1"),
        Column("lr", "of the step"),
        Column("loss", "of its batch"),
        Column("smoothed_loss", "by an exponential mean"),
        Column("accuracy", "of its batch"),
        Column("smoothed_accuracy", "likewise"),
    ),
)
LEARNING_RATES: Table[dict[str, Any]] = Table(
    "learning_rates",
    "a step of a variant's first finished run",
    _steps,
    (
        VARIANT,
        Column("iteration", "optimizer step, from 1"),
        Column("epoch", "from 1"),
        Column("lr", "learning rate of the step"),
    ),
)
TABLES = (RANGE_TEST, LEARNING_RATES)


def _rate(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g}"


def _used(range_test: RangeTestResult) -> str | None:
    if range_test.error:
        return None
    return "yes" if range_test.record.get("used") else "no: the study sets its rates"


def _recorded(key: str) -> Shown[RangeTestResult]:
    return Shown(key, lambda range_test: range_test.record.get(key, "–"), numeric=key == "seed")


SHOWN_RANGE_TEST: tuple[Shown[RangeTestResult], ...] = (
    SHOWN_VARIANT,
    Shown("LRMIN", lambda range_test: _rate(range_test.record.get("lr_min"))),
    Shown("LRMAX", lambda range_test: _rate(range_test.record.get("lr_max"))),
    _recorded("criterion"),
    _recorded("seed"),
    Shown("used", _used, numeric=False),
    Shown(
        "warnings",
        lambda range_test: range_test.error or "; ".join(range_test.record.get("warnings") or []) or None,
        numeric=False,
    ),
)


def _highest(run: Run) -> tuple[float, int]:
    assert run.highest_rate is not None
    return run.highest_rate


SHOWN_STEPS: tuple[Shown[Run], ...] = (
    SHOWN_VARIANT,
    Shown("lr_min given", lambda run: _rate(run.number("lr_min"))),
    Shown("lr_max given", lambda run: _rate(run.number("lr_max"))),
    Shown("highest rate of a step", lambda run: _rate(_highest(run)[0])),
    Shown("at step", lambda run: f"{_highest(run)[1]:,} of {len(run.rates):,}"),
    Shown("last rate", lambda run: _rate(run.rates[-1]["lr"])),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show each range test, and the schedule's corners with the highest rate of a step."""
    range_tests = list(findings.results.range_tests.values())[:MOST_ROWS]
    blocks = [page_table("range_test", SHOWN_RANGE_TEST, range_tests)] if range_tests else []
    if runs := [run for run in _first_runs(findings) if run.highest_rate is not None][:MOST_ROWS]:
        text = (
            "lr_min and lr_max are the corners of the schedule, found or given. A corner that falls between "
            "two steps is no step's rate: then the highest rate lies below lr_max."
        )
        blocks += [page_table("learning_rates", SHOWN_STEPS, runs), Block("text", text)]
    return Section(
        "Learning rates",
        [
            *blocks,
            *figures("range_test", "learning_rate"),
        ],
    )
