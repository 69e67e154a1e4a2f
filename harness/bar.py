"""A progress bar of one line that is never wider than its terminal, whose size may change any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import IO, Any

from tqdm.std import tqdm

_USUAL_COLUMNS = 80


class Bar(tqdm):  # type: ignore[type-arg]
    """A tqdm bar that asks for the width at each refresh, where tqdm asks once."""

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """Return the parts of the bar's text, with the present width; tqdm calls this at each refresh."""
        self.ncols = usable_columns(self.fp)
        return super().format_dict

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return a function that replaces the bar's line with another one."""
        shown = 0

        def show(line: str) -> None:
            nonlocal shown
            most = usable_columns(file)
            line = line[:most]
            # a terminal that became narrower has cut the old line in its last column
            file.write("\r" + line.ljust(min(shown, most + 1)))
            file.flush()
            shown = len(line)

        return show


@contextmanager
def no_bar_left() -> Iterator[None]:
    """Close every open bar at the end, also where an interrupt or an error ends the work early."""
    try:
        yield
    finally:
        for bar in list(getattr(Bar, "_instances", ())):
            bar.close()


def usable_columns(stream: IO[str]) -> int:
    """Count the columns that a line may take; the last one stays free, since some terminals wrap after it."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # no terminal, or closed
        columns = 0
    return max(1, (columns or _USUAL_COLUMNS) - 1)
