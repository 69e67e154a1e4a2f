"""The environment of the runs: time, cost, code, machine, data and versions."""

from __future__ import annotations

from harness.analysis.cost import cost, times
from harness.analysis.findings import Findings
from harness.analysis.provenance import origins
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures

TABLES = ()


def section(findings: Findings, figures: Figures) -> Section:
    """Show what the runs recorded; nothing before the first run."""
    results = findings.results
    tables = {
        "Times and cost": [*times(results), *cost(results)],
        "Code, machine, data and versions": origins(results),
    }
    blocks = []
    for title, rows in tables.items():
        if rows:
            blocks += [Block("heading", title), Block("table", header=("property", "value"), rows=rows)]
    if blocks:
        text = "The record of each run is runs/<variant>/seed-<n>/run.json."
        blocks.append(Block("text", text))
    return Section("Environment and provenance", blocks)
