"""The report's sentences and tables about target, baseline and published numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.analysis.comparisons import compare_variants
from harness.analysis.references import compare_references
from harness.analysis.results import Results, read_results
from harness.analysis.summary import VariantSummary, summarise
from harness.report import findings
from harness.report.blocks import Block

Lab = Callable[..., Any]


def read(lab: Any) -> tuple[Results, list[VariantSummary]]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return results, summarise(results)


def rows(blocks: list[Block]) -> list[list[str]]:
    return [list(row) for block in blocks if block.kind == "table" for row in block.rows]


def references(results: Results, summaries: list[VariantSummary]) -> list[Block]:
    return findings.references(results, compare_references(results.study, summaries))


def text(blocks: list[Block]) -> str:
    return " ".join(block.text for block in blocks)


@pytest.fixture(scope="module")
def place(shared_lab: Lab) -> Any:
    """Three seeds of one variant, one of another, a failed run, and a published number."""
    made = shared_lab(
        target={"test_accuracy": 0.01},  # reached on any machine, however its sums are rounded
        variants={"no_cutout": {"augment.train": []}},
        references={"paper": {"test_accuracy": 0.9, "source": "a paper"}},
    )
    for seed in range(3):
        made.finish("base", seed)
    made.finish("no_cutout", 1)
    made.fail("no_cutout", 2)
    return made


def test_the_share_of_runs_that_reached_the_target_has_its_interval(place: Any) -> None:
    _, summaries = read(place)
    base, other = rows(findings.target(summaries))
    assert base[1:3] == ["3 of 3", "29 to 100"]
    assert other[1:3] == ["1 of 2", "1 to 99"]
    assert other[7] == "–"  # one finished run tests no mean


def test_comparisons_say_that_failed_runs_are_not_in_them(place: Any) -> None:
    results, _ = read(place)
    blocks = findings.comparisons(results, compare_variants(results))
    assert rows(blocks)[0][:2] == ["no_cutout", "cannot tell with n = 1"]
    assert "Failed runs are in no difference of accuracies: no_cutout." in text(blocks)
    assert "never two recipes" in text(blocks)


def test_the_baselines_failed_runs_are_named_too(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}, "alone": {"optimizer.momentum": 0.1}})
    for variant in ("base", "no_cutout"):
        made.finish(variant, 0)
    made.fail("base", 1)
    made.fail("no_cutout", 2)
    blocks = findings.comparisons(read(made)[0], compare_variants(read(made)[0]))
    assert "Failed runs are in no difference of accuracies: base, no_cutout." in text(blocks)


def test_a_study_of_one_variant_has_no_comparisons(lab: Lab) -> None:
    made = lab()
    made.finish()
    assert findings.comparisons(read(made)[0], compare_variants(read(made)[0])) == []


def test_one_seed_does_not_judge_a_published_number(place: Any) -> None:
    base, other = rows(references(*read(place)))[1:]
    assert base[-1] in ("yes", "no")
    assert other[-1] == "not judged: one run"
    assert "–" not in base


def test_without_a_finished_run_nothing_is_said(lab: Lab) -> None:
    results, summaries = read(lab())
    for blocks in (
        findings.target(summaries),
        references(results, summaries),
    ):
        assert blocks == []
