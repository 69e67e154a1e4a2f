"""The learning rate of every step, as corners for ignite's ``PiecewiseLinear``; steps count from 0."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.errors import StudyError
from harness.study_file.schedules import Constant, OneCycle, Triangle

Milestones = list[tuple[int, float]]


@dataclass(frozen=True)
class Rates:
    """The two ends of the cycle.

    Attributes:
        lr_min: where it begins (and where a triangle ends, unless the study says otherwise).
        lr_max: the peak.
    """

    lr_min: float
    lr_max: float


def resolve_rates(schedule: Triangle | OneCycle | Constant, found: Rates | None) -> Rates:
    """The study's own rates, those left open taken from the range test.

    Raises:
        StudyError: a rate is to be found and the range test has not been run.
    """
    if schedule.finds and found is None:
        raise StudyError('schedule: a rate is "find", but there is no range test result')

    def choose(setting: float | str, name: str) -> float:
        return float(getattr(found, name)) if setting == "find" else float(setting)

    if isinstance(schedule, Constant):
        lr = choose(schedule.lr, "lr_max")
        return Rates(lr, lr)
    lr_max = choose(schedule.lr_max, "lr_max")
    if isinstance(schedule, OneCycle):
        return Rates(lr_max / schedule.div_factor, lr_max)
    return Rates(choose(schedule.lr_min, "lr_min"), lr_max)


def count_steps(images: int, batch_size: int, drop_last: bool) -> int:
    """Count the batches of an epoch; a smaller last one is left out or not."""
    return images // batch_size if drop_last else -(-images // batch_size)


def lr_milestones(schedule: Triangle | OneCycle | Constant, rates: Rates, steps_per_epoch: int) -> Milestones:
    """Corners of the learning rate.

    Returns:
        ``[(step, rate), ...]`` with rising steps; between two corners the rate is linear.

    Raises:
        StudyError: a triangle of fewer than three steps; the one-cycle form cannot be stepped that often, or
            has no rising leg.
    """
    last = schedule.epochs * steps_per_epoch - 1
    if isinstance(schedule, Constant):
        return [(0, rates.lr_max)]
    if isinstance(schedule, Triangle):
        final = rates.lr_min if schedule.final == "lr_min" else float(schedule.final)
        if last < 2:
            raise StudyError(
                f"schedule: {last + 1} step{'s' * (last > 0)} in all leave no room for a peak between the "
                'first and the last: more epochs, a smaller data.batch_size, or schedule.kind = "constant"'
            )
        peak = min(max(round(schedule.peak_epoch * steps_per_epoch), 1), last - 1)
        return [(0, rates.lr_min), (peak, rates.lr_max), (last, final)]
    end = rates.lr_min / schedule.final_div_factor
    return _one_cycle(schedule, steps_per_epoch, rates.lr_min, rates.lr_max, end)


def momentum_milestones(schedule: Triangle | OneCycle | Constant, steps_per_epoch: int) -> Milestones | None:
    """Corners of the momentum (SGD) or beta1 (Adam) where the schedule cycles it; else None."""
    if not isinstance(schedule, OneCycle) or schedule.cycle_momentum is None:
        return None
    low, high = schedule.cycle_momentum
    return _one_cycle(schedule, steps_per_epoch, high, low, high)


def rates_at(milestones: Milestones, steps: np.ndarray | list[int]) -> np.ndarray:
    """The rate at each of the steps, as ``PiecewiseLinear`` will set it."""
    corners = np.array(milestones, dtype=float)
    rates: np.ndarray = np.interp(np.asarray(steps, dtype=float), corners[:, 0], corners[:, 1])
    return rates


def _one_cycle(schedule: OneCycle, steps_per_epoch: int, start: float, peak: float, end: float) -> Milestones:
    """The linear form of torch's ``OneCycleLR`` at our corners.

    With schedule step s and T steps in all: start at s = 0, peak at s = pct_start * T - 1 (which may lie
    between two steps), end at s = T - 1.
    """
    schedule_step, per_cycle = _stepping(schedule, steps_per_epoch)
    total = schedule.total_steps or per_cycle
    up = schedule.pct_start * total - 1
    last = schedule.epochs * steps_per_epoch - 1
    if up <= 0:
        raise StudyError(
            f"schedule.pct_start: {schedule.pct_start:g} of {total} steps leave no rising leg; raise it"
        )
    if schedule_step(last) > total - 1:
        raise StudyError(
            f"schedule.total_steps: {total} are fewer than the {schedule_step(last) + 1} that are stepped"
        )

    def value(step: int) -> float:
        at = schedule_step(step)
        if at <= up:
            return start + (peak - start) * (at / up)
        return peak + (end - peak) * ((at - up) / (total - 1 - up))

    corners = {0, last}
    if schedule.step != "batch":  # a plateau or a jump at the border of every epoch
        borders = range(0, last + 1, steps_per_epoch)
        corners |= {step for first in borders for step in (first, first + steps_per_epoch - 1)}
    below_peak = bisect_right(range(last + 1), up, key=schedule_step) - 1
    corners |= {below_peak, min(below_peak + 1, last)}
    return [(step, value(step)) for step in sorted(corners)]


def _stepping(schedule: OneCycle, steps_per_epoch: int) -> tuple[Callable[[int], int], int]:
    """Optimizer step -> schedule step, and the schedule steps of all epochs."""
    if schedule.step == "batch":
        return lambda step: step, schedule.epochs * steps_per_epoch
    if schedule.step == "epoch":
        return lambda step: step // steps_per_epoch, schedule.epochs
    return lambda step: step + step // steps_per_epoch, schedule.epochs * (steps_per_epoch + 1)
