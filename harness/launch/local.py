"""The serial launcher: range tests and runs one after another, in this process."""

from __future__ import annotations

from harness.errors import HeldError, RunError
from harness.launch.job import Job, needs_work, run_one
from harness.plan import Variant
from harness.store import RunFolder
from harness.training.range_test import ensure_range_test, record_without_rates
from harness.training.schedule import Rates, resolve_rates


def serial(job: Job, workers: int) -> None:
    """Take what is free first, then wait for what other processes hold."""
    rates: dict[str, Rates | RunError] = {}
    held: list[tuple[Variant, RunFolder]] = []
    for variant, folder in job.plan.runs():
        if variant.name not in rates:
            rates[variant.name] = _rates(job, variant)
        try:
            _run(job, variant, folder, rates[variant.name], wait=False)
        except HeldError as error:
            job.say(f"{error}; left for later")
            held.append((variant, folder))
    for variant, folder in held:
        _run(job, variant, folder, rates[variant.name], wait=True)


def _rates(job: Job, variant: Variant) -> Rates | RunError:
    try:
        found = ensure_range_test(
            variant, job.plan.folder, lambda: job.load_data(variant.recipe), threads=job.threads, say=job.say
        )
    except RunError as error:
        job.say(f"{job.plan.study.name}/{variant.name}  {error}")
        if variant.recipe.schedule.finds:
            return error
        found = None
    return resolve_rates(variant.recipe.schedule, found)


def _run(job: Job, variant: Variant, folder: RunFolder, rates: Rates | RunError, *, wait: bool) -> None:
    if isinstance(rates, RunError):
        with folder.lock(wait=wait):
            if needs_work(folder, job.say):
                record_without_rates(variant, folder, rates)
    else:
        run_one(job, variant, folder, rates, wait=wait)
