"""False and correct verdicts if seeds are added after looking.

``benchmarks.simulation_tables`` prints the results. Each function computes thousands of studies at once;
tests/statistics/test_sequential.py checks that a study gets here what harness.statistics gives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulations import BAD, LOSS, STD, normal, skewed
from harness.statistics.looks import look_bounds

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

MOST = 20  # seeds of a study
FIRST = 3  # seeds before the first verdict
SIZES = (3, 5, 10, 20)
PLANS = ((3, 5, 10, 20), (3, 5, 10))
LEVEL = 0.05
EFFECTS = (0.5, 1.0, 2.0)  # mean / std of the differences
BAD_STD = math.sqrt(STD**2 + BAD * (1 - BAD) * LOSS**2)  # of a recipe with bad seeds

# name -> whether the variant, and whether its baseline, has one bad seed in ten
KINDS = {
    "normal": (False, False),
    "both skewed": (True, True),
    "one skewed": (True, False),
}


def differences(rng: np.random.Generator, kind: str, studies: int, variants: int, effect: float = 0) -> Array:
    """(studies, variants, MOST): variants less the baseline that they share, with this mean in stds."""
    ours, theirs = KINDS[kind]
    shape = (studies, variants + 1, MOST)
    drawn = normal(rng, shape)
    for columns, bad in ((slice(1, None), ours), (slice(0, 1), theirs)):
        if bad:
            part = drawn[:, columns]
            drawn[:, columns] = skewed(rng, part.shape) + BAD * LOSS
    std = math.hypot(*(BAD_STD if bad else STD for bad in KINDS[kind]))
    return np.asarray(drawn[:, 1:] - drawn[:, :1] + effect * std)


def t_paths(values: Array) -> tuple[Array, Array, Array]:
    """(..., MOST) -> t, mean and standard error of the first n values at [..., n - 1]; nothing at n = 1."""
    n = np.arange(1, values.shape[-1] + 1)
    about = values[..., :1]  # against cancellation
    total, squares = (values - about).cumsum(axis=-1), ((values - about) ** 2).cumsum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt((squares - total**2 / n) / (n - 1) / n)
        mean = total / n + about
        return mean / error, mean, error


def quantiles(level: float = LEVEL) -> Array:
    """|t| that one test at n needs, at [n - 1]."""
    return np.array([math.inf, *special.stdtrit(np.arange(1, MOST), 1 - level / 2)])


def e_paths(t: Array) -> Array:
    """(..., MOST) -> e-values with τ = 1."""
    n = np.arange(1, t.shape[-1] + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = t**2 / (n - 1)
        ratio = (1 + squared) / (1 + squared / (1 + n))
    return np.where(n > 1, ratio ** (n / 2) / np.sqrt(1 + n), 1.0)


def confidence_factors(level: float = LEVEL) -> Array:
    """Half width of the confidence sequence in standard errors, at [n - 1]."""
    n = np.arange(1, MOST + 1)
    a = (np.sqrt(1 + n) / level) ** (2 / n)
    with np.errstate(invalid="ignore"):
        return np.where(a < 1 + n, np.sqrt((n - 1) * (a - 1) / (1 - a / (1 + n))), math.inf)


# ---- ways to decide: t (studies, k, MOST) -> decided after n seeds, at [study, k, n - 1] -----------------


def at_a_fixed_n(t: Array, first: int = 2) -> Flags:
    """Verdict by the paired t test with Holm of these n alone: not cumulative."""
    k = t.shape[1]
    found = np.abs(t[..., None]) >= np.stack([quantiles(LEVEL / m) for m in range(1, k + 1)], axis=-1)
    decided = _holm(found)
    decided[..., : first - 1] = False
    return decided


def peeking(t: Array) -> Flags:
    """One more seed after each look without a verdict, from ``FIRST`` on."""
    return np.maximum.accumulate(at_a_fixed_n(t, FIRST), axis=-1)


def as_advised(t: Array) -> Flags:
    """The page's "about N seeds" as the next n, again and again; one comparison."""
    effects = np.abs(t[:, 0]) / np.sqrt(np.arange(1, MOST + 1))
    # the smallest effect for which n seeds have a power of 80 %
    shifts = special.nctdtrinc(np.arange(1, MOST), 0.2, quantiles()[1:])
    enough = np.array([math.inf, *(shifts / np.sqrt(np.arange(2, MOST + 1)))])
    needed = 1 + (effects[..., None] < enough).sum(axis=-1)
    fixed, studies = at_a_fixed_n(t)[:, 0], np.arange(len(t))
    decided, at = np.zeros_like(fixed), np.full(len(t), FIRST)
    while (at <= MOST).any():
        last = np.minimum(at, MOST) - 1
        decided[studies, last] |= fixed[studies, last] & (at <= MOST)
        at = np.where(decided[studies, last], MOST + 1, np.maximum(needed[studies, last], at + 1))
    return np.maximum.accumulate(decided, axis=-1)[:, None]


def planned(t: Array, looks: Sequence[int], level: float = LEVEL) -> Flags:
    """Group-sequential Holm at these looks."""
    k, at = t.shape[1], [n - 1 for n in looks]
    bounds = np.stack([look_bounds(looks, level / m) for m in range(1, k + 1)], axis=-1)
    crossed = np.maximum.accumulate(np.abs(t[..., at, None]) >= bounds, axis=-2)
    decided = np.zeros(t.shape, dtype=bool)
    decided[..., at] = _holm(crossed)
    return np.maximum.accumulate(decided, axis=-1)


def by_e_values(t: Array) -> Flags:
    """After any seed, e of at least k / level."""
    return np.maximum.accumulate(e_paths(t) >= t.shape[1] / LEVEL, axis=-1)


def _holm(found: Flags) -> Flags:
    """(studies, k, n, m): found at level / (m + 1) -> decided by Holm, (studies, k, n)."""
    k = found.shape[1]
    if k == 1:
        return found[..., 0].copy()
    decided = np.zeros(found.shape[:-1], dtype=bool)
    for _ in range(k):
        left = k - decided.sum(axis=1, keepdims=True)  # (studies, 1, n)
        held_to = np.broadcast_to(np.maximum(left - 1, 0)[..., None], (*decided.shape, 1))
        decided |= np.take_along_axis(found, held_to, axis=-1)[..., 0] & (left > 0)
    return decided


WAYS = {
    "t test at a fixed n": at_a_fixed_n,
    "t test after every seed": peeking,
    "t test, adding the suggested seeds": as_advised,
    "looks 3, 5, 10, 20": lambda t: planned(t, PLANS[0]),
    "looks 3, 5, 10": lambda t: planned(t, PLANS[1]),
    "e-value after every seed": by_e_values,
}
SOUND = ("t test at a fixed n", "looks 3, 5, 10, 20", "looks 3, 5, 10", "e-value after every seed")


# ---- the tables ------------------------------------------------------------------------------------------


def false_verdicts(kind: str, studies: int, seed: int = 6) -> dict[str, list[float]]:
    """Share of studies with a verdict by n seeds of ``SIZES``, the two means being equal."""
    t, *_ = t_paths(differences(np.random.default_rng(seed), kind, studies, 1))
    return {name: _rates(way(t)[:, 0]) for name, way in WAYS.items()}


def false_families(kind: str, studies: int, effect: float = 0, seed: int = 7) -> dict[str, list[float]]:
    """Share of studies with any false verdict on variants that share a baseline.

    Three have its mean; where there is an effect, a fourth has not, and its verdicts are right.
    """
    values = differences(np.random.default_rng(seed), kind, studies, 4)
    values[:, 3] += effect * values[:, 3].std()
    t, *_ = t_paths(values if effect else values[:, :3])
    ways = {name: way for name, way in WAYS.items() if way is not as_advised}
    return {name: _rates(np.asarray(way(t)[:, :3].any(axis=1))) for name, way in ways.items()}


def power(kind: str, effect: float, studies: int, seed: int = 8) -> dict[str, tuple[list[float], float]]:
    """Share of studies with the right verdict by n of ``SIZES``, and the mean number of seeds then run."""
    t, *_ = t_paths(differences(np.random.default_rng(seed), kind, studies, 1, effect))
    found = {}
    for name in SOUND:
        decided = WAYS[name](t)[:, 0]
        last = PLANS[1][-1] if name == "looks 3, 5, 10" else MOST
        undecided = ~decided[:, : last - 1]
        if name.startswith("looks"):  # seeds are run from look to look
            looks = PLANS[0] if last == MOST else PLANS[1]
            steps = np.diff(looks, prepend=0)
            seeds = steps[0] + sum(
                step * undecided[:, n - 1].mean() for n, step in zip(looks, steps[1:], strict=False)
            )
        else:
            seeds = float(last) if name == "t test at a fixed n" else 1 + undecided.sum(axis=1).mean()
        found[name] = (
            [float((decided[:, n - 1] & (t[:, 0, n - 1] > 0)).mean()) for n in SIZES],
            float(seeds),
        )
    return found


def simultaneous_coverage(kind: str, studies: int, seed: int = 9) -> dict[str, list[float]]:
    """Share of studies in which all intervals up to n of ``SIZES`` hold the true mean."""
    _, mean, error = t_paths(differences(np.random.default_rng(seed), kind, studies, 1)[:, 0])
    away = np.abs(mean)[:, FIRST - 1 :] / error[:, FIRST - 1 :]
    at_looks = np.full(MOST, math.inf)
    at_looks[np.array(PLANS[0]) - 1] = look_bounds(PLANS[0], LEVEL)
    widths = {
        "t interval, every n from 3": quantiles(),
        "look's interval, 3, 5, 10, 20": at_looks,
        "confidence sequence, every n": confidence_factors(),
    }
    return {
        name: [float((away <= width[FIRST - 1 :])[:, : n - FIRST + 1].all(axis=1).mean()) for n in SIZES]
        for name, width in widths.items()
    }


def coverage_at_the_stop(kind: str, effect: float, studies: int, seed: int = 10) -> dict[str, float]:
    """Coverage of the last interval of a study that goes from look to look until it is decided."""
    values = differences(np.random.default_rng(seed), kind, studies, 1, effect)
    truth = effect * math.hypot(*(BAD_STD if bad else STD for bad in KINDS[kind]))
    t, mean, error = t_paths(values)
    looks = np.array(PLANS[0])
    decided = planned(t, PLANS[0])[:, 0, looks - 1]
    decided[:, -1] = True
    stop = decided.argmax(axis=1)
    studies_, at = np.arange(studies), looks[stop] - 1
    away = np.abs(mean[:, 0] - truth)[studies_, at] / error[studies_, 0, at]
    factors = {"t interval": quantiles()[at], "look's interval": np.array(look_bounds(PLANS[0], LEVEL))[stop]}
    return {name: float((away <= factor).mean()) for name, factor in factors.items()}


def _rates(decided: Flags) -> list[float]:
    return [float(decided[:, n - 1].mean()) for n in SIZES]
