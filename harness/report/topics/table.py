"""A table as one list of columns: what its CSV file holds, and what the documentation says of it.

What a page shows is rounded and in words, so it has a list of its own: a heading and a text of a row each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harness.analysis.findings import Findings
from harness.report.blocks import Block
from harness.store.run_files import csv_text

MOST_ROWS = 60  # of a long table on the page; its CSV file has all of them
Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a CSV file. The names are a contract: others' scripts read them.

    Attributes:
        value: of a row, not rounded; None is an empty cell. Left out: the row's own attribute or key.
    """

    name: str
    meaning: str
    value: Callable[[Row], object] | None = None


@dataclass(frozen=True)
class Table(Generic[Row]):
    """``tables/<name>.csv``.

    Attributes:
        each_row_is: ``a run, finished or not``.
    """

    name: str
    each_row_is: str
    rows: Callable[[Findings], Iterable[Row]]
    columns: Sequence[Column[Row]]

    def csv(self, findings: Findings) -> str:
        """Return the file's content."""
        values = [column.value or attribute(column.name) for column in self.columns]
        cells = ([value(row) for value in values] for row in self.rows(findings))
        return csv_text([column.name for column in self.columns], cells)


@dataclass(frozen=True)
class Shown(Generic[Row]):
    """A column of a table on the page.

    Attributes:
        text: of a row; None is shown as a dash.
        numeric: whether it holds numbers.
        only_if: of a row; where it holds of none, the column is left out.
    """

    heading: str
    text: Callable[[Row], object]
    numeric: bool = True
    only_if: Callable[[Row], object] | None = None


VARIANT: Column[Any] = Column("variant", "its name; `base` is the study file itself")
RUN: tuple[Column[Any], ...] = (VARIANT, Column("seed", "of the run"))
SHOWN_VARIANT: Shown[Any] = Shown("variant", lambda row: row.variant, numeric=False)


def page_table(csv: str, columns: Iterable[Shown[Row]], rows: Sequence[Row], title: str = "") -> Block:
    """Show rows on the page; ``tables/<csv>.csv`` has their numbers unrounded."""
    shown = [each for each in columns if each.only_if is None or any(map(each.only_if, rows))]
    return Block(
        "table",
        header=[each.heading for each in shown],
        rows=[["–" if (text := each.text(row)) is None else str(text) for each in shown] for row in rows],
        numeric=frozenset(at for at, each in enumerate(shown) if each.numeric),
        title=title,
        files=[f"tables/{csv}.csv"],
    )


def attribute(path: str, write: Callable[[Any], object] | None = None) -> Callable[[Any], object]:
    """Return a function that reads a row's attribute or key, such as ``spread.low``.

    Args:
        write: is given the value where it is not None.
    """
    names = path.split(".")

    def read(row: Any) -> object:
        for name in names:
            if row is None:
                return None
            row = row[name] if isinstance(row, dict) else getattr(row, name)
        return row if write is None or row is None else write(row)

    return read


def number(path: str, pattern: str, scale: int = 1) -> Callable[[Any], object]:
    """Return a function that writes a row's number, such as ``100 * row.spread.low`` as ``.2f``."""
    return attribute(path, lambda value: f"{scale * value:{pattern}}")
