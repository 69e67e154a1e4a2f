"""The serial launcher: range tests and runs one after another, in this process."""

from __future__ import annotations

from harness.errors import HeldError, RunError
from harness.launch.job import Job, find_rates, run_one
from harness.schedule import Rates


def serial(job: Job, workers: int | None) -> dict[str, str]:
    """Take what is free first, then wait for what other processes hold."""
    rates: dict[str, Rates | RunError] = {}
    unrecorded: dict[str, str] = {}
    pending, said = job.plan.runs(), set()
    for wait in (False, True):
        held = []
        for variant, folder in pending:
            try:
                if variant.name not in rates:
                    rates[variant.name] = find_rates(job, variant, wait=wait)
                run_one(job, variant, folder, rates[variant.name], wait=wait)
            except HeldError as error:
                held.append((variant, folder))
                if str(error) not in said:
                    job.say(f"{error}; left for later")
                    said.add(str(error))
            except RunError as error:
                unrecorded[folder.name] = str(error)
                job.say(f"{folder.name}  FAILED: {error}")
        pending = held
    return unrecorded
