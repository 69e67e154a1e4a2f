"""The structure of a report, without any markup: blocks, in sections, in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from harness.report.figures.style import Picture


EXPLANATION = "How to read this"


class Cell(str):
    """The text of a table's cell, with addresses for the page.

    Attributes:
        to: what a click opens: a place on the page, such as ``#every-run``, or a file beside it.
        anchor: the cell's own place on the page.
    """

    to: str
    anchor: str

    def __new__(cls, text: str, to: str = "", anchor: str = "") -> Cell:
        """Return the text with its addresses."""
        cell = super().__new__(cls, text)
        cell.to, cell.anchor = to, anchor
        return cell


@dataclass(frozen=True)
class Block:
    """One piece of a section.

    Attributes:
        kind: ``heading`` (below the section's), ``text``, ``warning``, ``list`` (``items``), ``table``
            (``header``, ``rows``), ``figure`` (``picture``, ``file``), ``variants`` (``figures``)
            or ``code``.
        title: of a figure; or of a folded text, table or code, which the page shows when it is opened.
        figures: the same figure of several variants, each with its variant as the title; the page shows one
            at a time.
        numeric: which columns of a table hold numbers.
        photos: whether a figure is made of images, whose colours a dark page keeps.
        files: what the page offers for download with a table or figure, such as ``tables/summary.csv``.
    """

    kind: Literal["heading", "text", "warning", "list", "table", "figure", "variants", "code"]
    text: str = ""
    items: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numeric: frozenset[int] = frozenset()
    picture: Picture | None = None
    file: str = ""
    title: str = ""
    photos: bool = False
    files: Sequence[str] = ()
    figures: Sequence[Block] = ()


def explained(text: str) -> Block:
    """Return an explanation of a table, which is folded on the page."""
    return Block("text", text, title=EXPLANATION)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        about: the key number, or the content in a few words: the page shows it where the section is folded.
        folded: whether the page shows the section only when it is opened.
    """

    title: str
    blocks: list[Block]
    about: str = ""
    folded: bool = False


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
