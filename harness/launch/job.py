"""A job: a plan and the settings of its execution; and its runs and range tests that need work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from harness.data.arrays import Data
from harness.errors import HeldError, RunError, StudyError
from harness.imports import source_file
from harness.launch.view import Speaker, View
from harness.models.imported import TIMM
from harness.plan import Plan, Variant
from harness.schedule import Rates, resolve_rates
from harness.store.folders import RunFolder, StudyFolder
from harness.store.locks import locked
from harness.store.sealed import first_difference
from harness.study_file.config import Recipe
from harness.trackers import GuardedTracker
from harness.training.progress import Say

# Part of an identity that is a checksum -> what its difference means.
_CHANGED = {
    "data": "the images have changed since",
    "model_source": "the code of its network has changed since",
    "sources": "the code of {} has changed since",
    "pretrained": "the pretrained weights have changed since",
}


@dataclass(frozen=True)
class Job:
    """A plan, and the settings of its execution.

    Attributes:
        threads: of each run.
        view: shows the runs of the command, in the process that launches them.
        speaker: shows the lines and the progress of one task; None outside of a task.
        profile: whether each run records where its time went.
        tracker: a further tool that shows the runs, such as MLflow.
        rates: variant -> its rates, or why it has none; only of variants whose range test is done.
        planned: the plan of this start, for the record of each run that it claims first.
    """

    plan: Plan
    load_data: Callable[[Recipe], Data]
    threads: int
    view: View
    speaker: Speaker | None = None
    profile: bool = False
    tracker: GuardedTracker | None = None
    rates: Mapping[str, Rates | RunError] = field(default_factory=dict)
    planned: dict[str, Any] = field(default_factory=dict)

    @property
    def say(self) -> Say:
        """Return what shows a line: the task's speaker, else the view."""
        return self.speaker or self.view.say

    def of_worker(self) -> Job:
        """Return the job as another process needs it, which has a speaker of its own."""
        return replace(self, view=View(), speaker=None)


def check_plan(plan: Plan, load_data: Callable[[Recipe], Data], say: Say) -> Plan:
    """Rehearse every variant, so that a mistake is found now and not in a run, or at its end.

    Returns:
        The plan, whose variants know whether their runs can resume from a checkpoint.

    Raises:
        StudyError: what would fail.
    """
    from harness.training.rehearsal import rehearse

    variants = []
    for variant in plan.variants:
        rehearsal = rehearse(variant, load_data(variant.recipe))
        if variant.pretrained is not None:
            say(f"{plan.study.name}/{variant.name}  {variant.pretrained.says}")
        for warning in rehearsal.warnings(variant.recipe.model.name):
            say(f"{plan.study.name}/{variant.name}  warning: {warning}")
        variants.append(replace(variant, resumes=not rehearsal.cannot_resume, doubt=rehearsal.doubt))
    return replace(plan, variants=tuple(variants))


def check_folders(plan: Plan, *, force: bool, say: Say) -> None:
    """Check, before any work, that the planned variants' runs on disk have the same configuration.

    Runs of seeds that are not planned are checked too, as the tables show them together. With ``force`` runs
    of another configuration are moved aside and kept. Damaged ones are left to :func:`needs_work`.

    Raises:
        StudyError: a folder holds another configuration's run (the first difference is named); nothing has
            been moved.
        HeldError: another process works on a folder that would have to be moved.
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
            if difference := difference_on_disk(variant, folder):  # unless moved meanwhile
                say(f"{difference}: moved to {folder.set_aside()}")


def difference_on_disk(variant: Variant, folder: RunFolder) -> str | None:
    """Return how the run in a folder differs from a variant; None where it does not, or does not exist.

    Raises:
        RunError: the run is damaged.
    """
    record = folder.record()
    if record is None and folder.checkpoint_file.exists():
        raise RunError(f"{folder.checkpoint_file}: there is no run.json beside it")
    if record is None or record.digest == variant.digest:
        return None
    difference = _difference(variant.identity, record.identity)
    return f"{folder.path}: holds another configuration's run ({difference})"


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first difference of two identities: of keys of the study file, else of code or images."""
    written, on_disk = (
        {key: value for key, value in each["recipe"].items() if key != "augment"} for each in (ours, theirs)
    )
    difference = first_difference(written, on_disk, "recipe") or first_difference(ours, theirs) or ""
    key = difference.partition(": ")[0]
    part = key.partition(".")[0]
    names = [str((each["recipe"].get("model") or {}).get("name")) for each in (ours, theirs)]
    if key == "recipe.model.name" and all(map(source_file, names)):  # of a notebook: the name has a checksum
        part = "model_source" if len({name.partition(":")[2] for name in names}) == 1 else part
    elif part == "model_source" and names[0].startswith(TIMM):  # timm's version, no checksum
        return difference
    return _CHANGED[part].format(key.removeprefix("sources.")) if part in _CHANGED else difference


def needs_work(variant: Variant, folder: RunFolder, say: Say) -> bool:
    """Tell whether a run is missing, partial, or failed but may succeed; call it under the run's lock.

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
        cause = str(error).partition(" (")[0]  # the part in brackets is advice, which is followed here
        say(f"{cause}: moved to {folder.set_aside()}, and started again")
        return True
    if difference is not None:
        raise RunError(f"{difference}; choose another --out")
    return record is None or record.status == "running" or (record.status == "failed" and not record.diverged)


def claim(variant: Variant, folder: RunFolder, planned: dict[str, Any]) -> None:
    """Write a run's first record, with this configuration, before any work; call it under the run's lock.

    Two processes may have started at the same moment with two configurations of a variant, so that neither
    has seen the other's runs: the second one to claim a run gets an error.

    Raises:
        RunError: the variant's runs on disk are another configuration's.
    """
    with locked(folder.study.locks / f"claim-{variant.name}.lock", f"{folder.study.name}/{variant.name}"):
        if folder.record() is not None:
            return
        if difference := _difference_of_others(variant, folder.study):
            raise RunError(f"{difference}; choose another --out")
        folder.write(variant.record(folder.seed, "running", planned=planned))


def _difference_of_others(variant: Variant, study: StudyFolder) -> str | None:
    """Return how a variant's runs on disk differ from it; read only the first, as all are the same."""
    for folder in study.runs_of(variant.name):
        with suppress(RunError):
            if folder.record() is not None:
                return difference_on_disk(variant, folder)
    return None


def find_rates(job: Job, variant: Variant, *, seed: int | None = None, wait: bool = True) -> Rates | RunError:
    """Return the rates of a variant's runs, after its range test if it has one; or why it has none.

    Args:
        seed: of a run that finds its own rates, whose lock is held.

    Raises:
        HeldError: another process works on the range test, and ``wait`` is false.
    """
    from harness.training.range_test import ensure_range_test

    if variant.name in job.rates:
        return job.rates[variant.name]
    try:
        rates = ensure_range_test(
            variant,
            job.plan.folder,
            lambda: job.load_data(variant.recipe),
            seed=seed,
            threads=job.threads,
            say=job.say,
            wait=wait,
        )
    except HeldError:
        raise
    except RunError as error:
        return rates_without(job, variant, error)
    return resolve_rates(variant.recipe.schedule, rates)


def rates_without(job: Job, variant: Variant, error: RunError) -> Rates | RunError:
    """Return the rates after a failed range test: those of the study file, or else the error."""
    job.say(f"{job.plan.study.name}/{variant.name}  {error}")
    return error if variant.recipe.schedule.finds else resolve_rates(variant.recipe.schedule, None)
