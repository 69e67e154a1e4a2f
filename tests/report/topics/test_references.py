"""Published numbers on the page."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import references
from tests.lab import rows, sections


def test_one_seed_does_not_judge_a_published_number(findings: Findings) -> None:
    source, base, other = rows(sections(findings, references))
    assert source == ["paper", "90 %, 1 run", "all variants", "a paper"]
    assert base[-1] == "no" or base[-1].startswith("yes (interval ")
    assert "–" not in base
    assert other[-1] == "not judged: one run"
