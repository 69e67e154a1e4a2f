"""What stands on the terminal at the end: a table of the variants, the leader first."""

from __future__ import annotations

import sys
from typing import Literal

from harness.analysis.claim import NUMERIC, RankedRow, headings, ranked_rows, shown_columns
from harness.analysis.findings import Findings
from harness.analysis.units import Units
from harness.bar import console_of, usable_size
from harness.console import plain

WIDEST = 80  # columns
MOST_ROWS = 15
_BESIDE = ("rank", "decision")  # left out where the terminal is narrow
_NARROW = 70


def print_table(findings: Findings) -> None:
    """Print the ranked variants to stderr, in colours on a terminal, at most 80 columns wide."""
    from rich.table import Table
    from rich.text import Text

    columns = min(WIDEST - 1, usable_size(sys.stderr).columns)
    left_out = {"changes", "behind", "p", *(_BESIDE if columns < _NARROW else ())}
    rows, units = ranked_rows(findings), Units(findings.results.metric)
    names = [name for name in shown_columns(rows) if name not in left_out]
    titles = headings(findings)._replace(rank="", score=units.heading(units.metric.title))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        justify: Literal["left", "right"] = "right" if name in NUMERIC else "left"
        table.add_column(getattr(titles, name), justify=justify, overflow="fold", vertical="bottom")
    for row in rows[:MOST_ROWS]:
        cells = [Text(plain(_cell(row, name), sys.stderr), style=_style(row, name)) for name in names]
        table.add_row(*cells, style="bold" if row.rank == "1" else "")
    console = console_of(sys.stderr, columns)
    console.print()
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"and {len(rows) - MOST_ROWS} more in the report")


def _cell(row: RankedRow, name: str) -> str:
    text: str = getattr(row, name)
    return text.partition(" (n = ")[0] if name == "decision" else text  # n has a column of its own


def _style(row: RankedRow, name: str) -> str:
    """Return a cell's colours: of a reached target, and of what is significantly below another."""
    if name == "reached":
        reached, _, of = row.reached.partition(" of ")
        return "" if not of else "green" if reached == of else "red" if reached == "0" else "yellow"
    if name in ("variant", "score") and row.rank == "1":
        return "green"
    return "dim" if name == "decision" else ""
