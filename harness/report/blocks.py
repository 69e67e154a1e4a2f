"""The structure of a report, without any markup: blocks, in sections, in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from harness.report.figures.style import Picture


@dataclass(frozen=True)
class Block:
    """One piece of a section.

    Attributes:
        kind: ``heading`` (below the section's), ``text``, ``warning``, ``list`` (``items``), ``table``
            (``header``, ``rows``), ``figure`` (``picture``, ``file``) or ``code``.
        title: of a figure; or of a folded text, table or code, which the page shows when it is opened.
        numeric: which columns of a table hold numbers.
        files: what the page offers for download with a table or figure, such as ``tables/summary.csv``.
    """

    kind: Literal["heading", "text", "warning", "list", "table", "figure", "code"]
    text: str = ""
    items: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numeric: frozenset[int] = frozenset()
    picture: Picture | None = None
    file: str = ""
    title: str = ""
    files: Sequence[str] = ()


def explained(text: str) -> Block:
    """Return an explanation of a table, which is folded on the page."""
    return Block("text", text, title="How to read this")


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Report:
    """A whole report, without any markup.

    Attributes:
        verdict: the answer in one sentence.
        met: whether every run that was asked for reached the target.
        alone: whether the page has no tables and figures beside it.
    """

    title: str
    question: str
    verdict: str
    met: bool
    sections: list[Section]
    alone: bool = False
