"""Sources of variance: a row for each source, and what sharing it gives a comparison."""

from __future__ import annotations

import math

from harness.analysis.components import (
    CROSSED,
    SINGLE,
    Pairing,
    SourceVariance,
    component_sentences,
    pairing_sentences,
)
from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text
from harness.analysis.units import Units
from harness.report.blocks import Block, Section, explained
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
)

COMPONENTS: Table[SourceVariance] = Table(
    "variance_components",
    "a source of randomness of a variant whose `vary` is not the default",
    lambda findings: findings.sources.components,
    (
        VARIANT,
        Column(
            "design", "`crossed`: every combination of levels; `one at a time`: the rest is held at seed 0"
        ),
        Column("source", "one of `vary`, several joined by ` + `, or `the rest` of a crossed design"),
        Column("levels", "of a crossed design's source"),
        Column("runs", "finished ones"),
        Column("df", "degrees of freedom", "component.degrees"),
        Column("mean_square", "of the analysis of variance, squared (of fractions)", "component.mean_square"),
        Column(
            "variance",
            "of the target's metric by this source, squared (of fractions); unbiased, so also negative; "
            "empty where its levels change nothing",
            "component.variance",
        ),
        Column("variance_low", "lower end of its 95 % interval, cut at 0", "component.low"),
        Column("variance_high", "its upper end", "component.high"),
        Column("std", "root of `variance`, cut at 0", "component.std"),
        Column("share", "of the whole, see docs/variance.md"),
        Column("share_low", "lower end of its 95 % interval, of one source at a time"),
        Column("share_high", "its upper end"),
        Column("f", "F ratio of a crossed design's source", "component.f"),
        Column("p", "of its giving no variance", "component.p"),
        Column("p_holm", "after Holm's correction over the sources of the variant"),
        Column(
            "noise_seeds",
            "std expected from sampling noise alone: errors independent from image to image",
            "images_std",
        ),
    ),
)
PAIRING: Table[Pairing] = Table(
    "pairing",
    "a source that two variants with the same crossed levels share, or the whole seed",
    lambda findings: findings.sources.pairings,
    (
        VARIANT,
        Column("baseline", "the variant that it is compared with"),
        Column("source", "that two runs share"),
        Column("levels", "of the source"),
        Column("runs", "of each variant"),
        Column(
            "correlation",
            "of the target's metric in two runs, one of each variant, that share this alone",
            "shared.correlation",
        ),
        Column("correlation_low", "lower end of its 95 % interval", "shared.low"),
        Column("correlation_high", "its upper end", "shared.high"),
        Column(
            "pairing_gain",
            "share of the variance of a difference that sharing it takes away; below 0 it adds",
            "shared.gain",
        ),
    ),
)
TABLES = (COMPONENTS, PAIRING)


def _interval(row: SourceVariance, units: Units) -> str | None:
    component = row.component
    if component is None or component.low is None or component.high is None:
        return None
    low, high = (units.std(math.sqrt(end), 2) for end in (component.low, component.high))
    return f"{low} to {high}"


def _std(row: SourceVariance, units: Units) -> str:
    if row.component is None:
        return "no effect"
    return "0 (estimate below 0)" if row.component.variance < 0 else units.std(row.component.std)


def _share_interval(row: SourceVariance) -> str | None:
    if row.share_low is None or row.share_high is None:
        return None
    return f"{100 * row.share_low:.0f} to {100 * row.share_high:.0f}"


def _correlation_interval(row: Pairing) -> str | None:
    low, high = row.shared.low, row.shared.high
    return None if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _shown(units: Units) -> tuple[Shown[SourceVariance], ...]:
    return (
        SHOWN_VARIANT,
        Shown("source", "source", numeric=False),
        Shown("levels", "levels", only_if="levels"),
        Shown("runs", "runs"),
        Shown(units.heading("std", difference=True), lambda row: _std(row, units)),
        Shown(units.heading("its 95 % interval", difference=True), lambda row: _interval(row, units)),
        Shown("share of the variance, %", "share", percent(0)),
        Shown("its 95 % interval, %", _share_interval, only_if="share_low"),
        Shown("p (no variance)", "component.p", p_text, only_if="component.p"),
        Shown("after Holm", "p_holm", p_text, only_if="p_holm"),
        Shown("expected from sampling noise alone, points", "images_std", units.std, only_if="images_std"),
    )


SHOWN_PAIRING: tuple[Shown[Pairing], ...] = (
    SHOWN_VARIANT,
    Shown("against", "baseline", numeric=False),
    Shown("sharing", "source", numeric=False),
    Shown("correlation", "shared.correlation", form(".2f")),
    Shown("its 95 % interval", _correlation_interval),
    Shown("variance of a difference saved, %", "shared.gain", percent(0)),
)
CROSSED_TEXT = (
    "Crossed design: every combination of the sources' levels has one run. The component of a source is the "
    "variance that it causes by itself. The rest is what no single source explains: interactions of two or "
    "more sources, and effects that cannot be repeated. Training is chaotic: often every combination gives "
    "another network, and most of the variance is the rest. The estimates are unbiased (analysis of variance "
    "with random effects; Searle, Casella and McCulloch 1992), so small ones can be below 0. The intervals "
    "(Ting et al. 1990; chi-square for the rest of two sources) assume normal effects, and are wide for few "
    "levels, however many runs share them. p is of the F test; with three sources or more of Satterthwaite's "
    "test, which finds less. The share is of the sum of the components, with those below 0 taken as 0. "
    "Sampling noise, errors that are independent from image to image, is part of the rest."
)
SINGLE_TEXT = (
    "One at a time: the named sources took the runs' seeds, and the others were held at seed 0. The std is "
    "over these runs, with its chi-square interval. The share is of the variance of the variant that varies "
    "all sources, with its F interval. Interactions of two sources count for both, so shares may add up to "
    "more than 100 %. With another seed for the held sources the result may be another."
)
PAIRING_TEXT = (
    "Runs of two variants that share a level, such as the same initialisation, may differ by less than runs "
    "that share nothing. The correlation is of two runs, one of each variant, that share this source alone. "
    "Sharing it reduces the variance of their difference by 2 x covariance. The paired comparison shares the "
    "whole seed, and so every source. The interval is approximate, and is given from 9 degrees of freedom of "
    "the rest."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the components, and what pairing gives; nothing where every variant varies by the default."""
    found, units = findings.sources, Units(findings.results.metric)
    blocks: list[Block] = []
    for design, text in ((CROSSED, CROSSED_TEXT), (SINGLE, SINGLE_TEXT)):
        if rows := [row for row in found.components if row.design == design]:
            if design == CROSSED:
                blocks += [Block("text", line) for line in component_sentences(found, units)]
            blocks += [page_table("variance_components", _shown(units), rows), explained(text)]
    blocks += [Block("warning", line) for line in found.obstacles]
    blocks += figures("variance_components")
    about = ", ".join(dict.fromkeys(row.source for row in found.components))
    if found.pairings:
        blocks += [Block("text", line) for line in pairing_sentences(found)]
        blocks += [page_table("pairing", SHOWN_PAIRING, found.pairings), explained(PAIRING_TEXT)]
    return Section("Sources of variance", blocks, about=about)
