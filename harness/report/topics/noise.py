"""The standard error of an accuracy: over other seeds, over other images, and over both."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.noise import VariantNoise
from harness.analysis.numbers import interval_text, std_text
from harness.analysis.summary import VariantSummary
from harness.report.blocks import Block, explained
from harness.report.topics.table import Column, Shown, Table, form, page_table

NOISE: Table[VariantNoise] = Table(
    "noise",
    "a variant's mean accuracy, or the difference of two variants of a comparison",
    lambda findings: findings.noise,
    (
        Column("variant", "its name; `base` is the study file itself"),
        Column("baseline", "of a difference; empty for an accuracy"),
        Column("n", "its finished runs; of a paired difference the shared seeds", "noise.n"),
        Column("n_baseline", "of a difference that is not paired: the baseline's runs", "noise.n_other"),
        Column("images", "evaluated on", "noise.images"),
        Column(
            "clusters", "groups of images, by `data.cluster`; without it each image is one", "noise.groups"
        ),
        Column("mean", "accuracy; or variant minus baseline", "noise.mean"),
        Column("se_seeds", "its standard error over other seeds, on these images", "noise.se_seeds"),
        Column("se_images", "over other images, with these networks", "noise.se_images"),
        Column("se_both", "over other seeds and other images", "noise.se_both"),
        Column("df", "degrees of freedom of `se_both`", "noise.free"),
        Column("low", "lower end of the 95 % interval over other seeds and other images", "noise.low"),
        Column("high", "its upper end", "noise.high"),
        Column(
            "var_seeds",
            "variance of the seeds' effects, in squared fractions; unbiased, so also negative; empty for a "
            "difference that is not paired, as the next two",
            "noise.var_seeds",
        ),
        Column("var_images", "of the images' effects", "noise.var_images"),
        Column("var_residual", "of what neither explains", "noise.var_residual"),
    ),
)
# columns of summary.csv
SUMMARY: tuple[Column[VariantSummary], ...] = (
    Column(
        "se_seeds", "standard error of the mean over other seeds, on these images", "evidence.noise.se_seeds"
    ),
    Column("se_images", "over other images, with these networks", "evidence.noise.se_images"),
    Column("se_both", "over other seeds and other images", "evidence.noise.se_both"),
)


def _points(fraction: float) -> str:
    return std_text(100 * fraction, 3)


def _grouped(row: VariantNoise) -> bool:
    return row.noise.groups < row.noise.images


SHOWN: tuple[Shown[VariantNoise], ...] = (
    Shown("variant or difference", "what", numeric=False),
    Shown("images", "noise.images", form(",")),
    Shown("clusters of images", "noise.groups", form(","), only_if=_grouped),
    Shown("standard error over seeds, points", "noise.se_seeds", _points),
    Shown("over images, points", "noise.se_images", _points),
    Shown("over both, points", "noise.se_both", _points),
    Shown(
        "95 % interval over both",
        lambda row: None if row.noise.low is None else interval_text(row.noise.low, row.noise.high),
    ),
)
LEAD = (
    "The standard error is the uncertainty of a mean. Over seeds: the recipe is trained again and judged on "
    "the same images. Over images: the same networks are judged on other images. Over both: new networks are "
    "judged on new images."
)
CLUSTERED = " Images of one cluster are not independent, so whole clusters are resampled."
FEW = 100  # below, intervals over images hold the truth too rarely: docs/statistics.md
TOO_FEW = (
    " With fewer than {few} {what} the standard errors over images and over both are too small: a 95 % "
    "interval from 40 contains the true value in about 90 % of cases, from 20 in about 87 %."
)
HOW_TO_READ = (
    "Seeds and images are both samples (two-way random effects; Miller, arXiv 2411.00640). Squared, the "
    "standard error over both is less than the sum of the other two: the randomness of one network on one "
    "image is in both of them, and counts once. In a difference of two variants, the difficulty of an image "
    "for both cancels. Comparisons on this page use the standard error over seeds, because the variants "
    "share their images. For a claim about other images, use the one over both."
)


def standard_errors(findings: Findings) -> list[Block]:
    """Return the standard errors of every mean and difference."""
    rows = findings.noise
    if not rows:
        return []
    grouped = any(map(_grouped, rows))
    lead = LEAD + CLUSTERED * grouped
    if any(row.noise.groups < FEW for row in rows):
        lead += TOO_FEW.format(few=FEW, what="clusters" if grouped else "images")
    return [
        Block("heading", "Standard errors over seeds and over images"),
        Block("text", lead),
        page_table("noise", SHOWN, rows),
        explained(HOW_TO_READ),
    ]
