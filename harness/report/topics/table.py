"""A table as one list of columns: what its CSV file holds, and what the documentation says of it.

What a page shows is rounded and in words, so it has a list of its own: a heading and a text of a row each.
"""

from __future__ import annotations

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
        value: what stands in it, not rounded: the way to the row's value, such as ``spread.low``, or a
            function of the row; left out it is the row's own of that name. None is an empty cell.
        change: is given the value where it is not None.
    """

    name: str
    meaning: str
    value: Value[Row] = ""
    change: Callable[[Any], object] | None = None

    @property
    def read(self) -> Callable[[Row], object]:
        """The function from a row to its cell."""
        return _reader(self.value or self.name, self.change)


@dataclass(frozen=True)
class Table(Generic[Row]):
    """``tables/<name>.csv``.

    Attributes:
        each_row_is: ``a run, finished or not``.
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


@dataclass(frozen=True)
class Shown(Generic[Row]):
    """A column of a table on the page.

    Attributes:
        value: as a :class:`Column` has it; None is shown as a dash.
        write: the value as text.
        numeric: whether it holds numbers.
        only_if: of a row; where it holds of none, the column is left out.
    """

    heading: str
    value: Value[Row]
    write: Callable[[Any], object] | None = None
    numeric: bool = True
    only_if: Value[Row] | None = None


VARIANT: Column[Any] = Column("variant", "its name; `base` is the study file itself")
RUN: tuple[Column[Any], ...] = (VARIANT, Column("seed", "of the run"))
SHOWN_VARIANT: Shown[Any] = Shown("variant", "variant", numeric=False)


def page_table(csv: str, columns: Iterable[Shown[Row]], rows: Sequence[Row], title: str = "") -> Block:
    """Show rows on the page; ``tables/<csv>.csv`` has their numbers unrounded."""
    shown = [each for each in columns if each.only_if is None or any(map(_reader(each.only_if), rows))]
    readers = [_reader(each.value, each.write) for each in shown]
    return Block(
        "table",
        header=[each.heading for each in shown],
        rows=[["–" if (cell := read(row)) is None else str(cell) for read in readers] for row in rows],
        numeric=frozenset(at for at, each in enumerate(shown) if each.numeric),
        title=title,
        files=[f"tables/{csv}.csv"],
    )


def percent(decimals: int) -> Callable[[float], str]:
    """Return a function that writes a fraction in percent, without the sign."""
    return lambda share: f"{100 * share:.{decimals}f}"


def form(pattern: str) -> Callable[[float], str]:
    """Return a function that writes a number as a format's pattern says."""
    return lambda value: f"{value:{pattern}}"


def _reader(value: Value[Row], change: Callable[[Any], object] | None = None) -> Callable[[Row], object]:
    """Return the function from a row to its cell."""
    find = value if callable(value) else partial(_follow, value.split("."))
    if change is None:
        return find

    def read(row: Row) -> object:
        found = find(row)
        return None if found is None else change(found)

    return read


def _follow(names: Sequence[str], row: Any) -> object:
    for name in names:
        if row is None:
            return None
        row = row[name] if isinstance(row, dict) else getattr(row, name)
    return row
