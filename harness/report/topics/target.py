"""Success rate and time to target."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text, p_text, percent_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, form, page_table
from harness.statistics.target import Share

TABLES = ()


def _ever_reached(summary: VariantSummary) -> int | None:
    if summary.evidence is None:  # all runs failed, so none has reached it
        return 0 if summary.runs else None
    return summary.evidence.epochs.reached


SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column(
        "reached_low",
        "of the 95 % Clopper-Pearson interval of the share of runs at the target",
        "reached_share.low",
    ),
    Column("reached_high", "its upper end", "reached_share.high"),
    Column("p_above_target", "one-sided t test of a mean that is not above the target", "evidence.p_above"),
    Column(
        "epochs_to_target_median",
        "median over finished and failed runs, a miss being infinite; empty where half of them or more "
        "missed it",
        "evidence.epochs.median",
    ),
    Column("steps_to_target_median", "likewise, in steps", "evidence.steps.median"),
    Column("seconds_to_target_median", "likewise, in training seconds", "evidence.seconds.median"),
    Column("ever_reached", "runs that reached it in any epoch", _ever_reached),
)


def _interval(share: Share) -> str:
    return f"{100 * share.low:.0f} to {100 * share.high:.0f}"


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("reached on the last epoch", lambda summary: f"{summary.reached} of {summary.runs}"),
    Shown("95 % interval of that share, %", "reached_share", _interval),
    Shown("reached at any epoch", lambda summary: f"{_ever_reached(summary)} of {summary.runs}"),
    Shown("median epochs to it", "evidence.epochs.median", form(",.0f")),
    Shown("median steps", "evidence.steps.median", form(",.0f")),
    Shown("median minutes", "evidence.seconds.median", minutes_text),
    Shown("p (mean not above it)", "evidence.p_above", p_text),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the share of runs that reached the target, and their times; nothing before a run has finished."""
    title = "How surely the target is reached"
    ended = [summary for summary in findings.summaries if summary.runs]
    if not findings.results.finished:
        return Section(title, [])
    lead = (
        f"How many runs reached the target of {percent_text(ended[0].target)}, in which share of further "
        "runs that is to be expected, and how soon they did."
    )
    text = (
        "The interval of the share is Clopper and Pearson's, which holds for any n and says how little a few "
        "runs can promise. A run that missed the target takes forever in the medians, "
        "so where half of the runs or more missed it there is none. p is the one-sided t test over "
        "seeds; it takes them for normal, and where one seed in ten is a bad one it is fooled in up to 15 of "
        "100 studies. So the count of runs that reached the target is the verdict, and p stands beside it."
    )
    return Section(title, [Block("text", lead), page_table("summary", SHOWN, ended), explained(text)])
