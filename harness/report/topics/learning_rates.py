"""The learning rates: what the range tests chose, and the rate of every step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.runs import RangeTestResult, Run
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, VARIANT, Column, Shown, Table, page_table

Rows = Iterator[dict[str, Any]]


def _range_test(findings: Findings) -> Rows:
    for range_test in findings.results.all_range_tests:
        for row in range_test.rows:
            yield {"variant": range_test.variant, **row, "seed": range_test.seed}


def _runs(findings: Findings) -> Iterator[Run]:
    """Yield each variant's first finished run, whose rates are those of all; or all, if each has its own."""
    for variant in findings.results.variants:
        finished = findings.results.of(variant, "finished")
        own = any(run.range_test is not None for run in finished)
        yield from finished if own else finished[:1]


def _steps(findings: Findings) -> Rows:
    for run in _runs(findings):
        for row in run.rates:
            yield {"variant": run.variant, **row, "seed": run.seed}


RANGE_TEST: Table[dict[str, Any]] = Table(
    "range_test",
    "a step of a range test: a variant's, or a run's own",
    _range_test,
    (
        VARIANT,
        Column("iteration", "from 1"),
        Column("lr", "of the step"),
        Column("loss", "of its batch"),
        Column("smoothed_loss", "by a Gaussian over 1/40 of the sweep"),
        Column("accuracy", "of its batch"),
        Column("smoothed_accuracy", "likewise"),
        Column("repeat", "the sweep, from 1"),
        Column("seed", "of the run whose range test it is; empty for a variant's"),
    ),
)
LEARNING_RATES: Table[dict[str, Any]] = Table(
    "learning_rates",
    "a step of a variant's first finished run; of every finished run, where each finds its own LRMAX",
    _steps,
    (
        VARIANT,
        Column("iteration", "optimizer step, from 1"),
        Column("epoch", "from 1"),
        Column("lr", "learning rate of the step"),
        Column("seed", "of the run"),
    ),
)
TABLES = (RANGE_TEST, LEARNING_RATES)


def _rate(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.4g}"


def _used(range_test: RangeTestResult) -> str | None:
    if range_test.error:
        return None
    return "yes" if range_test.record.get("used") else "no: the study sets the rates"


def _recorded(key: str) -> Shown[RangeTestResult]:
    return Shown(key, lambda range_test: range_test.record.get(key, "–"), numeric=key == "seed")


def _spread(range_test: RangeTestResult) -> str | None:
    return None if range_test.spread is None else " to ".join(f"{rate:.4g}" for rate in range_test.spread)


SHOWN_RANGE_TEST: tuple[Shown[RangeTestResult], ...] = (
    Shown("variant", "name", numeric=False),
    Shown("LRMIN", lambda range_test: _rate(range_test.record.get("lr_min"))),
    Shown("LRMAX", lambda range_test: _rate(range_test.record.get("lr_max"))),
    Shown("sweeps", lambda range_test: None if range_test.error else range_test.repeats),
    Shown("range of LRMAX over sweeps", _spread),
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
    Shown("run", lambda run: run.variant if run.range_test is None else run.name, numeric=False),
    Shown("lr_min", lambda run: _rate(run.number("lr_min"))),
    Shown("lr_max", lambda run: _rate(run.number("lr_max"))),
    Shown("highest rate of a step", lambda run: _rate(_highest(run)[0])),
    Shown("at step", lambda run: f"{_highest(run)[1]:,} of {len(run.rates):,}"),
    Shown("last rate", lambda run: _rate(run.rates[-1]["lr"])),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show each range test, and the schedule's corners with the highest rate of a step."""
    range_tests = findings.results.all_range_tests[:MOST_ROWS]
    blocks = []
    if range_tests:
        blocks = [
            page_table("range_test", SHOWN_RANGE_TEST, range_tests),
            *([Block("list", items=words)] if (words := list(_in_words(findings))) else []),
            explained(
                "A sweep trains a new network with a rate that rises at every step. Each sweep has its own "
                "initialisation and batches, and chooses a rate by the criterion. LRMAX is the median of the "
                "choices, and their range is its error bar. One sweep has no error bar: two sweeps of a "
                "recipe often differ by a factor of 2. docs/range-test.md has the measurements."
            ),
        ]
    if runs := [run for run in _runs(findings) if run.highest_rate is not None][:MOST_ROWS]:
        text = (
            "lr_min and lr_max are the corners of the schedule, found by the range test or given. Where a "
            "corner lies between two steps, the highest rate of a step is below lr_max."
        )
        blocks += [page_table("learning_rates", SHOWN_STEPS, runs), Block("text", text)]
    return Section(
        "Learning rates",
        [
            *blocks,
            *figures("range_test", "learning_rate"),
        ],
        about=_about(findings),
    )


def _about(findings: Findings) -> str:
    """Write ``LRMAX 0.0254 to 0.051, from 3 range tests``, or what the section shows."""
    chosen = [rate for test in findings.results.all_range_tests if (rate := test.record.get("lr_max"))]
    if not chosen:
        return "the rate of every step"
    low, high = _rate(min(chosen)), _rate(max(chosen))
    found = low if low == high else f"{low} to {high}"
    return f"LRMAX {found}, from {len(chosen)} range test{'s' if len(chosen) > 1 else ''}"


def _in_words(findings: Findings) -> Iterator[str]:
    """Say for each variant whose rate was found how far LRMAX is known."""
    for summary in findings.summaries[:MOST_ROWS]:
        found = summary.found
        if found is None:
            continue
        if found.count < 2 or found.low is None or found.high is None:
            if found.per == "variant":
                yield f"{summary.variant}: LRMAX was found by one sweep, so its error is unknown."
            continue
        ends = f"{found.low:.4g} to {found.high:.4g}, a factor of {found.high / found.low:.2f}"
        if found.per == "seed":
            yield f"{summary.variant}: each run found its own LRMAX: from {ends}, over {found.count} runs."
        else:
            yield f"{summary.variant}: {found.count} sweeps chose LRMAX from {ends}; all runs use the median."
