"""The process launcher: several runs at once on this machine, in spawned processes.

The driver alone decides and speaks; a worker executes what it is told and answers. A worker that dies takes
only its run with it: the run is recorded as failed, another worker takes its place.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from harness.console import die_with_parent
from harness.errors import HeldError, RunError
from harness.launch.job import Job, find_rates, rates_without, run_one, task_name
from harness.launch.view import View
from harness.schedule import Rates
from harness.training.failures import record_failure

_spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in the midst of their work


@dataclass(frozen=True)
class Task:
    """A variant's range test (``seed`` is None), or one of its runs with the rates that this found.

    Attributes:
        wait: for another process that holds it; at first what is free is taken.
    """

    variant: str
    seed: int | None = None
    rates: Rates | RunError | None = None
    wait: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of a task: rates of a range test; or why it is left for later, or lost."""

    rates: Rates | RunError | None = None
    held: str = ""
    lost: str = ""


def process(job: Job, workers: int | None) -> dict[str, str]:
    """Range tests first, then every run whose rates are known, ``workers`` at once."""
    workers = workers or 1
    with View(job, workers) as view:
        return _Driver(replace(job, say=view.say), view).drive(workers)


class _Driver:
    """Who does what: tasks that wait, workers that are busy, tasks that others hold."""

    def __init__(self, job: Job, view: View) -> None:
        self.job, self.view = job, view
        self.variants = {variant.name: variant for variant in job.plan.variants}
        self.waiting = deque(Task(name) for name in self.variants)
        self.held: list[Task] = []
        self.unrecorded: dict[str, str] = {}

    def drive(self, workers: int) -> dict[str, str]:
        """Until nothing is left to do; an interrupt ends all workers."""
        team = [_Worker(self.job, number) for number in range(min(workers, len(self.job.plan.runs())))]
        try:
            while self.waiting or self.held or any(worker.task for worker in team):
                busy = any(worker.task for worker in team)
                if not self.waiting and not busy:
                    self.waiting, self.held = deque(replace(task, wait=True) for task in self.held), []
                for worker in team:
                    if worker.task is None and self.waiting:
                        worker.give(self.waiting.popleft())
                        self.view.begins(worker.number, self._name(worker.task))
                for ready in wait([worker.connection for worker in team if worker.task]):
                    worker = next(worker for worker in team if worker.connection is ready)
                    if not self._listen(worker):
                        team[team.index(worker)] = _Worker(self.job, worker.number)
        finally:
            for worker in team:
                worker.stop()
        return self.unrecorded

    def _listen(self, worker: _Worker) -> bool:
        """Take in what a worker says; False where it died."""
        assert worker.task is not None
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            cause = f"its worker died ({worker.end()})"
            self._failed(worker.task, cause)
            self.view.ends(worker.number)
            return False
        if isinstance(message, str):
            self.view.says(worker.number, message)
            return True
        task, worker.task = worker.task, None
        self.view.ends(worker.number)
        self._answered(task, message)
        return True

    def _answered(self, task: Task, answer: Answer) -> None:
        if answer.held:
            self.held.append(task)
            if not task.wait:
                self.job.say(f"{answer.held}; left for later")
        elif answer.lost:
            self._lost(task, answer.lost)
        elif task.seed is None:
            self._found(task.variant, answer.rates)

    def _found(self, variant: str, rates: Rates | RunError | None) -> None:
        """The variant's runs can begin."""
        self.waiting += [Task(variant, seed, rates) for seed in self.job.plan.seeds]

    def _failed(self, task: Task, cause: str) -> None:
        """A worker died: of a range test that the variant can do without, only the figure is lacking."""
        variant = self.variants[task.variant]
        if task.seed is None:
            self._found(task.variant, rates_without(self.job, variant, RunError(f"range test: {cause}")))
            return
        self.job.say(f"{self._name(task)}  FAILED: {cause}")
        folder = self.job.plan.folder.run(task.variant, task.seed)
        try:
            with folder.lock():
                record_failure(variant, folder, RunError(cause), "worker_died")
        except RunError as error:
            self.unrecorded[folder.name] = f"{cause}; {error}"

    def _lost(self, task: Task, cause: str) -> None:
        self.job.say(f"{self._name(task)}  FAILED: {cause}")
        self.unrecorded[self._name(task)] = cause

    def _name(self, task: Task | None) -> str:
        assert task is not None
        return task_name(self.job.plan.folder, task.variant, task.seed)


class _Worker:
    """A spawned process and the driver's end of the pipe to it."""

    def __init__(self, job: Job, number: int) -> None:
        self.number = number
        self.task: Task | None = None
        self.connection, theirs = _spawn.Pipe()
        quiet = replace(job, say=_unheard)
        self.process = _spawn.Process(target=_work, args=(theirs, quiet, number), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        """Hand it a task; where it has died meanwhile, listening to it will tell."""
        self.task = task
        with suppress(OSError):
            self.connection.send(task)

    def end(self) -> str:
        """How it ended, in words."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name
        return f"{name}: out of memory?" if name == "SIGKILL" else name

    def stop(self) -> None:
        """End it now; its run's last checkpoint stays."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _unheard(line: str) -> None:
    """Stands in a job on its way to a worker."""


def _work(connection: Connection, job: Job, number: int) -> None:
    """A worker's life: tasks in, lines and answers out, until the driver ends it or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells us too; the driver decides
    threading.Thread(target=die_with_parent, daemon=True).start()
    job = replace(job, say=connection.send)
    _choose_gpu(number)
    while True:
        connection.send(_answer(job, connection.recv()))


def _choose_gpu(number: int) -> None:
    """``cuda`` means another GPU in each worker, in turn."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def _answer(job: Job, task: Task) -> Answer:
    variant = next(variant for variant in job.plan.variants if variant.name == task.variant)
    try:
        if task.seed is None:
            return Answer(rates=find_rates(job, variant, wait=task.wait))
        assert task.rates is not None
        run_one(job, variant, job.plan.folder.run(task.variant, task.seed), task.rates, wait=task.wait)
    except HeldError as error:
        return Answer(held=str(error))
    except RunError as error:
        return Answer(lost=str(error))
    return Answer()
