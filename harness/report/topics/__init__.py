"""A report's topics: each a file with its tables, its explanations and its section of the page.

A new statistic belongs in the file of its topic; a new topic is a new file, added to ``TOPICS``.
"""

from __future__ import annotations

from typing import Any, Protocol

from harness.analysis.findings import Findings
from harness.report.blocks import Report, Section
from harness.report.topics import (
    accuracy,
    attribution,
    augmentation,
    calibration,
    claim,
    classes,
    comparisons,
    components,
    ensemble,
    leakage,
    learning_rates,
    left_out,
    metrics,
    network,
    noise,
    provenance,
    references,
    repeat,
    runs,
    target,
    variance,
)
from harness.report.topics.figures import Figures
from harness.report.topics.table import Table


class Topic(Protocol):
    """The content of a module here, except ``table``, ``figures``, ``summary`` and ``ranking``."""

    @property
    def TABLES(self) -> tuple[Table[Any], ...]:
        """The CSV tables of the topic."""

    def section(self, findings: Findings, figures: Figures) -> Section:
        """Return its section of the page, which is left out if it has no blocks."""


TOPICS: tuple[Topic, ...] = (
    claim, accuracy, metrics, target, comparisons, references, variance, components, noise, runs,
    learning_rates,
    classes, calibration, ensemble, attribution, augmentation, network, leakage, left_out, provenance, repeat,
)  # fmt: skip
TABLES = tuple(table for topic in TOPICS for table in topic.TABLES)


def csv_tables(findings: Findings) -> dict[str, str]:
    """Return name -> CSV text of every table; numbers are not rounded, unknown numbers are empty cells."""
    return {table.name: table.csv(findings) for table in TABLES}


def compose(findings: Findings, figures: Figures) -> Report:
    """Return the report of a study, without any markup."""
    study = findings.results.study
    sections = [topic.section(findings, figures) for topic in TOPICS]
    return Report(
        title=study.title,
        question=study.asked,
        verdict=findings.verdict,
        met=findings.met,
        sections=[section for section in sections if section.blocks],
    )
