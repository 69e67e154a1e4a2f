"""Success rate and time to target."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text, p_text
from harness.analysis.summary import VariantSummary
from harness.metrics import Metric
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, form, page_table

TABLES = ()


def _ever_reached(summary: VariantSummary) -> int | None:
    if summary.evidence is None:  # all runs failed, so none has reached it
        return 0 if summary.runs else None
    return None if summary.evidence.epochs is None else summary.evidence.epochs.reached


SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column(
        "reached_low",
        "lower end of the 95 % Clopper-Pearson interval of the share of runs at the target",
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
    Column("metric", "the target's metric; `target`, `reached` and `flagged` refer to it", "metric.name"),
    Column("metric_mean", "of it, over finished runs, last epoch", "score.mean"),
    Column("metric_std", "over seeds, divisor n - 1", "score.std"),
    Column("metric_sem", "standard error of the mean", "score.sem"),
    Column("metric_ci_low", "lower end of the 95 % t interval of the mean", "score.ci_low"),
    Column("metric_ci_high", "its upper end", "score.ci_high"),
    Column("metric_min", "lowest run", "score.minimum"),
    Column("metric_max", "highest run", "score.maximum"),
)


def _rate(summary: VariantSummary) -> str | None:
    """Write ``67 (9 to 99)``."""
    share = summary.reached_share
    if share is None:
        return None
    rate = 100 * summary.reached / summary.runs
    return f"{rate:.0f} ({100 * share.low:.0f} to {100 * share.high:.0f})"


def _shown(metric: Metric) -> tuple[Shown[VariantSummary], ...]:
    sign = "≤" if metric.higher_is_better else "≥"
    return (*SHOWN, Shown(f"p (mean {sign} target)", "evidence.p_above", p_text))


SHOWN: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("success rate, % (95 % interval)", _rate),
    Shown(
        "reached in any epoch",
        lambda summary: f"{_ever_reached(summary)} of {summary.runs}",
        only_if="metric.history",
    ),
    Shown("median epochs to target", "evidence.epochs.median", form(",.0f"), only_if="metric.history"),
    Shown("median steps", "evidence.steps.median", form(",.0f"), only_if="metric.history"),
    Shown("median minutes", "evidence.seconds.median", minutes_text, only_if="metric.history"),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the share of runs that reached the target, and their times; nothing before a run has finished."""
    title = "Success rate and time to target"
    ended = [summary for summary in findings.summaries if summary.runs]
    if not findings.results.finished:
        return Section(title, [])
    first = ended[0]
    metric, goal = first.metric, first.units.goal(first.target)
    lead = f"The success rate is the share of runs that reached the target of {goal} on the last epoch."
    if metric.history is None:
        lead += (
            f" The time to target is unknown: only the last epoch has {metric.title}, the others have "
            "accuracy and loss."
        )
    text = (
        "The interval is Clopper and Pearson's exact 95 % interval. It holds for any n, and is wide for few "
        "runs. In the medians, a run that missed the target counts as infinitely long, so there is no median "
        "where half of the runs or more missed it. p is of the one-sided t test over seeds that the mean is "
        f"{'at most' if metric.higher_is_better else 'at least'} the target. It assumes a normal "
        "distribution: where one seed in ten is bad, it is wrong in up to 15 of 100 studies. So the verdict "
        "counts the runs that reached the target."
    )
    reached, runs = (sum(getattr(each, name) for each in ended) for name in ("reached", "runs"))
    return Section(
        title,
        [Block("text", lead), page_table("summary", _shown(metric), ended), explained(text)],
        about=f"{reached} of {runs} runs reached {goal}",
    )
