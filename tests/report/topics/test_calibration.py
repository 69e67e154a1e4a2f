"""Scores of the probabilities."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import calibration
from tests.lab import rows, sections


def test_every_plus_minus_has_its_n_beside_it(findings: Findings) -> None:
    base, other = rows(sections(findings, calibration))
    assert base[1] == "3" and all("±" in cell for cell in base[2:])
    assert other[1] == "1" and not any("±" in cell for cell in other)
