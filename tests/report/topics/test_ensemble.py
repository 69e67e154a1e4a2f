"""Ensemble and seed agreement."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import ensemble
from tests.lab import rows, sections


def test_an_ensemble_needs_several_seeds(findings: Findings) -> None:
    _, table, _, images = sections(findings, ensemble)
    assert [row[0] for row in table.rows] == ["base"]
    assert images.title == "base: images misclassified by all seeds, those with most agreement first"


def test_the_images_that_all_miss_are_named_with_their_classes(findings: Findings) -> None:
    *_, images = sections(findings, ensemble)
    assert 0 < len(images.rows) <= ensemble.MOST_IMAGES
    evidence = findings.summaries[0].evidence
    assert evidence is not None and evidence.missed is not None
    first = evidence.missed[0]
    assert rows([images])[0] == [
        str(first.index),
        str(first.label),
        str(first.predicted),
        f"{first.votes} of 3",
    ]
