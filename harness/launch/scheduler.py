"""The scheduler: it decides which task is executed when, prints and records its end; backends execute it.

Range tests come first, runs as soon as their variant's rates are known. Tasks that another process holds
come last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from harness.errors import RunError
from harness.launch.job import Job, rates_without
from harness.launch.task import Answer, Task
from harness.schedule import Rates
from harness.training.failures import record_failure
from harness.training.progress import Progress


@dataclass(frozen=True)
class WorkerLost:
    """The loss of a worker: what happened, such as ``"its worker died"``, and why."""

    what: str
    cause: str


Event = str | Progress | Answer | WorkerLost  # of a task; the last one is an Answer or WorkerLost


class Backend(Protocol):
    """Executes tasks somewhere, each in a numbered slot, from 0.

    Attributes:
        polls: how to treat a task that another process holds: start it again and again until it is free; else
            start it with ``wait`` when no other task is left.
        tries: how often to start a task whose worker is lost each time.
    """

    polls: bool
    tries: int

    def room(self) -> int:
        """Return how many tasks may be under way at once."""

    def start(self, slot: int, task: Task) -> Answer | None:
        """Start a task; return its answer if it is known at once, else None."""

    def events(self) -> Iterable[tuple[int, Event]]:
        """Wait a short time for events; return them with their slots."""

    def stop(self) -> None:
        """Stop all tasks that are under way."""


class Scheduler:
    """Executes a job's tasks by a backend.

    Attributes:
        waiting: tasks to start, in this order.
        held: tasks that other processes work on.
        started: slot -> its task.
        unrecorded: run name -> cause, of failures that could not be recorded.
    """

    def __init__(self, job: Job, backend: Backend) -> None:
        self.job, self.backend, self.view = job, backend, job.view
        self.waiting = deque(Task(variant) for variant in job.plan.variants)
        self.held: list[Task] = []
        self.started: dict[int, Task] = {}
        self.unrecorded: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Execute all tasks; return the failures that could not be recorded."""
        try:
            while self.waiting or self.started or self.held:
                self.view.tally.at_once = room = self.backend.room()
                self.view.refresh()
                while self.waiting and len(self.started) < room:
                    self._start(self.waiting.popleft())
                if self.started:
                    for slot, event in self.backend.events():
                        self._take_in(slot, event)
                if self.held and not self.waiting and (self.backend.polls or not self.started):
                    if self.backend.polls and not self.started:
                        time.sleep(1)
                    self.waiting, self.held = deque(self.held), []
        finally:
            self.backend.stop()
        return self.unrecorded

    def _start(self, task: Task) -> None:
        if task.seed is None and task.variant.recipe.each_run_finds:
            self._queue_runs(task, None)
            return
        slot = min(set(range(len(self.started) + 1)) - set(self.started))
        if task.seed is not None or task.variant.recipe.range_test_settings is not None:
            self.view.begin(task.name)
        answer = self.backend.start(slot, task)
        if answer is not None:
            self._answered(task, answer)
        else:
            self.started[slot] = task

    def _take_in(self, slot: int, event: Event) -> None:
        if isinstance(event, str):
            self.job.say(event)
            return
        if isinstance(event, Progress):
            self.view.hear(self.started[slot].name, event)
            return
        task = self.started.pop(slot)
        if isinstance(event, Answer):
            self._answered(task, event)
        else:
            self._worker_lost(task, event)

    def _answered(self, task: Task, answer: Answer) -> None:
        outcome = f"finished: {answer.finished}" if answer.finished else ""
        self.view.end(task.name, outcome, later=bool(answer.held))
        if answer.held:
            if not task.wait:
                self.job.say(f"{answer.held}; skipped for now")
            self.held.append(replace(task, wait=True))
        elif task.seed is None:
            self._queue_runs(task, answer.rates or self._rates_without(task, answer.error))
        elif answer.error:
            self.job.say(f"{task.name}  FAILED: {answer.error}")
            self.unrecorded[task.name] = answer.error

    def _queue_runs(self, task: Task, rates: Rates | RunError | None) -> None:
        """Queue the runs of a variant whose range test is over, or whose runs find their own rates (None)."""
        runs = [Task(task.variant, seed, rates) for seed in self.job.plan.seeds]
        if self.backend.room() == 1:  # finish one variant before the next
            self.waiting.extendleft(reversed(runs))
        else:
            self.waiting.extend(runs)

    def _rates_without(self, task: Task, cause: str) -> Rates | RunError:
        return rates_without(self.job, task.variant, RunError(cause))

    def _worker_lost(self, task: Task, lost: WorkerLost) -> None:
        """Queue a task again whose worker was lost, or record that it failed."""
        times = task.times_lost + 1
        self.view.end(task.name, later=times < self.backend.tries)
        if times < self.backend.tries:
            self.job.say(f"{task.name}  {lost.what} ({lost.cause}); retrying")
            self.waiting.appendleft(replace(task, times_lost=times))
            return
        cause = f"{lost.what} {f'{times} times ' if times > 1 else ''}({lost.cause})"
        if task.seed is None:
            self._queue_runs(task, self._rates_without(task, f"range test: {cause}"))
            return
        self.job.say(f"{task.name}  FAILED: {cause}")
        folder = task.run_folder(self.job.plan.folder)
        try:
            with folder.lock():
                if folder.status() != "finished":  # another process may have finished it
                    record_failure(task.variant, folder, RunError(cause), "worker_died")
        except RunError as error:
            self.unrecorded[task.name] = f"{cause}; {error}"
