"""What a study found, a row a variant: the first table of the page, and ``summary.csv``."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import minutes_text
from harness.analysis.provenance import times_note
from harness.analysis.summary import VariantSummary, found_rate_sentence
from harness.analysis.units import Units
from harness.metrics import ACCURACY
from harness.report.blocks import Block, Section, explained
from harness.report.topics import accuracy, calibration, ensemble, noise, target, variance
from harness.report.topics.figures import Figures
from harness.report.topics.table import (
    SHOWN_VARIANT,
    VARIANT,
    Column,
    Shown,
    Table,
    form,
    page_table,
    percent,
    renamed,
)

SUMMARY: Table[VariantSummary] = Table(
    "summary",
    "a variant",
    lambda findings: findings.summaries,
    (
        VARIANT,
        Column("evaluated_on", "`test` or `holdout`"),
        Column("runs", "finished and failed runs"),
        Column("failed", "failed ones, which count as misses"),
        *accuracy.SUMMARY,
        Column("target", "the study's, of `metric`"),
        Column("reached", "finished runs at the target or better"),
        Column("loss_mean", "over finished runs", "loss.mean"),
        Column("loss_std", "over seeds", "loss.std"),
        Column("train_accuracy_mean", "over finished runs", "train_accuracy.mean"),
        Column("train_accuracy_std", "over seeds", "train_accuracy.std"),
        Column("parameters", "trainable ones"),
        Column("seconds_mean", "of a run", "seconds.mean"),
        Column("seconds_std", "over runs", "seconds.std"),
        *accuracy.DISTRIBUTION,
        *target.SUMMARY,
        *variance.SUMMARY,
        *ensemble.SUMMARY,
        *calibration.SUMMARY,
        *variance.BETWEEN_RUNS,
        Column("flagged", "the seed whose `metric` lies apart from the others (Grubbs's test at 5 %)"),
        *noise.SUMMARY,
        Column(
            "mean_df",
            "degrees of freedom of the interval of the mean, where runs share levels or images: see "
            "docs/variance.md; empty where they are independent",
            "corrected.degrees",
        ),
        Column(
            "lr_max_per",
            "`variant`: one LRMAX found for all seeds; `seed`: each run found its own, and the std includes "
            "the range test; empty where the study gives its rates",
            "found.per",
        ),
        Column(
            "lr_max_low",
            "lowest LRMAX of the variant's sweeps, or of its runs; empty for one sweep",
            "found.low",
        ),
        Column("lr_max_high", "the highest", "found.high"),
        *target.METRIC,
        *accuracy.OLD_SUMMARY,
        renamed("test_loss_mean", "loss_mean", "loss.mean"),
        renamed("test_loss_std", "loss_std", "loss.std"),
    ),
)
TABLES = (SUMMARY,)


def _score(summary: VariantSummary) -> str | None:
    units = summary.units
    if summary.score is not None:
        return units.mean_std(summary.score, summary.target).removesuffix(units.of_value)
    return f"{summary.failed} of {summary.runs} failed" if summary.failed else None


def _range(summary: VariantSummary) -> str | None:
    score = summary.score
    return summary.units.interval(score.minimum, score.maximum) if score and score.n > 1 else None


def _interval(summary: VariantSummary) -> str | None:
    score = summary.score
    return None if score is None else summary.units.interval(score.ci_low, score.ci_high)


def _shown(units: Units) -> tuple[Shown[VariantSummary], ...]:
    """Return the columns of the target's metric, before the others."""
    return (
        SHOWN_VARIANT,
        Shown(units.heading(f"{units.metric.title} ± std"), _score),
        Shown("reached the target", lambda summary: f"{summary.reached} of {summary.runs}"),
        Shown(units.heading("95 % interval of the mean"), _interval),
        Shown(units.heading("lowest to highest"), _range),
    )


SHOWN: tuple[Shown[VariantSummary], ...] = (
    Shown("finished", "finished"),
    Shown("failed", "failed"),
    Shown("not finished", "missing"),
    Shown("loss", "loss.mean", form(".3f")),
    Shown("train accuracy, %", "train_accuracy.mean", percent(1)),
    Shown("minutes a run", "seconds.mean", minutes_text),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the variants' numbers and every warning."""
    metric, units = findings.results.metric, Units(findings.results.metric)
    goal = units.goal(findings.results.study.target.level)
    what = "Accuracy" if metric.name == ACCURACY else f"{metric.heading}, accuracy"
    lead = (
        f"{what} and loss are those of the last epoch on {_split(findings)}; no epoch was picked by them. "
        f"± is the standard deviation over seeds. The target is {goal}."
    )
    text = (
        "Every ± in this report is the standard deviation over seeds (divisor n - 1, n = the finished runs "
        "beside it); one run has none. The interval is the 95 % t interval of the mean over seeds on this "
        "one set of images: it says how surely the recipe's mean is known, not where a single run falls. "
        "From few seeds it is wide; that of a percentage is cut at 0 and 100. Where all seeds agree there is "
        "none. A failed run counts as one that did not reach the target."
    )
    corrected = [summary.variant for summary in findings.summaries if summary.corrected is not None]
    if corrected:
        text += (
            f" The runs of {', '.join(corrected)} share levels of a crossed design, or images of their "
            "hold-outs: their standard error and interval are corrected for that (docs/variance.md)."
        )
    note = times_note(findings.results)
    return Section(
        "Summary",
        [
            page_table("summary", (*_shown(units), *SHOWN), findings.summaries),
            *(Block("warning", warning) for warning in findings.warnings),
            Block("text", " ".join(filter(None, (lead, found_rate_sentence(findings.summaries), note)))),
            explained(text),
        ],
    )


def _split(findings: Findings) -> str:
    splits = {summary.evaluated_on for summary in findings.summaries}
    if splits == {"holdout"}:
        return "images held out of the train split (the test split was not opened)"
    if splits == {"test"}:
        return "the test split"
    held = ", ".join(summary.variant for summary in findings.summaries if summary.evaluated_on == "holdout")
    return f"the test split, and for {held} on images held out of the train split"
