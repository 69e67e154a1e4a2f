"""Success rate and time to target."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text, p_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, form, page_table
from harness.statistics.target import Share

TABLES = ()


def _ever_reached(summary: VariantSummary) -> int | None:
    if summary.evidence is None:  # all runs failed, so none has reached it
        return 0 if summary.runs else None
    return None if summary.evidence.epochs is None else summary.evidence.epochs.reached


SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column(
        "reached_low",
        "of the 95 % Clopper-Pearson interval of the share of runs at the target",
        "reached_share.low",
    ),
    Column("reached_high", "its upper end", "reached_share.high"),
    Column(
        "p_above_target", "one-sided t test of a mean that is not better than the target", "evidence.p_above"
    ),
    Column(
        "epochs_to_target_median",
        "median over finished and failed runs, a miss being infinite; empty where half of them or more "
        "missed it, and where no epoch has the target's metric",
        "evidence.epochs.median",
    ),
    Column("steps_to_target_median", "likewise, in steps", "evidence.steps.median"),
    Column("seconds_to_target_median", "likewise, in training seconds", "evidence.seconds.median"),
    Column("ever_reached", "runs that reached it in any epoch", _ever_reached),
)
# of the target's metric, in summary.csv
METRIC: tuple[Column[VariantSummary], ...] = (
    Column("metric", "the target's: what `target`, `reached` and `flagged` are of", "metric.name"),
    Column("metric_mean", "of it, over finished runs, last epoch", "score.mean"),
    Column("metric_std", "over seeds, divisor n - 1", "score.std"),
    Column("metric_sem", "standard error of the mean", "score.sem"),
    Column("metric_ci_low", "of the 95 % t interval of the mean", "score.ci_low"),
    Column("metric_ci_high", "its upper end", "score.ci_high"),
    Column("metric_min", "lowest run", "score.minimum"),
    Column("metric_max", "highest run", "score.maximum"),
)


def _interval(share: Share) -> str:
    return f"{100 * share.low:.0f} to {100 * share.high:.0f}"


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("reached on the last epoch", lambda summary: f"{summary.reached} of {summary.runs}"),
    Shown("95 % interval of that share, %", "reached_share", _interval),
    Shown(
        "reached at any epoch",
        lambda summary: f"{_ever_reached(summary)} of {summary.runs}",
        only_if="metric.history",
    ),
    Shown("median epochs to it", "evidence.epochs.median", form(",.0f"), only_if="metric.history"),
    Shown("median steps", "evidence.steps.median", form(",.0f"), only_if="metric.history"),
    Shown("median minutes", "evidence.seconds.median", minutes_text, only_if="metric.history"),
    Shown("p (mean not better)", "evidence.p_above", p_text),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the share of runs that reached the target, and their times; nothing before a run has finished."""
    title = "How surely the target is reached"
    ended = [summary for summary in findings.summaries if summary.runs]
    if not findings.results.finished:
        return Section(title, [])
    timed = ended[0].metric.history is not None
    lead = (
        f"How many runs reached the target of {ended[0].units.goal(ended[0].target)}, in which share of "
        f"further runs that is to be expected{', and how soon they did' if timed else ''}."
    )
    if not timed:
        lead += (
            f" When they did is not known: the epochs before the last have accuracy and loss, "
            f"not {ended[0].metric.title}."
        )
    text = (
        "The interval of the share is Clopper and Pearson's, which holds for any n and says how little a few "
        "runs can promise. A run that missed the target takes forever in the medians, "
        "so where half of the runs or more missed it there is none. p is the one-sided t test over "
        "seeds; it takes them for normal, and where one seed in ten is a bad one it is fooled in up to 15 of "
        "100 studies. So the count of runs that reached the target is the verdict, and p stands beside it."
    )
    return Section(title, [Block("text", lead), page_table("summary", SHOWN, ended), explained(text)])
