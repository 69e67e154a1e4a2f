"""The display of several runs at once: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.training.progress import Say, silent

if TYPE_CHECKING:
    from rich.live import Live


class View:
    """Shows lines that stay; and below them, if it is live, a row for each slot with its last line."""

    def __init__(self, say: Say, live: Live | None = None) -> None:
        self._say, self._live = say, live
        self._rows: dict[int, str] = {}

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self._live is None:
            self._say(line)
        else:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def say_of(self, slot: int, line: str) -> None:
        """Show a line of a task: the line of an epoch replaces the previous one, other lines stay."""
        if self._live is None or "  epoch " not in line:
            self.say(line)
        else:
            self.show(slot, line)

    def show(self, slot: int, text: str) -> None:
        """Show a text in the row of a slot."""
        self._rows[slot] = text
        if self._live is not None:
            from rich.table import Table
            from rich.text import Text

            table = Table.grid(padding=(0, 1))
            table.add_column()
            table.add_column(no_wrap=True, overflow="crop")  # an ellipsis might be three characters wide
            for number, row in self._rows.items():
                table.add_row(str(number + 1), Text(row))
            self._live.update(table)


@contextmanager
def live_view(say: Say) -> Iterator[View]:
    """Open a view; it is live on a terminal, unless ``say`` is silent."""
    if not sys.stderr.isatty() or say is silent:
        yield View(say)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
        yield View(say, live)
