"""The process launcher: several runs at once on this machine, in spawned processes.

A worker that dies takes only its run with it: the run is recorded as failed, another worker takes its place.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait

from harness.console import die_with_parent
from harness.launch.job import Job
from harness.launch.scheduler import Event, Scheduler, WorkerLost
from harness.launch.task import Answer, Task, perform
from harness.launch.view import Speaker
from harness.training.progress import Progress

_spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads while they work


def process(job: Job, workers: int | None) -> dict[str, str]:
    """Execute tasks in ``workers`` processes."""
    return Scheduler(job, _Workers(job, min(workers or 1, len(job.plan.runs())))).run()


class _Workers:
    """Spawned processes, one a slot; see :class:`harness.launch.scheduler.Backend`."""

    polls = False
    tries = 1

    def __init__(self, job: Job, workers: int) -> None:
        self.job = job
        self.workers = [_Worker(job, slot) for slot in range(workers)]

    def room(self) -> int:
        return len(self.workers)

    def start(self, slot: int, task: Task) -> None:
        self.workers[slot].send(task)

    def events(self) -> Iterator[tuple[int, Event]]:
        busy = {worker.connection: worker for worker in self.workers if worker.busy}
        for connection in wait(list(busy), timeout=1):
            worker = busy[connection]  # type: ignore[index]
            event = worker.receive()
            if isinstance(event, WorkerLost):
                self.workers[worker.slot] = _Worker(self.job, worker.slot)
            yield worker.slot, event

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


class _Worker:
    """A spawned process and our end of the pipe to it."""

    def __init__(self, job: Job, slot: int) -> None:
        self.slot, self.busy = slot, False
        self.connection, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=_work, args=(theirs, job.of_worker(), slot), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        """Send a task; if the process has died meanwhile, :meth:`receive` reports it."""
        self.busy = True
        with suppress(OSError):
            self.connection.send(task)

    def receive(self) -> Event:
        """Return the event that the process sent, or ``WorkerLost`` if it died."""
        try:
            event: str | Progress | Answer = self.connection.recv()
        except (EOFError, OSError):
            return WorkerLost("its worker died", self._ending())
        self.busy = not isinstance(event, Answer)
        return event

    def _ending(self) -> str:
        """Describe how the process ended: its exit status, or its signal."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name
        return f"{name}: out of memory?" if name == "SIGKILL" else name

    def stop(self) -> None:
        """Kill the process; the last checkpoint of its run stays."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _send(connection: Connection, event: str | Progress) -> None:
    """Send an event to the driver; without a driver it does nothing, as this process then ends."""
    with suppress(OSError):
        connection.send(event)


def _work(connection: Connection, job: Job, slot: int) -> None:
    """Execute tasks in a worker until the driver ends it or is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the workers; the driver ends them
    threading.Thread(target=die_with_parent, daemon=True).start()
    send = partial(_send, connection)
    job = replace(job, speaker=Speaker(send, send))
    if torch.cuda.is_available():  # "cuda" means another GPU in each worker
        torch.cuda.set_device(slot % torch.cuda.device_count())
    while True:
        connection.send(perform(job, connection.recv()))
