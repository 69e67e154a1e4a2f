"""The parts of the GPU benchmark, and the processes that they run in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu.shared import LATE, ROOT, Options, Row, failed
from benchmarks.gpu.table import Report, Section

POLL = 0.1  # seconds between two looks at a part


@dataclass(frozen=True)
class Part:
    """One of the sections.

    Args:
        module: its ``rows(options)`` gives the rows.
        share: of the time; the time that earlier parts left is added.
        beside: it times nothing, so it runs at the same time as the part before.
    """

    name: str
    title: str
    module: str
    share: float
    beside: bool = False


# The most valuable first. The shares are of what an H100 was expected to need.
PARTS = (
    Part("tests", "CUDA tests", "benchmarks.gpu.cuda_tests", 0.22),
    Part("identity", "Bit-identity", "benchmarks.gpu.identity", 0.0, beside=True),
    Part("step", "A training step", "benchmarks.gpu.step", 0.29),
    Part("seed", "A whole seed", "benchmarks.gpu.seed", 0.23),
    Part("workers", "Seeds at once", "benchmarks.gpu.workers", 0.10),
    Part("batches", "Making batches", "benchmarks.gpu.batches", 0.06),
    Part("memory", "Peak memory", "benchmarks.gpu.memory", 0.05),
    Part("left", "What is left", "benchmarks.gpu.left", 0.05),
)


class Job:
    """A part's process and its results so far."""

    def __init__(self, part: Part, options: Options, report: Report) -> None:
        self.report, self.began = report, time.time()
        self.section = Section(part.name, part.title)
        report.sections.append(self.section)
        self.rows, self.log = (Path(options.folder) / f"{part.name}.{ending}" for ending in ("rows", "log"))
        self.rows.touch()
        command = [sys.executable, "-m", "benchmarks.gpu.part", part.module, str(self.rows)]
        with self.log.open("w", encoding="utf-8") as said:
            self.process = subprocess.Popen(
                [*command, json.dumps(asdict(options))],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # so that its child processes end with it
            )

    def runs(self) -> bool:
        """Take over its new rows; tell whether more may come."""
        running = self.process.poll() is None
        self._take_over()
        if not running and self.section.seconds is None:
            self.section.seconds = time.time() - self.began
        return running

    def end(self) -> None:
        """End it and its child processes; add a row if it was not done."""
        late = self.process.poll() is None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._take_over()
        if late:
            self.section.rows.append(Row("the rest of this part", LATE, notes=self._last_line()))
        elif self.process.returncode:
            cause = f"status {self.process.returncode}: {self._last_line()}"
            self.section.rows.append(failed("the rest of this part", cause))
        self.section.seconds = self.section.seconds or time.time() - self.began
        self.report.write()

    def _take_over(self) -> None:
        """Read the rows that are complete, and write the report where there are new ones."""
        lines = [line for line in self.rows.read_text("utf-8").splitlines(keepends=True) if line[-1] == "\n"]
        known = len(self.section.rows)
        if len(lines) > known:
            self.section.rows += [Row(**json.loads(line)) for line in lines[known:]]
            self.report.write()

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.log.read_text("utf-8", "replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")[:200]


def in_turn(parts: Sequence[Part]) -> list[list[Part]]:
    """Group the parts that run at the same time."""
    groups: list[list[Part]] = []
    for part in parts:
        if part.beside and groups:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def run_together(parts: Sequence[Part], options: Options, report: Report) -> list[Section]:
    """Run parts at the same time until they end or their time is over.

    Returns:
        Their sections, which are in the report too.
    """
    jobs: list[Job] = []
    try:
        jobs += [Job(part, options, report) for part in parts]
        while any([job.runs() for job in jobs]) and time.time() < options.ends:
            time.sleep(POLL)
    finally:
        for job in jobs:
            job.end()
    return [job.section for job in jobs]
