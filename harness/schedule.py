"""The learning rate of every step, as corners for Ignite's ``PiecewiseLinear``; steps count from 0."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.errors import StudyError
from harness.own_schedule import own_rates
from harness.study_file.schedules import Constant, Cosine, OneCycle, OwnSchedule, Piecewise, Step, Triangle

Schedule = Triangle | OneCycle | Constant | Piecewise | Cosine | Step | OwnSchedule
Milestones = list[tuple[int, float]]


@dataclass(frozen=True)
class Rates:
    """The lowest and highest learning rate of a schedule.

    Attributes:
        lr_min: where it begins (and where a triangle ends, unless the study says otherwise). Of piecewise,
            cosine and step schedules the lowest rate; of a user's own schedule 0, as it is not known.
        lr_max: the peak. Of a piecewise schedule what its rates are factors of, if they are.
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
    if isinstance(schedule, Piecewise):
        unit = 1.0 if schedule.lr_max is None else choose(schedule.lr_max, "lr_max")
        rates = [unit * rate for _, rate in schedule.points]
        return Rates(min(rates), max(rates) if schedule.lr_max is None else unit)
    lr_max = choose(schedule.lr_max, "lr_max")
    if isinstance(schedule, OwnSchedule):
        return Rates(0.0, lr_max)
    if isinstance(schedule, Cosine):
        return Rates(schedule.final, lr_max)
    if isinstance(schedule, Step):
        return Rates(lr_max * schedule.gamma ** len(schedule.falls), lr_max)
    if isinstance(schedule, OneCycle):
        return Rates(lr_max / schedule.div_factor, lr_max)
    return Rates(choose(schedule.lr_min, "lr_min"), lr_max)


def corners(schedule: Schedule, rates: Rates, steps_per_epoch: float) -> list[tuple[float, float]]:
    """Return the corners that the study asks for, which may be between two steps.

    Returns:
        ``[(epochs since the start, rate), ...]``; the rate of every step where it has no corners.
    """
    if isinstance(schedule, Piecewise | Step):
        points = _points(schedule, rates)
        return [(0.0, points[0][1]), *points, (float(schedule.epochs), points[-1][1])]
    if isinstance(schedule, Cosine | OwnSchedule):
        steps = round(steps_per_epoch)
        return [(step / steps, rate) for step, rate in lr_milestones(schedule, rates, steps)]
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
            has no rising leg; a cosine of one step; a user's own schedule fails.
    """
    if isinstance(schedule, Constant):
        return [(0, rates.lr_max)]
    if isinstance(schedule, Piecewise | Step):
        return _at_steps(_points(schedule, rates), schedule.epochs, steps_per_epoch)
    if isinstance(schedule, Cosine):
        return _cosine(schedule, rates, steps_per_epoch)
    if isinstance(schedule, OwnSchedule):
        return list(enumerate(own_rates(schedule, rates.lr_max, steps_per_epoch)))
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
    if isinstance(schedule, Piecewise) and schedule.momentum_points is not None:
        points = [(epoch, momentum) for epoch, momentum in schedule.momentum_points]
        return _at_steps(points, schedule.epochs, steps_per_epoch)
    if not isinstance(schedule, OneCycle) or schedule.cycle_momentum is None:
        return None
    low, high = schedule.cycle_momentum
    return _one_cycle(schedule, steps_per_epoch, high, low, high)


def rates_at(milestones: Milestones, steps: np.ndarray | list[int]) -> np.ndarray:
    """Return the rate at each of the steps, as ``PiecewiseLinear`` will set it."""
    at, rates = np.array(milestones, dtype=float).T
    interpolated: np.ndarray = np.interp(np.asarray(steps, dtype=float), at, rates)
    return interpolated


def _points(schedule: Piecewise | Step, rates: Rates) -> list[tuple[float, float]]:
    """Return the corners (epoch, rate); two at one epoch are a jump."""
    if isinstance(schedule, Piecewise):
        unit = 1.0 if schedule.lr_max is None else rates.lr_max
        return [(epoch, unit * rate) for epoch, rate in schedule.points]
    points = [(0.0, rates.lr_max)]
    for epoch in schedule.falls:
        points += [(epoch, points[-1][1]), (epoch, points[-1][1] * schedule.gamma)]
    return points


def _at_steps(points: Sequence[tuple[float, float]], epochs: int, steps_per_epoch: int) -> Milestones:
    """Return corners at whole steps whose straight lines are those of the points at every step.

    A point between two steps becomes two corners, one at either step. A point at ``epochs`` itself, a step
    after the last, is moved to the last.
    """
    last = epochs * steps_per_epoch - 1
    at = [_step_of(epoch, steps_per_epoch) for epoch, _ in points]
    if points[-1][0] == epochs:
        at = [min(step, float(last)) for step in at]
    values = [value for _, value in points]

    def value(step: int) -> float:
        after = bisect_right(at, step)
        if after in (0, len(at)):
            return values[max(after - 1, 0)]
        share = (step - at[after - 1]) / (at[after] - at[after - 1])
        return values[after - 1] + (values[after] - values[after - 1]) * share

    jumps = {before for before, after in pairwise(at) if before == after}
    chosen = {0, last} | {math.ceil(step) for step in at}
    chosen |= {math.ceil(step) - 1 for step in at if step in jumps or step != int(step)}
    return [(step, value(step)) for step in sorted(chosen) if 0 <= step <= last]


def _step_of(epoch: float, steps_per_epoch: int) -> float:
    """Return an epoch in steps; a whole step where only rounding keeps it from one."""
    step = epoch * steps_per_epoch
    return float(round(step)) if math.isclose(step, round(step), rel_tol=1e-9, abs_tol=1e-9) else step


def _cosine(schedule: Cosine, rates: Rates, steps_per_epoch: int) -> Milestones:
    """Return the rate of every step, as Ignite's cosine and warm-up set it."""
    import torch
    from ignite.handlers.param_scheduler import (
        ConcatScheduler,
        CosineAnnealingScheduler,
        ParamScheduler,
        PiecewiseLinear,
    )
    from torch.optim import SGD

    steps, warmup = schedule.epochs * steps_per_epoch, round(schedule.warmup_epochs * steps_per_epoch)
    cycle = (
        steps - warmup if schedule.cycle_epochs is None else round(schedule.cycle_epochs * steps_per_epoch)
    )
    if cycle < 2:
        raise StudyError(
            f"schedule: a cosine over {max(cycle, 0)} of {steps} steps; it needs two: more epochs, a smaller "
            "data.batch_size, or another schedule.kind"
        )
    optimizer = SGD([torch.zeros(1)], lr=0.0)  # to read the rates from
    handler: ParamScheduler = CosineAnnealingScheduler(
        optimizer, "lr", rates.lr_max, schedule.final, cycle, cycle_mult=schedule.cycle_mult
    )
    if warmup:
        rise = [(0, schedule.warmup_start * rates.lr_max), (warmup, rates.lr_max)]
        handler = ConcatScheduler([PiecewiseLinear(optimizer, "lr", rise), handler], [warmup])
    milestones = []
    for step in range(steps):
        handler(None)
        milestones.append((step, float(optimizer.param_groups[0]["lr"])))
    return milestones


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
