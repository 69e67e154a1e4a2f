"""Tables, each as a list of columns: the content of its CSV file, and its documentation.

A page shows rounded numbers and words, so it has its own list: each column with a heading and a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from harness.analysis.findings import Findings
from harness.report.blocks import Block
from harness.store.run_files import csv_text

MOST_ROWS = 60  # of a long table on the page; its CSV file has all of them
Row = TypeVar("Row")
Value = str | Callable[[Row], object]


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a CSV file. The names are a contract: others' scripts read them.

    Attributes:
        value: the cell's value, not rounded: a path of attributes of the row, such as ``evidence.images``,
            or a function of the row. By default the attribute of the column's name. None is an empty cell.
        change: a function applied to the value where it is not None.
    """

    name: str
    meaning: str
    value: Value[Row] = ""
    change: Callable[[Any], object] | None = None

    @property
    def read(self) -> Callable[[Row], object]:
        """A function from a row to the value of this column."""
        return _reader(self.value or self.name, self.change)


@dataclass(frozen=True)
class Table(Generic[Row]):
    """``tables/<name>.csv``.

    Attributes:
        each_row_is: for the documentation, such as ``a run, finished or not``.
        rows: objects or dictionaries.
    """

    name: str
    each_row_is: str
    rows: Callable[[Findings], Iterable[Row]]
    columns: Sequence[Column[Row]]

    def csv(self, findings: Findings) -> str:
        """Return the file's content."""
        readers = [column.read for column in self.columns]
        cells = ([read(row) for read in readers] for row in self.rows(findings))
        return csv_text([column.name for column in self.columns], cells)


def records(table: Table[Row], rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return rows of a table for JSON: column -> value, None where the CSV file has an empty cell."""
    readers = {column.name: column.read for column in table.columns}
    return [{name: _plain(read(row)) for name, read in readers.items()} for row in rows]


def _plain(value: object) -> object:
    """Return a number that JSON can have: infinity and NaN become the text of the CSV file."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Shown(Generic[Row]):
    """A column of a table on the page.

    Attributes:
        value: as in :class:`Column`; None is shown as a dash.
        write: a function from the value to its text.
        numeric: whether it holds numbers.
        only_if: a value of a row; where it is false for all rows, the column is left out.
    """

    heading: str
    value: Value[Row]
    write: Callable[[Any], object] | None = None
    numeric: bool = True
    only_if: Value[Row] | None = None


def renamed(old: str, new: str, value: Value[Any] = "") -> Column[Any]:
    """Return a column under the name that it had until version 0.2."""
    meaning = f"the old name of `{new}`: deprecated, left out from version 0.4 on"
    return Column(old, meaning, value or new)


VARIANT: Column[Any] = Column("variant", "its name; `base` is the study file itself")
RUN: tuple[Column[Any], ...] = (VARIANT, Column("seed", "of the run"))
SHOWN_VARIANT: Shown[Any] = Shown("variant", "variant", numeric=False)


def page_table(csv: str, columns: Iterable[Shown[Row]], rows: Sequence[Row], title: str = "") -> Block:
    """Return a table for the page; ``tables/<csv>.csv`` has its numbers unrounded."""
    shown = [
        column for column in columns if column.only_if is None or any(map(_reader(column.only_if), rows))
    ]
    readers = [_reader(column.value, column.write) for column in shown]
    return Block(
        "table",
        header=[column.heading for column in shown],
        rows=[[_text(read(row)) for read in readers] for row in rows],
        numeric=frozenset(at for at, column in enumerate(shown) if column.numeric),
        title=title,
        files=[f"tables/{csv}.csv"],
    )


def _text(cell: object) -> str:
    """Return a cell's text; one with addresses keeps them."""
    return "–" if cell is None else cell if isinstance(cell, str) else str(cell)


def percent(decimals: int) -> Callable[[float], str]:
    """Return a function that writes a fraction in percent, without the sign."""
    return lambda share: f"{100 * share:.{decimals}f}"


def form(pattern: str) -> Callable[[float], str]:
    """Return a function that writes a number by a format specification, such as ``.2f``."""
    return lambda value: f"{value:{pattern}}"


def _reader(value: Value[Row], change: Callable[[Any], object] | None = None) -> Callable[[Row], object]:
    """Return a function from a row to a value, changed by ``change`` where it is not None."""
    get = value if callable(value) else partial(_follow, value.split("."))
    if change is None:
        return get

    def read(row: Row) -> object:
        cell = get(row)
        return None if cell is None else change(cell)

    return read


def _follow(names: Sequence[str], row: Any) -> object:
    for name in names:
        if row is None:
            return None
        row = row[name] if isinstance(row, dict) else getattr(row, name)
    return row
