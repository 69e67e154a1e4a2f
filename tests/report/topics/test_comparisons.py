"""Comparisons on the page: what is not in them, and what one pair of networks can say."""

from __future__ import annotations

from typing import Any

from harness.analysis.findings import Findings
from harness.report.topics import comparisons
from harness.report.topics.figures import Figures
from tests.lab import MakeLab, rows, sections, text

ONE: dict[str, dict[str, Any]] = {"no_cutout": {"augment.train": []}}


def test_failed_runs_are_said_to_be_in_no_comparison(findings: Findings) -> None:
    blocks = sections(findings, comparisons)
    assert rows(blocks)[0][:2] == ["no_cutout", "not tested over seeds (n = 1)"]
    assert "Differences of means do not include failed runs: no_cutout." in text(blocks)
    assert "not two recipes" in text(blocks)


def test_the_baselines_failed_runs_are_named_too(lab: MakeLab) -> None:
    made = lab(variants={**ONE, "alone": {"optimizer.momentum": 0.1}})
    for variant in ("base", "no_cutout"):
        made.finish(variant, 0)
    made.fail("base", 1)
    made.fail("no_cutout", 2)
    words = text(sections(made.findings(), comparisons))
    assert "Differences of means do not include failed runs: base, no_cutout." in words


def test_pairs_are_named_where_all_are_compared(lab: MakeLab) -> None:
    made = lab(variants={**ONE, "slow": {"optimizer.momentum": 0.1}}, seeds=[0], comparisons="all")
    for variant in made.study.recipes:
        made.finish(variant, 0)
    findings = made.findings()
    assert comparisons.section(findings, Figures({})).title == "Variants compared"
    assert [row[0] for row in rows(sections(findings, comparisons))] == [
        "no_cutout against base",
        "slow against base",
        "slow against no_cutout",
    ]


def test_what_cannot_be_compared_has_a_row_that_says_nothing(lab: MakeLab) -> None:
    made = lab(variants=ONE)
    made.finish("base", 0)
    findings = made.findings()
    (row,) = rows(sections(findings, comparisons))
    assert row[:4] == ["no_cutout", "not compared: it has no finished run", "–", "–"]
    line = comparisons.COMPARISONS.csv(findings).splitlines()[1]
    assert [cell for cell in line.split(",") if cell] == ["no_cutout", "base", "cannot tell"]


def test_margin_seeds_that_lie_apart_and_failures_have_columns_where_there_are_any(lab: MakeLab) -> None:
    variants = {"bad": {"optimizer.momentum": 0.1}, "lost": {"optimizer.momentum": 0.99}}
    made = lab(variants=variants, seeds=list(range(6)), margin=0.01)
    for seed, more in enumerate((0, 3, -2, 4, 1, -3)):
        made.finish("base", seed, logits=made.logits(320 + more))
        made.finish("bad", seed, logits=made.logits(321 - more - 60 * (seed == 2)))
        made.fail("lost", seed)
    blocks = sections(made.findings(), comparisons)
    (table,) = (block for block in blocks if block.kind == "table")
    bad, lost = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert (bad["margin"], bad["outlier"]) == ("not shown", "seed 2 of bad")
    assert lost["failed, of both (p)"] == "6 of 6, 0 of 6 (0.0022): fails more often"
    words = text(blocks)
    assert "Without the outlier seed 2 of bad: 0.28 points worse" in words
    assert "no significant result about the margin of 1 point" in words
    plain = {"margin", "p (common spread)", "outlier", "failed, of both (p)"}
    other = lab(name="other", variants={"slow": {"optimizer.momentum": 0.1}}, seeds=[0, 1])
    for variant in ("base", "slow"):
        other.finish(variant, 0)
    (table,) = (block for block in sections(other.findings(), comparisons) if block.kind == "table")
    assert not plain & set(table.header)
