"""What could not be drawn or measured, and why."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures

TABLES = ()


def section(findings: Findings, figures: Figures) -> Section:
    """List the notes."""
    return Section(
        "Missing figures and measurements", [Block("list", items=figures.notes)] if figures.notes else []
    )
