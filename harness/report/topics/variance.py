"""Seed variance and test-set noise: how runs differ, and how well a mean is known."""

from __future__ import annotations

import math

from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text, std_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.metrics import about_accuracy
from harness.report.topics.noise import NOISE, standard_errors
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, page_table
from harness.statistics.variance import SeedVariance

TABLES = (NOISE,)

# columns of summary.csv, which has them in two places
SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column("images", "evaluated on", "evidence.images"),
    Column(
        "noise_seeds",
        "std of the accuracy expected from sampling noise alone: errors independent from image to image",
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
    Column(
        "p_luck", "of a variance as large as measured, from sampling noise only", "evidence.variance.p_luck"
    ),
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
    """Say whether runs differ by more than sampling noise, and by how much; a large p shows no equality."""
    if variance.p_luck is None:
        return "every seed is right on the same images"
    interval = _interval(variance)
    if variance.p_luck > 0.05:
        if interval is None:
            return "no difference between seeds beyond sampling noise"
        return f"no significant difference between seeds; std between runs: {interval} points (95 % interval)"
    share = min(1.0, variance.independent_std**2 / variance.std**2)
    size = f" with a std of {interval} points" if interval else ""
    return f"runs differ{size}; sampling noise is about {100 * share:.0f} % of the variance"


SHOWN_VARIANCE: tuple[Shown[VariantSummary], ...] = (
    SHOWN_VARIANT,
    Shown("std over seeds, points", "evidence.variance.std", _points),
    Shown("expected from sampling noise alone, points", "evidence.variance.independent_std", _points),
    Shown("std between runs, points", "evidence.variance", _between),
    Shown("its 95 % interval, points", "evidence.variance", _interval),
    Shown("p (sampling noise only)", "evidence.variance.p_luck", p_text),
    Shown("conclusion", "evidence.variance", reading, numeric=False),
)
LEAD = (
    "Seeds differ in accuracy. Part of the difference is noise of this test set. The rest is a real "
    "difference between runs: some networks are better than others, and would be on new images too."
)
HOW_TO_READ = (
    "Runs whose errors are independent from image to image differ by sampling noise alone, with a std of "
    "sqrt(sum p(1 - p)) / N, where p is the probability that a run is right on an image, estimated from the "
    "seeds (divisor n - 1). The std between runs is what the measured std has beyond that (Jordan, arXiv "
    "2304.01910). Its variance is estimated without bias, so the estimate can be below 0. Its interval is "
    "chi-square's, assumes a normal distribution, and is wide for few seeds. p is the probability that "
    "sampling noise alone gives a std this large. With few seeds the test finds little: a large p does not "
    "show that all is noise. The interval shows how large the difference between runs may be."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show how seeds differ beyond test-set noise, and the standard errors over seeds and images."""
    measured = [summary for summary in findings.summaries if summary.evidence]
    several = [summary for summary in measured if summary.evidence and summary.evidence.variance]
    blocks: list[Block] = []
    if several:
        blocks += [
            Block("heading", "Do the seeds differ by more than noise?"),
            Block("text", LEAD),
            page_table("summary", SHOWN_VARIANCE, several),
            explained(HOW_TO_READ),
        ]
    if single := [summary.variant for summary in measured if summary.finished == 1]:
        text = f"{', '.join(single)}: one run. The variance over seeds needs at least two."
        blocks.append(Block("text", text))
    if mixed := [each.variant for each in measured if each.finished > 1 and each not in several]:
        text = (
            f"{', '.join(mixed)}: the runs were evaluated on different images, so seed variance and test-set "
            "noise cannot be separated."
        )
        blocks.append(Block("text", text))
    blocks += standard_errors(findings)
    about = ""
    if len(several) == 1 and several[0].evidence and several[0].evidence.variance:
        about = reading(several[0].evidence.variance)
    elif several:
        about = f"of {len(several)} variants"
    return Section(
        "Seed variance vs test-set noise",
        [*about_accuracy(findings), *blocks] if blocks else [],
        about=about,
    )
