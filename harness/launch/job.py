"""The work that every launcher does the same way: one range test, one run, each under its lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from harness.data.arrays import Data
from harness.errors import HeldError, RunError, StudyError
from harness.plan import Plan, Variant
from harness.schedule import Rates, resolve_rates
from harness.store.folders import RunFolder, StudyFolder
from harness.store.locks import locked
from harness.store.records import RunRecord
from harness.store.sealed import first_difference
from harness.study_file.config import Recipe
from harness.trackers import Guarded
from harness.training.progress import Say


@dataclass(frozen=True)
class Job:
    """A plan and what it takes to execute it.

    Attributes:
        threads: those a run computes with.
        say: where progress goes.
        profile: whether each run leaves where its time went.
        tracker: where the runs are shown as well.
        rates: those of variants that have been found before.
    """

    plan: Plan
    load_data: Callable[[Recipe], Data]
    threads: int
    say: Say
    profile: bool = False
    tracker: Guarded | None = None
    rates: Mapping[str, Rates | RunError] = field(default_factory=dict)


def check_plan(plan: Plan, load_data: Callable[[Recipe], Data], say: Say) -> Plan:
    """Try before any work what would otherwise fail in a run, or at its end.

    Returns:
        The plan, whose variants know whether their runs can resume from a checkpoint.

    Raises:
        StudyError: what would fail.
    """
    from harness.training.rehearsal import rehearse

    variants = []
    for variant in plan.variants:
        found = rehearse(variant, load_data(variant.recipe))
        for warning in found.warnings(variant.recipe.model.name):
            say(f"{plan.study.name}/{variant.name}  warning: {warning}")
        variants.append(replace(variant, resumes=not found.lost, doubt=found.doubt))
    return replace(plan, variants=tuple(variants))


def check_folders(plan: Plan, *, force: bool, say: Say) -> None:
    """Before any work: every run on disk of the planned variants belongs to this very configuration.

    Runs of seeds that are not planned count: the tables take them together. With ``force`` another
    configuration's runs are moved aside and kept. Damaged ones are left to :func:`needs_work`.

    Raises:
        StudyError: a folder holds another configuration's run (the first difference is named); nothing has
            been moved.
        HeldError: another process is at work on a folder that would have to be moved.
    """
    variants = {variant.name: variant for variant in plan.variants}
    to_move: list[tuple[Variant, RunFolder]] = []
    for folder in plan.folder.runs():
        if (variant := variants.get(folder.variant)) is None:
            continue
        with suppress(RunError):
            if difference := difference_on_disk(variant, folder):
                if not force:
                    raise StudyError(f"{difference}; choose another --out, or --force to move it aside")
                to_move.append((variant, folder))
    for variant, folder in to_move:
        with folder.lock(wait=False):
            if difference := difference_on_disk(variant, folder):  # no other process has moved it meanwhile
                say(f"{difference}: moved to {folder.set_aside()}")


def difference_on_disk(variant: Variant, folder: RunFolder) -> str | None:
    """Why what lies in a run's folder is not this variant's; None where it is, or nothing is there.

    Raises:
        RunError: damaged.
    """
    record = folder.record()
    if record is None:
        if folder.checkpoint_file.exists():
            raise RunError(f"{folder.checkpoint_file}: there is no run.json beside it")
        return None
    if record.digest == variant.digest:
        return None
    difference = first_difference(variant.identity, record.identity)
    return f"{folder.path}: holds another configuration's run ({difference})"


def find_rates(job: Job, variant: Variant, *, wait: bool) -> Rates | RunError:
    """The rates of a variant's runs, found where the study leaves them open; or why there are none.

    Raises:
        HeldError: another process is at work on the range test, and we do not wait.
    """
    from harness.training.range_test import ensure_range_test

    if variant.name in job.rates:
        return job.rates[variant.name]
    try:
        found = ensure_range_test(
            variant,
            job.plan.folder,
            lambda: job.load_data(variant.recipe),
            threads=job.threads,
            say=job.say,
            wait=wait,
        )
    except HeldError:
        raise
    except RunError as error:
        return rates_without(job, variant, error)
    return resolve_rates(variant.recipe.schedule, found)


def rates_without(job: Job, variant: Variant, error: RunError) -> Rates | RunError:
    """After a range test that failed: where the variant can do without, only its figure is lacking."""
    job.say(f"{job.plan.study.name}/{variant.name}  {error}")
    return error if variant.recipe.schedule.finds else resolve_rates(variant.recipe.schedule, None)


def run_one(job: Job, variant: Variant, folder: RunFolder, rates: Rates | RunError, *, wait: bool) -> None:
    """Execute one run if it needs work, and record what became of it.

    Args:
        rates: or why there are none: the run then fails with this cause.

    Raises:
        HeldError: another process is at work on it, and we do not wait.
        RunError: what became of it cannot be recorded.
    """
    from harness.launch import followers
    from harness.training.failures import record_failure
    from harness.training.run import execute

    with folder.lock(wait=wait, say=job.say):
        if not needs_work(variant, folder, job.say):
            return
        claim(variant, folder)
        if isinstance(rates, RunError):
            record_failure(variant, folder, rates, "range_test")
            return
        data = job.load_data(variant.recipe)
        try:
            followers.call(followers.Call(variant, folder, rates, job.threads))
        except RunError as error:
            record_failure(variant, folder, error, "damaged")
            job.say(f"{folder.name}  FAILED: {error}")
            return
        record = execute(
            variant,
            folder,
            data,
            rates,
            threads=job.threads,
            say=job.say,
            profile=job.profile,
            tracker=job.tracker,
        )
        if record.status == "failed" and not record.diverged:
            followers.lose(folder.name)  # they wait for this process in the midst of the run
        job.say(outcome_line(folder, record))


def claim(variant: Variant, folder: RunFolder) -> None:
    """Record that a run is this configuration's before any work on it; call it under the run's lock.

    Two processes may have begun at the same moment with two configurations of a variant, and neither have
    seen the other's runs at its start: whoever claims a run second is refused.

    Raises:
        RunError: the variant's runs on disk are another configuration's.
    """
    with locked(folder.study.locks / f"claim-{variant.name}.lock", f"{folder.study.name}/{variant.name}"):
        if folder.record() is not None:
            return
        if difference := _difference_beside(variant, folder):
            raise RunError(f"{difference}; choose another --out")
        folder.write(variant.record(folder.seed, "running"))


def _difference_beside(variant: Variant, folder: RunFolder) -> str | None:
    """Why some other run of the variant is another configuration's; the rest are like that one."""
    for other in folder.study.runs_of(variant.name):
        if other.seed != folder.seed:
            with suppress(RunError):  # a damaged one says nothing
                difference = difference_on_disk(variant, other)
                if difference or other.record() is not None:
                    return difference
    return None


def needs_work(variant: Variant, folder: RunFolder, say: Say) -> bool:
    """Whether a run is missing, partial, or failed in a way that can pass; call it under the run's lock.

    A run with damaged files is moved aside, kept, and needs work again.

    Raises:
        RunError: another process has put another configuration's run there since the start.
    """
    try:
        difference = difference_on_disk(variant, folder)
        record = folder.record()
        if record is not None and record.status == "finished" and difference is None:
            folder.verify()
            folder.drop_checkpoint()
    except RunError as error:
        say(f"{_reason(error)}: moved to {folder.set_aside()}, and begun anew")
        return True
    if difference is not None:
        raise RunError(f"{difference}; choose another --out")
    if record is None or record.status == "running":
        return True
    return record.status == "failed" and not record.diverged


def task_name(folder: StudyFolder, variant: str, seed: int | None) -> str:
    """What a person is told that a task is: a run, or a variant's range test."""
    if seed is None:
        return f"{folder.name}/{variant} range test"
    return folder.run(variant, seed).name


def _reason(error: RunError) -> str:
    """An error without its advice, where we act on it ourselves."""
    return str(error).partition(" (")[0]


def outcome_line(folder: RunFolder, record: RunRecord) -> str:
    """What a person is told when a run ends."""
    if record.error is not None:
        return f"{folder.name}  FAILED: {record.error['message']}"
    accuracy, timings = record.metrics["test_accuracy"], record.timings
    return (
        f"{folder.name}  finished: {accuracy:.2%} after {timings['seconds']:.0f} s, "
        f"{timings['images_per_second']:.0f} images/s"
    )
