"""The work that every launcher does the same way: one range test, one run, each under its lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.config import Recipe
from harness.data.arrays import Data
from harness.errors import RunError, StudyError
from harness.plan import Plan, Variant
from harness.store import RunFolder, first_difference
from harness.training.progress import Say
from harness.training.schedule import Rates


@dataclass(frozen=True)
class Job:
    """A plan and what it takes to execute it.

    Attributes:
        threads: those a run computes with.
        say: where progress goes.
    """

    plan: Plan
    load_data: Callable[[Recipe], Data]
    threads: int
    say: Say


def check_folders(plan: Plan, *, force: bool, say: Say) -> None:
    """Before any work: every planned run's folder is empty or belongs to this very configuration.

    A folder whose record is damaged is moved aside and kept; so is another configuration's with ``force``.

    Raises:
        StudyError: a folder holds another configuration's run (the first difference is named); nothing is moved.
        HeldError: another process is at work on a folder that would have to be moved.
    """
    to_move: list[tuple[RunFolder, str]] = []
    for variant, folder in plan.runs():
        try:
            record = folder.record()
        except RunError as error:
            to_move.append((folder, _reason(error)))
            continue
        if record is None or record["digest"] == variant.digest:
            continue
        difference = first_difference(variant.identity, record["identity"])
        if not force:
            raise StudyError(
                f"{folder.path}: holds another configuration's run ({difference}); "
                "choose another --out, or --force to move it aside"
            )
        to_move.append((folder, f"{folder.path}: another configuration's run ({difference})"))
    for folder, reason in to_move:
        with folder.lock(wait=False):
            say(f"{reason}: moved to {folder.set_aside()}")


def run_one(job: Job, variant: Variant, folder: RunFolder, rates: Rates, *, wait: bool) -> None:
    """Execute one run if it needs work, and record what became of it.

    Raises:
        HeldError: another process is at work on it, and we do not wait.
    """
    from harness.training.run import execute

    with folder.lock(wait=wait):
        if not needs_work(folder, job.say):
            return
        data = job.load_data(variant.recipe)
        record = execute(variant, folder, data, rates, threads=job.threads, say=job.say)
        job.say(_outcome(folder, record))


def needs_work(folder: RunFolder, say: Say) -> bool:
    """Whether a run is missing, partial, or failed in a way that can pass; call it under the run's lock.

    A finished run with damaged files is moved aside, kept, and needs work again.
    """
    try:
        record = folder.record()
        if record is None:
            return True
        if record["status"] == "finished":
            folder.verify()
            return False
    except RunError as error:
        say(f"{_reason(error)}: moved to {folder.set_aside()}, and begun anew")
        return True
    return not (record["status"] == "failed" and record["error"]["kind"] == "diverged")


def _reason(error: RunError) -> str:
    """An error without its advice, where we act on it ourselves."""
    return str(error).partition(" (")[0]


def _outcome(folder: RunFolder, record: dict[str, Any]) -> str:
    if record["status"] == "failed":
        return f"{folder.name}  FAILED: {record['error']['message']}"
    accuracy, seconds = record["metrics"]["test_accuracy"], record["timings"]["seconds"]
    return f"{folder.name}  finished: {accuracy:.2%} after {seconds:.0f} s"
