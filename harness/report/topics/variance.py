"""Variance over seeds, split into chance and real differences."""

from __future__ import annotations

import math

from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text, std_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.metrics import about_accuracy
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, form, page_table
from harness.statistics.variance import SeedVariance

TABLES = ()

# columns of summary.csv, which has them in two places
SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column("images", "evaluated on", "evidence.images"),
    Column(
        "noise_seeds",
        "std of the accuracy that independent errors on these images would give",
        "evidence.variance.independent_std",
    ),
    Column(
        "noise_seeds_plug_in",
        "the same without its correction for few seeds",
        "evidence.variance.independent_std_plug_in",
    ),
    Column(
        "variance_between_runs",
        "what exceeds that, in squared fractions; unbiased, so also negative",
        "evidence.variance.between_runs",
    ),
    Column("p_luck", "of the measured variance, if there were nothing else", "evidence.variance.p_luck"),
    Column(
        "noise_new_images",
        "std of one network's accuracy over test sets of this size",
        "evidence.sampling_std",
    ),
)
BETWEEN_RUNS: tuple[Column[VariantSummary], ...] = (
    Column(
        "between_runs_low",
        "lower end of the 95 % interval of the std between runs, the root of `variance_between_runs`; empty "
        "where the seeds differ too little for any",
        "evidence.variance.low",
    ),
    Column("between_runs_high", "its upper end", "evidence.variance.high"),
)


def _points(fraction: float) -> str:
    return std_text(100 * fraction, 3)


def _between(variance: SeedVariance) -> str:
    if variance.between_runs <= 0:
        return "0 (estimate below 0)" if variance.between_runs else "0"
    return f"{100 * math.sqrt(variance.between_runs):.3f}"


def _range(low: float, high: float) -> str:
    """Write ``0 to 0.25``, in points."""
    return f"{std_text(100 * low, 2)} to {std_text(100 * high, 2)}"


def _interval(variance: SeedVariance) -> str | None:
    return None if variance.low is None or variance.high is None else _range(variance.low, variance.high)


def reading(variance: SeedVariance) -> str:
    """Say whether runs differ by more than luck, and by how much; a large p does not show equality."""
    if variance.p_luck is None:
        return "every seed is right on the same images"
    interval = _interval(variance)
    if variance.p_luck > 0.05:
        if interval is None:
            return "seeds differ less than luck on these images alone lets them: runs are not shown to differ"
        return f"runs are not shown to differ: their own std may be {interval} points"
    share = min(1.0, variance.independent_std**2 / variance.std**2)
    size = f", with a std of {interval} points" if interval else ""
    luck = f"luck on these images is about {100 * share:.0f} % of the variance"
    return f"the runs differ genuinely{size}; {luck}"


SHOWN_VARIANCE: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("seeds", "evidence.variance.n"),
    Shown("images", "evidence.images", form(",")),
    Shown("std over seeds, points", "evidence.variance.std", _points),
    Shown("of independent errors, points", "evidence.variance.independent_std", _points),
    Shown("between runs, points", "evidence.variance", _between),
    Shown("its 95 % interval, points", "evidence.variance", _interval),
    Shown("p (luck alone)", "evidence.variance.p_luck", p_text),
    Shown("what it says", "evidence.variance", reading, numeric=False),
)
LEAD = (
    "Seeds differ in accuracy. Part of that is chance on these images; what exceeds it, if anything, "
    "is genuine: some runs are better networks than others."
)
HOW_TO_READ = (
    "On these fixed images the accuracies of the seeds differ by their std. Runs whose errors are "
    "independent from image to image would differ too, by chance: sqrt(sum p(1 - p)) / N, with p "
    "the probability that a run is right on an image, estimated from the seeds (divisor n - 1). "
    "What exceeds that is genuine difference between runs, which new images would show as well "
    "(Jordan, arXiv 2304.01910); its variance is estimated without bias, so it can come out "
    "negative. Its interval takes runs for normal (chi-square), and is wide from few seeds. p is the "
    "probability that luck alone gives a std this large; the test finds little with few seeds, so a "
    "large p does not say that all is luck: the interval says how large the difference may be."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the variances, and name the variants with one run."""
    measured = [summary for summary in findings.summaries if summary.evidence]
    several = [summary for summary in measured if summary.evidence and summary.evidence.variance]
    blocks = about_accuracy(findings) if measured else []
    if several:
        table = page_table("summary", SHOWN_VARIANCE, several)
        blocks += [Block("text", LEAD), table, explained(HOW_TO_READ)]
    if single := [summary.variant for summary in measured if summary.finished == 1]:
        text = (
            f"{', '.join(single)}: one run, of which nobody can say how far seeds lie apart or which part of "
            "that is luck; it takes two."
        )
        blocks.append(Block("text", text))
    if mixed := [each.variant for each in measured if each.finished > 1 and each not in several]:
        text = (
            f"{', '.join(mixed)}: the runs were evaluated on different images, so nothing is said of luck "
            "on these."
        )
        blocks.append(Block("text", text))
    return Section("Which part of the spread is luck", blocks)
