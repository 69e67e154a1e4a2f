"""What is seen of a command's runs: lines that stay, and below them a row for each run and one bar.

In a log there are lines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.bar import Bar, Row, Screen, in_notebook, open_screen
from harness.launch.tally import Tally
from harness.training.progress import Progress, Say, silent


class View:
    """Shows the tasks of a command, and counts its runs.

    Args:
        say: shows a line that stays.
        tally: of the command's runs; an empty one counts nothing.
    """

    def __init__(self, say: Say = silent, tally: Tally | None = None) -> None:
        self.say, self.tally = say, tally or Tally()
        self.screen: Screen | None = None
        self._rows: dict[str, str] = {}  # task -> where it is, in the order of their beginning
        self._places: dict[str, str] = {}
        self._status = ""

    def rows(self, most: int) -> list[Row]:
        """Return a row for each of several tasks that are under way, and the bar below them."""
        tasks = list(self._rows)
        alone = tasks[0] if len(tasks) == 1 else ""
        note = self._status or (f"{self.short(alone)} {self._places.get(alone, '')}".strip() if alone else "")
        bar = Bar(self.tally.count(), self.tally.share, self.tally.time_left(), note)
        if in_notebook():
            return [*(f"{self.short(name)}  {row}" for name, row in self._rows.items()), bar]
        if len(tasks) < 2:
            return [bar]
        fitting = len(tasks) if len(tasks) < most else max(0, most - 2)
        shown = [f"{self.short(name)}  {self._rows[name]}" for name in tasks[:fitting]]
        hidden = len(tasks) - len(shown)
        return [*shown, *([f"and {hidden} more"] if hidden else []), bar]

    def short(self, name: str) -> str:
        """Return a task's name without the study's, and the variant's, where there is only one."""
        return name.removeprefix(self.tally.common).lstrip("/ ") if self.tally.common else name

    def begin(self, name: str) -> None:
        """Show that a task begins."""
        self._rows[name] = ""
        self.tally.begin(name)
        self.refresh(at_once=True)

    def hear(self, name: str, progress: Progress) -> None:
        """Show how far a task is."""
        self.tally.hear(name, progress)
        self._places[name] = progress.place
        if progress.line and self.screen is None:
            self.say(f"{name}  {progress.line}")
        elif progress.line and self.screen and len(self._rows) == 1 and not in_notebook():
            self.say(self.screen.fit(f"{self.short(name)}  {progress.line}"))
        elif progress.line:
            self._rows[name] = progress.line
        self.refresh()

    def end(self, name: str, outcome: str = "", *, later: bool = False) -> None:
        """Show that a task is over, with its outcome in a line; or that it is put off."""
        self._rows.pop(name, None)
        (self.tally.put_off if later else self.tally.end)(name)
        if outcome and self.screen:
            self.say(self.screen.fit(f"{self.short(name)}  {outcome}"))
        elif outcome:
            self.say(f"{name}  {outcome}{self._counted()}")
        self.refresh(at_once=True)

    def _counted(self) -> str:
        if not self.tally.runs:
            return ""
        left = self.tally.time_left()
        about = "" if left.startswith("at most") else "about "
        return f"; {self.tally.count()}{f', {about}{left}' if left else ''}"

    def refresh(self, *, at_once: bool = False) -> None:
        """Draw the rows again."""
        if self.screen is not None:
            self.screen.refresh(at_once=at_once)

    @contextmanager
    def doing(self, status: str) -> Iterator[None]:
        """Show beside the bar what is done inside the block."""
        self._status = status
        self.refresh(at_once=True)
        try:
            yield
        finally:
            self._status = ""

    def of(self, name: str) -> Speaker:
        """Return what a task says its lines to."""
        return Speaker(self.say, lambda progress: self.hear(name, progress))

    @contextmanager
    def shown(self, *, hidden: bool = False) -> Iterator[None]:
        """Show the rows inside the block, on a terminal or in a notebook."""
        if hidden:
            yield
            return
        with open_screen(self.rows) as self.screen:
            try:
                yield
            finally:
                self._rows.clear()
        self.screen = None


@dataclass(frozen=True)
class Speaker:
    """A :class:`harness.training.progress.Listener`: functions for lines and for progress."""

    say: Say
    hear: Callable[[Progress], None]

    def __call__(self, line: str) -> None:
        """Show a line that stays."""
        self.say(line)
