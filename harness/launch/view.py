"""What a person sees of several runs at once: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from harness.launch.job import Job

if TYPE_CHECKING:
    from rich.live import Live


class View:
    """A row for each worker with what it said last, above them the lines that stay.

    Without a terminal, or where the job is silent, each line goes where the job's lines go.
    """

    def __init__(self, job: Job, workers: int) -> None:
        self.job, self.rows = job, {number: "" for number in range(workers)}
        self.live: Live | None = None

    def __enter__(self) -> View:
        from harness.training.progress import silent

        if sys.stderr.isatty() and self.job.say is not silent:
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(stderr=True), transient=True, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.live is None:
            self.job.say(line)
        else:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def says(self, worker: int, line: str) -> None:
        """A worker's line: an epoch's replaces the one before it, others stay."""
        if self.live is None or "  epoch " not in line:
            self.say(line)
        else:
            self._show(worker, line)

    def begins(self, worker: int, name: str) -> None:
        """A worker takes up a run or range test."""
        self._show(worker, name)

    def ends(self, worker: int) -> None:
        """It has ended."""
        self._show(worker, "")

    def _show(self, worker: int, line: str) -> None:
        self.rows[worker] = line
        if self.live is not None:
            from rich.table import Table
            from rich.text import Text

            table = Table.grid(padding=(0, 1))
            table.add_column()
            table.add_column(no_wrap=True, overflow="crop")  # an ellipsis may be written as three characters
            for number, text in self.rows.items():
                table.add_row(str(number + 1), Text(text))
            self.live.update(table)
