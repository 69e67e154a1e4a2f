"""A schedule by import path: a function of your own, or a scheduler class such as torch's own ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import one_line
from harness.study_file.schedules import OwnSchedule

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

TORCHS = "torch.optim.lr_scheduler"  # needs no --allow


def own_rates(schedule: OwnSchedule, lr_max: float, steps_per_epoch: int) -> list[float]:
    """Return the rate of every step.

    Raises:
        StudyError: it may not be imported, fails, or gives something else than a rate.
    """
    from torch.optim.lr_scheduler import LRScheduler

    place = f"schedule.kind: {schedule.kind}"
    trusted = schedule.kind.startswith(f"{TORCHS}:")
    found = import_allowed(schedule.kind, place, trusted=trusted)
    scheduler = isinstance(found, type) and issubclass(found, LRScheduler)
    if not callable(found) or (trusted and not scheduler):
        raise StudyError(f"{place}: expected a function, or a class of {TORCHS} that needs no metric")
    if schedule.step != "batch" and not scheduler:
        raise StudyError(f"{place}: a function is called for every step; remove schedule.step")
    steps = schedule.epochs * steps_per_epoch
    rates: list[float] = []
    try:
        if scheduler:
            rates += islice(_stepped(found, schedule, lr_max, steps_per_epoch), steps)
        else:
            for step in range(steps):
                rates.append(float(found(step, steps_per_epoch, schedule.epochs, lr_max, **schedule.options)))
    except Exception as error:  # a user's code may raise anything
        raise StudyError(
            f"{place}: at step {len(rates)} of {steps}: {type(error).__name__}: {one_line(error, 200)}"
        ) from None
    for step, rate in enumerate(rates):
        if not (math.isfinite(rate) and 0 <= rate <= 1e6):
            raise StudyError(f"{place}: at step {step} of {steps} it gives {rate!r}; expected a rate >= 0")
    return rates


def _stepped(
    scheduler: type[LRScheduler], schedule: OwnSchedule, lr_max: float, steps_per_epoch: int
) -> Iterator[float]:
    """Yield the rates that a scheduler class sets, stepped after every batch or epoch."""
    import torch

    optimizer = torch.optim.Adagrad([torch.zeros(1)], lr=lr_max)  # has no momentum that could be cycled
    make: Any = scheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        stepped = make(optimizer, **schedule.options)
        optimizer.step()  # once: a scheduler warns before the first step
        every, step = (steps_per_epoch if schedule.step == "epoch" else 1), 0
        while True:
            yield float(optimizer.param_groups[0]["lr"])
            step += 1
            if step % every == 0:
                stepped.step()
