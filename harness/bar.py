"""Lines that are drawn again in place: at the bottom of a terminal, or in a notebook's cell."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_USUAL_SIZE = os.terminal_size((80, 24))
_PAUSE = 0.1  # seconds between two drawings on a terminal; in a notebook each one is a message
_NOTEBOOK_PAUSE = 1.0
_LEAST_BAR, _LONGEST_BAR = 8, 30
# The cursor's line and all below it. Not from the first column on: at the top of the screen tmux would take
# that for clearing the screen, and keep the rows in its history.
_ERASE = "\r\x1b[2K\x1b[C\x1b[J\r"

_PLAIN: Any = {"highlight": False, "force_jupyter": False}  # options of rich consoles

_open: list[Screen] = []  # the screen of this process, if any


@dataclass(frozen=True)
class Bar:
    """A row with a progress bar.

    Attributes:
        left, right, note: texts beside the bar; the note is left out where there is no room.
        share: how full the bar is, in [0, 1].
    """

    left: str
    share: float
    right: str = ""
    note: str = ""


Row = str | Bar


class Screen:
    """Rows that are drawn again in place, below everything that is printed meanwhile.

    No row is wider than the terminal, whose size may change any time. Between two drawings the cursor stands
    at the first row: a terminal that becomes narrower wraps the rows below the cursor, where they are erased.

    Args:
        rows: returns the rows to draw, at most as many as its argument.
    """

    def __init__(self, rows: Callable[[int], Sequence[Row]]) -> None:
        self._rows = rows
        self._stream = sys.stderr
        self._lock = threading.RLock()
        self._drawn = -1e9
        self._cell: Any = None  # the handle of a notebook's output
        self._gone = False

    def refresh(self, *, at_once: bool = False) -> None:
        """Draw the rows, unless they were drawn a moment ago."""
        pause = _NOTEBOOK_PAUSE if in_notebook() else _PAUSE
        if at_once or time.monotonic() - self._drawn >= pause:
            self._drawn = time.monotonic()
            self._show_in_cell() if in_notebook() else self._draw()

    def _draw(self) -> None:
        if self._gone:
            return
        columns, lines = usable_size(self._stream)
        drawn = [_drawn(row, columns, self._stream) for row in self._rows(max(1, lines // 2))]
        if drawn:
            up = f"\x1b[{len(drawn) - 1}A" if len(drawn) > 1 else ""
            self._write(_ERASE + "\n".join(drawn) + up + "\r")

    def _show_in_cell(self) -> None:
        from IPython.display import display

        text = "\n".join(_drawn(row, _USUAL_SIZE.columns, io.StringIO()) for row in self._rows(10**6))
        content = {"text/plain": text}
        if self._cell is None:
            self._cell = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._cell.update(content, raw=True)

    def clear(self) -> None:
        """Erase the rows; the next drawing begins where the cursor then stands."""
        if not in_notebook():
            self._write(_ERASE)

    def print(self, text: str) -> None:
        """Write whole lines above the rows."""
        with self._lock:
            self._write(_ERASE + text)
            self._draw()

    def fit(self, line: str) -> str:
        """Cut a line at the terminal's width."""
        return line[: usable_size(self._stream).columns]

    def _write(self, text: str) -> None:
        with self._lock:
            if not self._gone:
                try:
                    self._stream.write(text)
                    self._stream.flush()
                except (OSError, ValueError):  # the terminal is gone: draw no more
                    self._gone = True


class _Above:
    """Stands for stderr while rows are shown: what is written there goes above them, line by line."""

    def __init__(self, stream: IO[str], screen: Screen) -> None:
        self._stream, self._screen, self._begun = stream, screen, ""

    def write(self, text: str) -> int:
        lines, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self._screen.print(lines + newline)
        return len(text)

    def finish(self) -> None:
        """Write the line that has begun to the stream itself; the rows are gone."""
        self._stream.write(self._begun)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def open_screen(rows: Callable[[int], Sequence[Row]]) -> Iterator[Screen | None]:
    """Show rows inside the block, on a terminal or in a notebook; erase them at the end.

    Yields:
        The screen; None where stderr is neither, or where this process or its parent shows other rows.
    """
    if (
        _open
        or multiprocessing.parent_process() is not None
        or not (in_notebook() or on_terminal(sys.stderr))
    ):
        yield None
        return
    stream, screen = sys.stderr, Screen(rows)
    above = _Above(stream, screen)
    _open.append(screen)
    try:
        screen.refresh(at_once=True)
        if not in_notebook():
            sys.stderr = above  # type: ignore[assignment]
        yield screen
    finally:
        sys.stderr = stream
        screen.refresh(at_once=True) if in_notebook() else screen.clear()
        _open.remove(screen)
        above.finish()


@contextmanager
def above_rows() -> Iterator[None]:
    """Print to stdout inside the block, above the rows that this process shows, if any."""
    for screen in _open:
        screen.clear()
    yield
    for screen in _open:
        screen.refresh(at_once=not in_notebook())


@contextmanager
def count_up(what: str, total: int, *, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar of its own; yield a function that advances it by a number of steps."""
    done = 0

    def rows(most: int) -> list[Row]:
        return [Bar(what, done / max(1, total), f"{done:,} of {total:,}")]

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if screen is not None:
            screen.refresh()

    if hidden:
        yield lambda steps: None
        return
    with open_screen(rows) as screen:
        yield advance


def in_notebook() -> bool:
    """Return whether this process runs a notebook's cells."""
    return type(sys.stderr).__module__.startswith("ipykernel")


def on_terminal(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal that can erase lines."""
    try:
        console = console_of(stream)
    except ValueError:  # closed
        return False
    return console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows


def console_of(stream: IO[str], columns: int | None = None) -> Console:
    """Return a rich console that writes to a stream; without colours where it is no terminal."""
    from rich.console import Console

    columns = columns or usable_size(stream).columns
    return Console(file=stream, width=columns, force_terminal=stream.isatty(), **_PLAIN)


def usable_size(stream: IO[str]) -> os.terminal_size:
    """Return the usable columns and lines; the last column stays free, as some terminals wrap after it."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # no terminal, or closed
        columns = lines = 0
    return os.terminal_size(
        (max(1, (columns or _USUAL_SIZE.columns) - 1), max(1, lines or _USUAL_SIZE.lines))
    )


def _drawn(row: Row, columns: int, stream: IO[str]) -> str:
    """Return a row as the characters and colours that show it, at most so many columns wide."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    drawn = io.StringIO()
    console = Console(file=drawn, width=columns, force_terminal=stream.isatty(), **_PLAIN)
    if isinstance(row, str):
        text = Text(row, style="dim")
    else:
        right = "".join(f"  {part}" for part in (row.right, row.note) if part)
        if cell_len(row.left) + 2 + _LEAST_BAR + cell_len(right) > columns:
            right = f"  {row.right}" if row.right else ""
        room = min(_LONGEST_BAR, columns - cell_len(row.left) - 2 - cell_len(right))
        full = round(max(0.0, min(1.0, row.share)) * room)
        text = Text(row.left, style="bold")
        if room >= _LEAST_BAR and (console.color_system is None or console.no_color):
            text.append(f"  {'#' * full}{'.' * (room - full)}", "not bold")
        elif room >= _LEAST_BAR:
            text.append(f"  {'━' * full}", "not bold green").append(
                "━" * (room - full), "not bold bright_black"
            )
        text.append(right, "not bold")
    text.truncate(columns, overflow="crop")
    console.print(text, end="", no_wrap=True)
    return drawn.getvalue()
