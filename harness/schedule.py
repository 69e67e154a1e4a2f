"""The learning rate of every step, as corners for Ignite's ``PiecewiseLinear``; steps count from 0."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from harness.errors import StudyError
from harness.study_file.schedules import Constant, OneCycle, Triangle

Schedule = Triangle | OneCycle | Constant
Milestones = list[tuple[int, float]]


@dataclass(frozen=True)
class Rates:
    """The lowest and highest learning rate of a schedule.

    Attributes:
        lr_min: where it begins (and where a triangle ends, unless the study says otherwise).
        lr_max: the peak.
    """

    lr_min: float
    lr_max: float


def resolve_rates(schedule: Schedule, range_test: Rates | None) -> Rates:
    """Return the study's own rates; rates that it leaves open come from the range test.

    Raises:
        StudyError: a rate is to be found and the range test has not been run.
    """
    if schedule.finds and range_test is None:
        raise StudyError('schedule: a rate is "find", but there is no range test result')

    def choose(setting: float | str, name: str) -> float:
        return float(getattr(range_test, name)) if setting == "find" else float(setting)

    if isinstance(schedule, Constant):
        lr = choose(schedule.lr, "lr_max")
        return Rates(lr, lr)
    lr_max = choose(schedule.lr_max, "lr_max")
    if isinstance(schedule, OneCycle):
        return Rates(lr_max / schedule.div_factor, lr_max)
    return Rates(choose(schedule.lr_min, "lr_min"), lr_max)


def corners(schedule: Schedule, rates: Rates, steps_per_epoch: float) -> list[tuple[float, float]]:
    """Return the corners that the study asks for, which may lie between two steps.

    Returns:
        ``[(epochs since the start, rate), ...]``.
    """
    if isinstance(schedule, Constant):
        return [(0.0, rates.lr_max), (schedule.epochs, rates.lr_max)]
    if isinstance(schedule, Triangle):
        final = rates.lr_min if schedule.final == "lr_min" else float(schedule.final)
        return [(0.0, rates.lr_min), (schedule.peak_epoch, rates.lr_max), (schedule.epochs, final)]
    peak, end, per_epoch = _cycle(schedule, steps_per_epoch)
    final = rates.lr_min / schedule.final_div_factor
    return [(0.0, rates.lr_min), (peak / per_epoch, rates.lr_max), (end / per_epoch, final)]


def lr_milestones(schedule: Schedule, rates: Rates, steps_per_epoch: int) -> Milestones:
    """Return the corners of the learning rate, moved to whole steps.

    Returns:
        ``[(step, rate), ...]`` with rising steps; between two corners the rate is linear.

    Raises:
        StudyError: a triangle of fewer than three steps; the one-cycle form cannot be stepped that often, or
            has no rising leg.
    """
    if isinstance(schedule, Constant):
        return [(0, rates.lr_max)]
    first, peak, end = (rate for _, rate in corners(schedule, rates, steps_per_epoch))
    if isinstance(schedule, OneCycle):
        return _one_cycle(schedule, steps_per_epoch, first, peak, end)
    last = schedule.epochs * steps_per_epoch - 1
    if last < 2:
        raise StudyError(
            f"schedule: {last + 1} step{'s' * (last > 0)} in all leave no room for a peak between the "
            'first and the last: more epochs, a smaller data.batch_size, or schedule.kind = "constant"'
        )
    peak_step = min(max(round(schedule.peak_epoch * steps_per_epoch), 1), last - 1)
    return [(0, first), (peak_step, peak), (last, end)]


def momentum_milestones(schedule: Schedule, steps_per_epoch: int) -> Milestones | None:
    """Return the corners of the momentum (SGD) or beta1 (Adam) where the schedule cycles it; else None."""
    if not isinstance(schedule, OneCycle) or schedule.cycle_momentum is None:
        return None
    low, high = schedule.cycle_momentum
    return _one_cycle(schedule, steps_per_epoch, high, low, high)


def rates_at(milestones: Milestones, steps: np.ndarray | list[int]) -> np.ndarray:
    """Return the rate at each of the steps, as ``PiecewiseLinear`` will set it."""
    at, rates = np.array(milestones, dtype=float).T
    interpolated: np.ndarray = np.interp(np.asarray(steps, dtype=float), at, rates)
    return interpolated


def _cycle(schedule: OneCycle, steps_per_epoch: float) -> tuple[float, float, float]:
    """Return the peak and the end of torch's ``OneCycleLR`` in its own steps, and its steps per epoch."""
    in_epoch = {"batch": steps_per_epoch, "epoch": 1, "batch_and_epoch": steps_per_epoch + 1}[schedule.step]
    total = schedule.total_steps or schedule.epochs * in_epoch
    return schedule.pct_start * total - 1, total - 1, in_epoch


def _one_cycle(schedule: OneCycle, steps_per_epoch: int, start: float, peak: float, end: float) -> Milestones:
    """Return the linear form of torch's ``OneCycleLR`` at our corners.

    With schedule step s and T steps in all: start at s = 0, peak at s = pct_start * T - 1 (which may lie
    between two steps), end at s = T - 1.
    """
    up, through, _ = _cycle(schedule, steps_per_epoch)
    last = schedule.epochs * steps_per_epoch - 1

    def schedule_step(step: int) -> int:
        epoch = step // steps_per_epoch
        return {"batch": step, "epoch": epoch, "batch_and_epoch": step + epoch}[schedule.step]

    if up <= 0:
        raise StudyError(
            f"schedule.pct_start: {schedule.pct_start:g} of {through + 1} steps leave no rising leg; raise it"
        )
    if schedule_step(last) > through:
        raise StudyError(
            f"schedule.total_steps: {through + 1} are fewer than the {schedule_step(last) + 1} that are "
            "stepped"
        )

    def value(step: int) -> float:
        at = schedule_step(step)
        if at <= up:
            return start + (peak - start) * (at / up)
        return peak + (end - peak) * ((at - up) / (through - up))

    chosen = {0, last}
    if schedule.step != "batch":  # a plateau or a jump at the border of every epoch
        borders = range(0, last + 1, steps_per_epoch)
        chosen |= {step for first in borders for step in (first, first + steps_per_epoch - 1)}
    below_peak = bisect_right(range(last + 1), up, key=schedule_step) - 1
    chosen |= {below_peak, min(below_peak + 1, last)}
    return [(step, value(step)) for step in sorted(chosen)]
