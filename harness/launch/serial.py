"""The serial launcher: range tests and runs one after another, in this process."""

from __future__ import annotations

from dataclasses import replace

from harness.launch.job import Job
from harness.launch.scheduler import Event, Scheduler
from harness.launch.task import Answer, Task, perform


def serial(job: Job, workers: int | None) -> dict[str, str]:
    """Execute one task after another, whatever ``workers`` says."""
    return Scheduler(job, _ThisProcess(job)).run()


class _ThisProcess:
    """Executes each task at once in this process; see :class:`harness.launch.scheduler.Backend`."""

    polls = False
    tries = 1

    def __init__(self, job: Job) -> None:
        self.job = job

    def room(self) -> int:
        return 1

    def start(self, slot: int, task: Task) -> Answer:
        return perform(replace(self.job, speaker=self.job.view.of(task.name)), task)

    def events(self) -> list[tuple[int, Event]]:
        return []

    def stop(self) -> None:
        pass
