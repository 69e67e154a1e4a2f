"""A report's topics: each a file with its tables, its explanations and its section of the page.

A new statistic belongs in the file of its topic; a new topic is a new file, added to ``TOPICS``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from harness.analysis.findings import Findings
from harness.analysis.headline import headline
from harness.report.blocks import EXPLANATION, Report, Section
from harness.report.figures.style import short
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
    gradcam,
    leakage,
    learning_rates,
    left_out,
    metrics,
    misclassified,
    network,
    provenance,
    references,
    repeat,
    runs,
    target,
    variance,
)
from harness.report.topics.figures import Figures
from harness.report.topics.table import Table

MOST_ABOUT = 90  # characters beside the heading of a folded section


class Topic(Protocol):
    """The content of a module here, except ``table``, ``figures``, ``summary`` and ``ranking``."""

    @property
    def TABLES(self) -> tuple[Table[Any], ...]:
        """The CSV tables of the topic."""

    def section(self, findings: Findings, figures: Figures) -> Section:
        """Return its section of the page, which is left out if it has no blocks."""


TOPICS: tuple[Topic, ...] = (
    claim, accuracy, comparisons, left_out,
    references, target, variance, components, metrics, runs,
    classes, misclassified, calibration, ensemble, learning_rates, gradcam, attribution, augmentation,
    network, leakage, provenance, repeat,
)  # fmt: skip
OPEN: tuple[Topic, ...] = (claim, accuracy, comparisons, left_out)  # the page folds all others
TABLES = tuple(table for topic in TOPICS for table in topic.TABLES)


def csv_tables(findings: Findings) -> dict[str, str]:
    """Return name -> CSV text of every table; numbers are not rounded, unknown numbers are empty cells."""
    return {table.name: table.csv(findings) for table in TABLES}


def compose(findings: Findings, figures: Figures) -> Report:
    """Return the report of a study, without any markup."""
    study = findings.results.study
    sections = [(topic, topic.section(findings, figures)) for topic in TOPICS]
    return Report(
        title=study.title,
        question=study.asked,
        verdict=headline(findings),
        met=findings.met,
        sections=[_placed(topic, section) for topic, section in sections if section.blocks],
    )


def _placed(topic: Topic, section: Section) -> Section:
    """Fold a section, unless its topic stays open or it has a warning; say what is inside."""
    warns = any(block.kind == "warning" for block in section.blocks)
    inside = [block.text if block.kind == "heading" else block.title for block in section.blocks]
    about = section.about or short(
        ", ".join(dict.fromkeys(title for title in inside if title not in ("", EXPLANATION))), MOST_ABOUT
    )
    return replace(section, folded=topic not in OPEN and not warns, about=about)
