"""How many runs reached the target."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import target
from tests.lab import rows, sections


def test_the_share_of_runs_that_reached_the_target_has_its_interval(findings: Findings) -> None:
    base, other = rows(sections(findings, target))
    assert base[1:3] == ["100 (29 to 100)", "3 of 3"]
    assert other[1] == "50 (1 to 99)"
    assert other[6] == "–"  # one finished run tests no mean
