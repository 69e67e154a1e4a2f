"""A task: a variant's range test or one of its runs; how it is executed, and its answer."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HeldError, RunError
from harness.launch import followers
from harness.launch.job import Job, claim, find_rates, needs_work
from harness.launch.tally import sweep_name
from harness.messages import duration
from harness.plan import Variant
from harness.schedule import Rates
from harness.store.folders import RunFolder, StudyFolder
from harness.training.failures import record_failure
from harness.training.run import execute


@dataclass(frozen=True)
class Task:
    """A variant's range test, or one of its runs.

    Attributes:
        seed: the run's; None for the range test.
        rates: the run's, or why the range test found none; None for the range test, and for a run that finds
            its own.
        wait: whether to wait where another process holds it; else it is put off.
        times_lost: how often its worker was lost.
    """

    variant: Variant
    seed: int | None = None
    rates: Rates | RunError | None = None
    wait: bool = False
    times_lost: int = 0

    @property
    def name(self) -> str:
        """The task's name in messages."""
        variant = f"{self.variant.study}/{self.variant.name}"
        return sweep_name(self.variant) if self.seed is None else f"{variant}/seed-{self.seed}"

    def run_folder(self, study: StudyFolder) -> RunFolder:
        """Return the folder of a run."""
        assert self.seed is not None
        return study.run(self.variant.name, self.seed)


@dataclass(frozen=True)
class Answer:
    """The end of a task; empty where the run's folder has recorded it.

    Attributes:
        rates: of a range test, or why it has none.
        held: which process holds the task, in words; the task is put off.
        error: why the task failed, where the run's folder could not record it.
        finished: accuracy and speed of a run that was trained, in words.
    """

    rates: Rates | RunError | None = None
    held: str = ""
    error: str = ""
    finished: str = ""


def perform(job: Job, task: Task) -> Answer:
    """Execute a task in this process, under its lock."""
    try:
        if task.seed is None:
            return Answer(rates=find_rates(job, task.variant, wait=task.wait))
        with task.run_folder(job.plan.folder).lock(wait=task.wait, say=job.say):
            if to_train(job, task):
                return train(job, task)
    except HeldError as error:
        return Answer(held=str(error))
    except RunError as error:
        return Answer(error=str(error))
    return Answer()


def to_train(job: Job, task: Task) -> bool:
    """Claim a run, and tell whether it needs training. Call it under the run's lock.

    A run without rates is recorded as failed.

    Raises:
        RunError: the folder holds another configuration's run, or cannot be written.
    """
    folder = task.run_folder(job.plan.folder)
    if not needs_work(task.variant, folder, job.say):
        return False
    claim(task.variant, folder, job.planned)
    if isinstance(task.rates, RunError):
        record_failure(task.variant, folder, task.rates, "range_test")
        return False
    return True


def train(job: Job, task: Task) -> Answer:
    """Train a claimed run, together with the processes of ``--devices``; print why it failed.

    A run that finds its own rates does so first, in this process alone.
    """
    run = task.run_folder(job.plan.folder)
    data = job.load_data(task.variant.recipe.of_run(run.seed))
    variant = task.variant.of_run(run.seed, data)
    rates = task.rates or find_rates(job, variant, seed=task.seed)
    if isinstance(rates, RunError):
        record_failure(variant, run, rates, "range_test")
        return Answer()
    try:
        followers.announce(followers.SharedRun(variant, run, rates, job.threads))
    except RunError as error:
        record_failure(variant, run, error, "damaged")
        job.say(f"{run.name}  FAILED: {error}")
        return Answer()
    record = execute(
        variant, run, data, rates,
        threads=job.threads, say=job.say, profile=job.profile, tracker=job.tracker,
    )  # fmt: skip
    if record.status == "failed" and not record.diverged:
        followers.mark_broken(run.name)  # the followers still wait in this run
    if record.error is not None:
        job.say(f"{run.name}  FAILED: {record.error['message']}")
        return Answer()
    accuracy, timings = record.metrics["accuracy"], record.timings
    speed = f"{duration(timings['seconds'])}, {timings['images_per_second']:.0f} images/s"
    return Answer(finished=f"{100 * accuracy:.2f} % after {speed}")
