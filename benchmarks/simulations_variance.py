"""The tables of docs/variance.md: ``python -m benchmarks.simulations_variance`` prints them.

How often the intervals of variance components cover, how often their F test rejects a true null, and what
shared levels and shared images do to the interval of a mean.
"""

from __future__ import annotations

import argparse
import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.markdown import table
from harness.console import open_streams
from harness.statistics.anova import mean_squares
from harness.statistics.components import FEWEST, quasi_f, shared_correlations

Array = NDArray[np.float64]
DESIGNS = ((4, 4, 3), (3, 3, 3), (5, 5), (8, 8))
COMPONENTS = (0.0, 0.1, 0.5, 2.0)  # of every source, the rest having 1
BAD, LOSS = 0.1, 5.0  # one run in ten is worse by five stds of the rest
POINTS, HELD_OUT, DIMENSIONS = 300, 60, 5  # the images, those held out, and numbers of an image


def designs(
    rng: np.random.Generator, studies: int, levels: tuple[int, ...], component: float, *, bad: bool = False
) -> Array:
    """(studies, L1, ..., Lk): sources of equal variance, and a rest of variance 1, or with bad runs."""
    values = rng.normal(size=(studies, *levels))
    if bad:
        values = values - LOSS * (rng.random(values.shape) < BAD)
    for axis in range(len(levels)):
        values = values + math.sqrt(component) * rng.normal(size=_shape(studies, levels, axis))
    return values


def _shape(studies: int, levels: tuple[int, ...], *axes: int) -> tuple[int, ...]:
    return (studies, *(size if axis in axes else 1 for axis, size in enumerate(levels)))


def component_rates(
    levels: tuple[int, ...], component: float, studies: int, *, bad: bool = False, seed: int = 0
) -> tuple[float, float]:
    """Coverage of the first source's interval, and how often its F test rejects."""
    values = designs(np.random.default_rng(seed), studies, levels, component, bad=bad)
    squares = mean_squares(values, sources=len(levels))
    low, high = squares.interval(squares.of_source(0))
    inside = (np.maximum(low, 0) <= component) & (component <= np.maximum(high, 0))
    return float(np.mean(inside)), float(np.mean(quasi_f(squares, 0)[1] <= 0.05))


def rest_rate(levels: tuple[int, ...], component: float, studies: int) -> float:
    """Coverage of the interval of the rest."""
    values = designs(np.random.default_rng(5), studies, levels, component)
    squares = mean_squares(values, sources=len(levels))
    low, high = squares.interval(squares.of_rest())
    return float(np.mean((low <= 1) & (high >= 1)))


def rejections_beside_an_interaction(levels: tuple[int, ...], size: float, studies: int) -> float:
    """How often the F test rejects for a source that gives nothing alone, but with a second one ``size``."""
    rng = np.random.default_rng(1)
    values = designs(rng, studies, levels, 0.0)
    values = values + math.sqrt(size) * rng.normal(size=_shape(studies, levels, 0, 1))
    return float(np.mean(quasi_f(mean_squares(values, sources=len(levels)), 0)[1] <= 0.05))


def correlation_rate(levels: tuple[int, ...], component: float, shared: float, studies: int) -> float:
    """Coverage of the correlation by a source, whose effects in two recipes correlate by ``shared``."""
    rng, k = np.random.default_rng(2), len(levels)
    pair = [rng.normal(size=(studies, *levels)) for _ in range(2)]
    for axis in range(k):
        one, other = (rng.normal(size=_shape(studies, levels, axis)) for _ in range(2))
        effects = one, shared * one + math.sqrt(1 - shared**2) * other
        pair = [values + math.sqrt(component) * own for values, own in zip(pair, effects, strict=True)]
    scaled = [values / np.sqrt(_total(values, k)).reshape(-1, *[1] * k) for values in pair]
    _, low, high = shared_correlations(scaled[0], scaled[1], sources=k)[0]
    truth = shared * component / (1 + k * component)
    return math.nan if low is None else float(np.mean((low <= truth) & (truth <= np.asarray(high))))


def _total(values: Array, sources: int) -> Array:
    squares = mean_squares(values, sources=sources)
    return np.asarray(squares.estimate(squares.of_everything()))


def crossed_intervals(values: Array, sources: int) -> tuple[Array, Array]:
    """Half widths of the interval of each design's mean: as if runs were independent, and the harness's."""
    squares = mean_squares(values, sources=sources)
    runs = math.prod(squares.levels)
    own = [levels - 1 for levels in squares.levels]
    pooled, left = squares.pooled_rest()
    flat = values.reshape(len(values), -1)
    plain = special.stdtrit(runs - 1, 0.975) * flat.std(axis=1, ddof=1) / math.sqrt(runs)
    effects = [squares.squares[at,] for at in range(sources)]
    used = [np.where(square > pooled, square, 0.0) for square in effects]
    rest = pooled * (1 - sum((part > 0).astype(float) for part in used))
    variance = sum(used) + rest
    spread = sum(part**2 / n for part, n in zip(used, own, strict=True)) + rest**2 / left
    degrees = np.maximum(variance**2 / spread, min(own))
    return np.asarray(plain), np.asarray(special.stdtrit(degrees, 0.975) * np.sqrt(variance / runs))


def mean_rates(levels: tuple[int, ...], component: float, studies: int) -> tuple[float, float]:
    """Coverage of the interval of the mean as if runs were independent, and of the harness's."""
    values = designs(np.random.default_rng(3), studies, levels, component)
    distance = np.abs(values.mean(axis=tuple(range(1, values.ndim))))
    plain, corrected = crossed_intervals(values, len(levels))
    return float(np.mean(distance <= plain)), float(np.mean(distance <= corrected))


def held_out_accuracies(rng: np.random.Generator, studies: int, draws: int) -> Array:
    """(studies, draws): a nearest-mean classifier, trained and tested on random hold-outs of the images."""
    labels = np.tile([0.0, 1.0], POINTS // 2)
    images = rng.normal(size=(studies, POINTS, DIMENSIONS)) + 0.4 * (2 * labels - 1)[:, None]
    found = np.empty((studies, draws))
    for draw in range(draws):
        held = rng.permuted(np.tile(np.arange(POINTS) < HELD_OUT, (studies, 1)), axis=1)
        weights = [(~held * (labels == label)).astype(float) for label in (0, 1)]
        zero, one = (np.einsum("sn,snd->sd", weight, images) / weight.sum(1)[:, None] for weight in weights)
        scores = np.einsum("snd,sd->sn", images, one - zero)
        threshold = ((one + zero) / 2 * (one - zero)).sum(1)
        right = (scores > threshold[:, None]) == (labels == 1)
        found[:, draw] = (right & held).sum(1) / HELD_OUT
    return found


def holdout_rates(draws: int, studies: int) -> tuple[float, float]:
    """Coverage of the interval of a mean over hold-outs: plain, and Nadeau and Bengio's."""
    rng = np.random.default_rng(4)
    truth = held_out_accuracies(rng, 20 * studies // draws, 1).mean()
    values = held_out_accuracies(rng, studies, draws)
    distance, std = np.abs(values.mean(1) - truth), values.std(axis=1, ddof=1)
    t = special.stdtrit(draws - 1, 0.975)
    ratio = HELD_OUT / (POINTS - HELD_OUT)
    halves = (t * std * math.sqrt(1 / draws), t * std * math.sqrt(1 / draws + ratio))
    plain, corrected = (float(np.mean(distance <= half)) for half in halves)
    return plain, corrected


def _print(title: str, header: tuple[str, ...], rows: list[list[str]]) -> None:
    print(f"**{title}**\n\n{table(header, rows)}\n")


def _name(levels: tuple[int, ...]) -> str:
    return " x ".join(map(str, levels))


def _percent(rate: float, *, low: float = 0.0, high: float = 1.0) -> str:
    return f"{100 * rate:.1f}" if low <= rate <= high else f"**{100 * rate:.1f}**"


def main() -> None:
    open_streams()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000, help="simulated studies a cell")
    studies = parser.parse_args().studies
    covering = partial(_percent, low=0.935)
    sizes = tuple(f"component {component:g}" for component in COMPONENTS)
    rates = {
        (bad, levels): [component_rates(levels, component, studies, bad=bad) for component in COMPONENTS]
        for bad in (False, True)
        for levels in DESIGNS
    }
    names = {key: f"{_name(key[1])}{', bad runs' if key[0] else ''}" for key in rates}
    _print(
        "Interval of a component: coverage, % (should be 95 ± 1.5; at 0 97.5)",
        ("", *sizes),
        [[names[key], *(covering(coverage) for coverage, _ in row)] for key, row in rates.items()],
    )
    _print(
        "F test of a component: rejections, % (of a component of 0 at most 5; else its power)",
        ("", *sizes),
        [[names[key], *(_percent(rejected) for _, rejected in row)] for key, row in rates.items()],
    )
    _print(
        "F test of a source that gives nothing alone, where it gives this much together with a second one, %",
        ("", *(f"together {size:g}" for size in (0.1, 0.5, 2.0))),
        [
            [
                _name(levels),
                *(
                    _percent(rejections_beside_an_interaction(levels, size, studies), high=0.056)
                    for size in (0.1, 0.5, 2.0)
                ),
            ]
            for levels in DESIGNS
        ],
    )
    pairs = ((0.0, 0.0), (0.1, 0.5), (0.5, 0.0), (0.5, 0.9), (2.0, 0.9))
    _print(
        "Interval of the rest: coverage, %",
        ("", *sizes),
        [
            [_name(levels), *(covering(rest_rate(levels, size, studies)) for size in COMPONENTS)]
            for levels in DESIGNS
        ],
    )
    _print(
        "Correlation of two recipes by a source: coverage of the interval, %",
        ("", *(f"component {component:g}, effects correlate {shared:g}" for component, shared in pairs)),
        [
            [_name(levels), *(covering(correlation_rate(levels, *pair, studies)) for pair in pairs)]
            for levels in DESIGNS
            if math.prod(size - 1 for size in levels) >= FEWEST
        ],
    )
    _print(
        "Interval of the mean of a crossed design: coverage, %: plain t / corrected",
        ("", *sizes),
        [
            [
                _name(levels),
                *(" / ".join(map(covering, mean_rates(levels, size, studies))) for size in COMPONENTS),
            ]
            for levels in DESIGNS
        ],
    )
    draws = (3, 5, 10, 20)
    _print(
        "Interval of the mean over hold-outs of a fifth of the images: coverage, %",
        ("", *(f"{k} hold-outs" for k in draws)),
        [
            [name, *(covering(holdout_rates(k, studies // 10)[at]) for k in draws)]
            for at, name in enumerate(("plain t", "Nadeau and Bengio"))
        ],
    )


if __name__ == "__main__":
    main()
