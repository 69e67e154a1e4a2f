"""Grad-CAM: which places of an image speak for a class."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.blocks import Section
from harness.report.topics.figures import Figures

TABLES = ()


def section(findings: Findings, figures: Figures) -> Section:
    """Show the maps."""
    return Section("Grad-CAM", figures("gradcam"), about="image regions that support a class")
