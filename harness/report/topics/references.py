"""Published numbers against ours."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text
from harness.analysis.references import ReferenceComparison, claims, consistency
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, Table, page_table, percent
from harness.study_file.targets import Reference

REFERENCES: Table[ReferenceComparison] = Table(
    "references",
    "a published number and a variant",
    lambda findings: findings.references,
    (
        Column("reference", "its name in the study", "name"),
        Column("published", "the number; a fraction but for metrics that are none", "standing.published"),
        Column("runs", "that were published", "claim.reference.runs"),
        Column("variant", "compared with it"),
        Column(
            "n", "its finished runs; for a `share` failed ones too, which have not reached it", "standing.n"
        ),
        Column("difference", "published minus measured", "standing.difference"),
        Column(
            "percentile", "of a published single run among the runs; empty for more", "standing.percentile"
        ),
        Column(
            "prediction_low",
            "of the 95 % prediction interval for as many further runs; of fractions cut at 0 and 1",
            "standing.low",
        ),
        Column("prediction_high", "its upper end", "standing.high"),
        Column(
            "plausible",
            "`no` where our runs exclude the published number (`p_holm` of at most 0.05), else `yes`; empty "
            "where it is not judged",
            lambda compared: {True: "yes", False: "no", None: None}[compared.plausible],
        ),
        Column("source", "who published it", "claim.reference.source"),
        Column(
            "statistic",
            "what was published: `mean` or `median` of `metric`, or the `share` of runs at `at_least` or "
            "more",
            "claim.statistic",
        ),
        Column(
            "at_least",
            "the value of a `share`",
            lambda compared: (
                compared.claim.reference.at_least if compared.claim.statistic == "share" else None
            ),
        ),
        Column("measured", "the same statistic of our runs", "standing.measured"),
        Column(
            "p",
            "of the published runs being runs of this recipe: the t test of the prediction interval; of a "
            "`share` twice the smaller one-sided p of Fisher's exact test",
            "standing.p",
        ),
        Column("p_holm", "after Holm's correction over all rows with a p"),
        Column("metric", "what was published", "claim.metric.name"),
    ),
)
TABLES = (REFERENCES,)

Published = tuple[str, Reference]
SHOWN_SOURCES: tuple[Shown[Published], ...] = (
    Shown("published", lambda row: row[0], numeric=False),
    Shown("published value", lambda row: "; ".join(claim.text for claim in claims(row[1])), numeric=False),
    Shown("compared with variant", lambda row: row[1].variant or "all variants", numeric=False),
    Shown("source", lambda row: row[1].source or None, numeric=False),
)


def _number(compared: ReferenceComparison) -> str:
    return compared.claim.text if compared.claim.statistic == "share" else compared.claim.statistic


def _difference(compared: ReferenceComparison) -> str:
    units = compared.claim.units
    return units.signed(units.metric.oriented(compared.standing.difference))


def _shown(shares: bool) -> tuple[Shown[ReferenceComparison], ...]:
    """Return the columns; the headings have a unit where all numbers have the same."""
    percents, points = (", %", ", points") if shares else ("", "")
    return (
        Shown("published", "name", numeric=False),
        Shown("number", _number, numeric=False),
        SHOWN_VARIANT,
        Shown("our n", "standing.n"),
        Shown(f"published{percents}", lambda row: row.claim.units.value(row.standing.published)),
        Shown(f"ours{percents}", lambda row: row.claim.units.value(row.standing.measured)),
        Shown(f"published - ours{points}", _difference),
        Shown(
            "percentile among our runs",
            "standing.percentile",
            percent(0),
            only_if=lambda compared: compared.standing.percentile is not None,
        ),
        Shown(
            f"95 % prediction interval{percents}",
            lambda row: row.claim.units.interval(row.standing.low, row.standing.high),
        ),
        Shown("p, Holm", "p_holm", p_text),
        Shown("consistent with our runs", consistency, numeric=False),
    )


HOW_TO_READ = (
    "A published number is compared with the 95 % prediction interval of our runs: in 95 of 100 cases it "
    "contains one further run, or the mean, the median or the share of as many further runs as were "
    "published. For a mean or a median it assumes normally distributed results and is centred at our mean. "
    "For a share it assumes nothing (Fisher's exact test), and a failed run counts as not reached. A number "
    "is not consistent with our runs if p ≤ 0.05 after Holm's correction over all rows of the table. "
    "Consistent does not mean reproduced: few runs give wide intervals, which exclude little."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show what was published, and whether our runs are consistent with it."""
    blocks = []
    if published := list(findings.results.study.references.items()):
        blocks.append(page_table("references", SHOWN_SOURCES, published))
    if findings.references:
        shares = all(compared.claim.units.metric.share for compared in findings.references)
        blocks += [page_table("references", _shown(shares), findings.references), Block("text", HOW_TO_READ)]
    judged = [compared.plausible for compared in findings.references if compared.plausible is not None]
    about = (
        f"{sum(judged)} of {len(judged)} consistent with our runs" if judged else ", ".join(dict(published))
    )
    return Section("Comparison with published numbers", blocks, about=about)
