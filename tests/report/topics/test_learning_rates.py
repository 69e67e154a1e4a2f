"""The rates that the range tests chose, and those of the steps."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.topics import learning_rates
from tests.lab import MakeLab, rows, sections


def test_corners_stand_beside_the_highest_rate_of_a_step(findings: Findings) -> None:
    test, base, other = rows(sections(findings, learning_rates))
    assert test == ["base", "0.01", "0.1", "accuracy", "0", "yes", "–"]
    assert base[1:] == other[1:] == ["0.01", "0.1", "0.1", "10 of 36", "0.01"]


def test_a_damaged_range_test_says_so(lab: MakeLab) -> None:
    made = lab()
    made.sweep()
    made.folder.range_test_csv("base").write_text("damaged")
    (row,) = rows(sections(made.findings(), learning_rates))
    assert row == ["base", "–", "–", "–", "–", "–", "damaged: base.csv (its checksum does not match)"]
