"""Training images before and after augmentation."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.report.blocks import Section
from harness.report.topics.figures import Figures

TABLES = ()


def section(findings: Findings, figures: Figures) -> Section:
    """Show training images before and after augmentation."""
    return Section("Training images", figures("augmented"), about="before and after augmentation")
