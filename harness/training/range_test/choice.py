"""The choice of LRMAX from a sweep, by the study's criterion; and the reasons to doubt it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.schedule import Rates
from harness.study_file.schedules import RangeTest
from harness.training.range_test.sweep import COARSE, Floats, Sweep, lower_rates, smoothing_sigma

FEWEST = 20  # rates to choose from
APART = 2.0  # the highest choice above this multiple of the lowest is a warning
STEADY = "valley_minimum"  # the criterion whose choices differ least: docs/range-test.md
MANY = 50  # rates to ask for where there were too few, at least


@dataclass(frozen=True)
class Choice:
    """The rates that a range test chose.

    Attributes:
        rates: LRMAX is the median of the sweeps' choices, LRMIN = LRMAX / divisor.
        each: LRMAX by each sweep alone.
        doubts: the reasons to doubt them.
    """

    rates: Rates
    each: tuple[float, ...]
    doubts: tuple[str, ...]


def choose_together(sweeps: Sequence[Sweep], settings: RangeTest) -> Choice:
    """Choose the rates from all sweeps of a range test.

    The median is taken over log(lr): of an even number of sweeps it is the geometric mean of the middle two.
    """
    chosen = [choose(sweep, settings) for sweep in sweeps]
    each = sorted(rates.lr_max for rates, _ in chosen)
    low, high = each[(len(each) - 1) // 2], each[len(each) // 2]
    lr_max = low if low == high else math.sqrt(low * high)
    rates = Rates(lr_max / settings.lr_min_divisor, lr_max)
    doubts = _together([doubts for _, doubts in chosen])
    if each[-1] > APART * each[0]:
        steadier = "" if settings.criterion == STEADY else f', or take criterion = "{STEADY}"'
        doubts.append(
            f"its {len(each)} sweeps choose lr_max from {each[0]:.4g} to {each[-1]:.4g}, a factor of "
            f"{each[-1] / each[0]:.1f}; raise range_test.repeats{steadier}"
        )
    return Choice(rates, tuple(rates.lr_max for rates, _ in chosen), tuple(doubts))


def _together(doubts: Sequence[Sequence[str]]) -> list[str]:
    """Return each doubt once, by its advice, with how many sweeps have it where not all do."""
    sweeps = len(doubts)
    by_advice: dict[str, list[str]] = {}
    for told in doubts:
        for doubt in told:
            by_advice.setdefault(doubt.rpartition("; ")[2], []).append(doubt)
    return [
        told[0] if len(told) == sweeps else f"{len(told)} of {sweeps} sweeps: {told[0]}"
        for told in by_advice.values()
    ]


def choose(sweep: Sweep, settings: RangeTest) -> tuple[Rates, list[str]]:
    """Return the rates that one sweep chooses by the study's criterion, and the reasons to doubt them."""
    at = CRITERIA[settings.criterion](sweep)
    lr_max = float(sweep.lr[at])
    few = _too_few(settings)
    doubts = [few, _doubt(sweep, at, settings, few=bool(few))]
    return Rates(lr_max / settings.lr_min_divisor, lr_max), [doubt for doubt in doubts if doubt]


def _accuracy(sweep: Sweep) -> int:
    """Return the step at the peak of the smoothed accuracy."""
    return int(np.argmax(sweep.smoothed_accuracy))


def _minimum(sweep: Sweep) -> int:
    """Return the step with the lowest smoothed loss."""
    return int(np.argmin(sweep.smoothed_loss))


def _steepest(sweep: Sweep) -> int:
    """Return the step of the steepest fall of the smoothed loss over log(lr); fastai's "slope"."""
    return int(np.argmin(np.gradient(sweep.smoothed_loss, np.log(sweep.lr))))


def _valley(sweep: Sweep) -> int:
    """Return the step two thirds along the longest fall of the smoothed loss; fastai's "valley"."""
    return _two_thirds(*_longest_fall(sweep.smoothed_loss))


def _valley_minimum(sweep: Sweep) -> int:
    """Return the step halfway, over log(lr), from the valley of the loss to its minimum.

    The valley is searched before the minimum: a loss may fall again, and for longer, after it diverged.
    """
    loss, rates = sweep.smoothed_loss, np.log(sweep.lr)
    lowest = int(np.argmin(loss))
    valley = _two_thirds(*_longest_fall(loss[: lowest + 1]))
    return int(np.argmin(np.abs(rates - (rates[valley] + rates[lowest]) / 2)))


def _two_thirds(first: int, last: int) -> int:
    return first + round((last - first) * 2 / 3)


def _longest_fall(values: Floats) -> tuple[int, int]:
    """Return the first and last index of the longest stretch without a rise."""
    best, start = (0, 0), 0
    for at in range(1, len(values)):
        if values[at] > values[at - 1]:
            start = at
        if at - start > best[1] - best[0]:
            best = (start, at)
    return best


# range_test.criterion -> the step of a sweep whose rate is LRMAX
CRITERIA: dict[str, Callable[[Sweep], int]] = {
    "accuracy": _accuracy,
    "steepest": _steepest,
    "valley": _valley,
    "minimum": _minimum,
    "valley_minimum": _valley_minimum,
}


def _too_few(settings: RangeTest) -> str:
    """Return a doubt where the rates are too few or too far apart; else an empty text."""
    span, exponential = settings.end_lr / settings.start_lr, settings.mode == "exponential"
    ratio = span ** (1 / (settings.iterations - 1))
    coarse = exponential and ratio > COARSE
    if settings.iterations >= FEWEST and not coarse:
        return ""
    wanted = 1 + math.ceil(math.log(span) / math.log(1.1)) if exponential else 0
    spacing = f", each {ratio:.3g} times the one before," if coarse else ""
    return (
        f"{settings.iterations} rates{spacing} are too few to choose from; "
        f"raise range_test.iterations to {max(MANY, wanted)}"
    )


def _doubt(sweep: Sweep, at: int, settings: RangeTest, *, few: bool) -> str:
    """Say why the rate of a step is a doubtful choice, and which key to change; empty where it is not."""
    loss, rates, steps = sweep.smoothed_loss, sweep.lr, len(sweep.lr)
    first, lowest, margin, edge = float(loss[0]), int(np.argmin(loss)), _noise(sweep), max(1, steps // 50)
    risen = np.flatnonzero(loss > first + margin)
    rises_at = int(risen[0]) if len(risen) else steps
    lower, chosen = lower_rates(rates), f"lr_max = {rates[at]:.4g}"
    if loss[at] > first + margin:
        change = lower if rises_at <= edge else "lower range_test.end_lr"
        return f"the loss at {chosen} is {loss[at]:.3g}, above its {first:.3g} at the start; {change}"
    if few:  # too few rates for the other checks
        return ""
    if first - loss[lowest] <= margin:
        if rises_at == steps and not sweep.diverged:
            return "no rate of the sweep lowers the loss; raise range_test.end_lr"
        if rises_at <= settings.iterations / 5:
            return f"the loss rises from the first rates on; {lower}"
        return "no rate lowers the loss before it rises; raise range_test.iterations"
    if at < edge and settings.criterion == "accuracy" and lowest >= edge:
        falls = f"but the loss falls until lr = {rates[lowest]:.4g}; choose another range_test.criterion"
        return f"{chosen} is at the start of the sweep, {falls}"
    if at < edge:
        return f"{chosen} is at the start of the sweep; {lower}"
    if at >= steps - edge and sweep.diverged:
        return f"{chosen} is where the loss diverged; raise range_test.iterations"
    if at >= steps - edge:
        return f"{chosen} is at the end of the sweep; raise range_test.end_lr"
    if lowest >= steps - edge and sweep.diverged:  # smoothing makes a rise of a diverging loss
        falls = f"the loss falls until lr = {rates[-1]:.4g} and is not finite at the next step"
        return f"{falls}; look at data and precision, or raise range_test.iterations"
    if lowest >= steps - edge:
        return "the loss still falls where the sweep ends; raise range_test.end_lr"
    if steps < FEWEST:
        ran = f"the loss diverged after {steps} of {settings.iterations} steps"
        return f"{ran}, too few to choose from; lower range_test.end_lr"
    return ""


def _noise(sweep: Sweep) -> float:
    """Return the change of the smoothed loss from its start that is due to chance, or too small to matter.

    Four standard deviations of the batches' noise that remains after Gaussian smoothing, until the loss is
    lowest; the noise is estimated by the median absolute deviation.
    """
    smoothed = sweep.smoothed_loss
    residuals = (sweep.loss - smoothed)[: max(int(np.argmin(smoothed)) + 1, FEWEST)]
    noise = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    left = noise / math.sqrt(2 * math.sqrt(math.pi) * smoothing_sigma(len(smoothed)))
    return max(4 * left, 0.02 * abs(float(smoothed[0])))
