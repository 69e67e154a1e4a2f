"""Coverage of the report's intervals and false rejections of its tests, at the n of usual studies.

``benchmarks.simulation_tables`` prints the results. Each function computes thousands of studies at once;
tests/statistics/test_simulations.py checks that these give, study by study, what
harness.statistics gives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

MEAN, STD = 0.934, 0.002  # of the plain cases: 93.4 %, seeds 0.2 points apart
BAD, LOSS = 0.1, 0.01  # of the skewed one: one seed in ten ends a point lower
OURS, OUR_STD, OUR_BAD, OUR_LOSS = 0.94, 0.0015, 0.05, 0.005  # similar to the headline study's seeds


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(MEAN, STD, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.normal(MEAN, STD, shape) - LOSS * (rng.random(shape) < BAD))


def ours(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = rng.normal(OURS, OUR_STD, shape) - OUR_LOSS * (rng.random(shape) < OUR_BAD)
    return np.asarray(np.rint(values * 10_000) / 10_000)


def coarse(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.rint(rng.normal(MEAN, 2 * STD, shape) * 360) / 360)


# name -> draws and their mean
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (normal, MEAN),
    "like ours": (ours, OURS - OUR_BAD * OUR_LOSS),
    # 360 test images, as the digits have: a step of 0.28 points beside a std of 0.4
    "coarse": (coarse, MEAN),
    "skewed": (skewed, MEAN - BAD * LOSS),
}
SIZES = (3, 5, 10)
FEW = 20_000  # studies whose permutations are computed


# ---- many studies at once: values (studies, n) -----------------------------------------------------------


def judgeable(values: Array) -> NDArray[np.bool_]:
    """Studies whose values are not all equal; the harness computes nothing for the others."""
    return np.asarray(values.std(axis=1, ddof=1) > 1e-12)


def t_intervals(values: Array) -> tuple[Array, Array]:
    """Low and high ends of the 95 % interval of the mean."""
    n = values.shape[1]
    half = special.stdtrit(n - 1, 0.975) * values.std(axis=1, ddof=1) / math.sqrt(n)
    return values.mean(axis=1) - half, values.mean(axis=1) + half


def prediction_intervals(values: Array) -> tuple[Array, Array]:
    """The same for one further run."""
    n = values.shape[1]
    half = special.stdtrit(n - 1, 0.975) * values.std(axis=1, ddof=1) * math.sqrt(1 + 1 / n)
    return values.mean(axis=1) - half, values.mean(axis=1) + half


def bca_intervals(values: Array, resamples: int = 999, chunk: int = 100) -> tuple[Array, Array]:
    """BCa bootstrap intervals of the mean."""
    found = [
        stats.bootstrap(
            (part,), np.mean, axis=-1, n_resamples=resamples, method="BCa", rng=np.random.default_rng(at)
        ).confidence_interval
        for at, part in enumerate(np.split(values, range(chunk, len(values), chunk)))
    ]
    return np.concatenate([part.low for part in found]), np.concatenate([part.high for part in found])


def paired_t(first: Array, second: Array) -> Array:
    """Two-sided p, NaN where it cannot be computed."""
    differences = first - second
    n, usable = differences.shape[1], judgeable(differences)
    error = np.where(usable, differences.std(axis=1, ddof=1), np.nan) / math.sqrt(n)
    return np.asarray(2 * special.stdtr(n - 1, -np.abs(differences.mean(axis=1)) / error))


def welch_t(first: Array, second: Array) -> Array:
    """Two-sided p, NaN where it cannot be computed."""
    n, m = first.shape[1], second.shape[1]
    one, two = first.var(axis=1, ddof=1) / n, second.var(axis=1, ddof=1) / m
    total = np.where(judgeable(first) | judgeable(second), one + two, np.nan)
    free = total**2 / (one**2 / (n - 1) + two**2 / (m - 1))
    return np.asarray(
        2 * special.stdtr(free, -np.abs(first.mean(axis=1) - second.mean(axis=1)) / np.sqrt(total))
    )


def p_above(values: Array, target: float) -> Array:
    """One-sided p of "the mean is not above the target"."""
    n = values.shape[1]
    error = np.where(judgeable(values), values.std(axis=1, ddof=1), np.nan) / math.sqrt(n)
    return np.asarray(special.stdtr(n - 1, (target - values.mean(axis=1)) / error))


def sign_flips(first: Array, second: Array) -> Array:
    """Exact two-sided p of all signs of the differences."""
    signs = np.array(list(itertools.product([1, -1], repeat=first.shape[1])))
    return _two_sided(np.rint((first - second) * 1e12), signs)


def relabelled(first: Array, second: Array) -> Array:
    """Two-sided p of all ways of dealing the values out, of 9,999 random ones where they are too many."""
    n, m = first.shape[1], second.shape[1]
    if math.comb(n + m, n) <= 20_000:
        chosen = np.array(list(itertools.combinations(range(n + m), n)))
    else:
        rng = np.random.default_rng(0)
        drawn = rng.permuted(np.tile(np.arange(n + m), (9_999, 1)), axis=1)[:, :n]
        chosen = np.concatenate([np.arange(n)[None], drawn])
    picked = np.zeros((len(chosen), n + m))
    picked[np.arange(len(chosen))[:, None], chosen] = 1
    return _two_sided(np.rint(np.concatenate([first, second], axis=1) * 1e12), picked)


def _two_sided(values: Array, arrangements: Array, chunk: int = 200) -> Array:
    """Arrangement 0 is the observed one; twice the smaller share of those at least as extreme."""
    results = []
    for part in np.split(values, range(chunk, len(values), chunk)):
        totals = part @ arrangements.T  # whole numbers below 2^53: exact
        above = (totals >= totals[:, :1]).mean(axis=1)
        below = (totals <= totals[:, :1]).mean(axis=1)
        results.append(np.minimum(1, 2 * np.minimum(above, below)))
    return np.concatenate(results)


def holm_rejects_any(p_values: Array, alpha: float = 0.05) -> NDArray[np.bool_]:
    """(studies, k): whether Holm's procedure rejects any null; NaN is not tested."""
    tested = np.isfinite(p_values).sum(axis=1)
    lowest = np.where(np.isfinite(p_values), p_values, 1.0).min(axis=1)
    return np.asarray(lowest * tested <= alpha)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Array:
    """(studies, N) each: exact two-sided p."""
    one, two = (first & ~second).sum(axis=1), (second & ~first).sum(axis=1)
    return np.asarray(np.minimum(1, 2 * special.bdtr(np.minimum(one, two).astype(float), one + two, 0.5)))


def clopper_pearson_coverage(n: int, probabilities: Array) -> Array:
    """Coverage at each true probability: no simulation, a sum over all outcomes."""
    counts = np.arange(n + 1)
    low = np.array([0.0, *stats.beta.ppf(0.025, counts[1:], n - counts[1:] + 1)])
    high = np.array([*stats.beta.ppf(0.975, counts[:-1] + 1, n - counts[:-1]), 1.0])
    inside = (low <= probabilities[:, None]) & (probabilities[:, None] <= high)
    return np.asarray((stats.binom.pmf(counts, n, probabilities[:, None]) * inside).sum(axis=1))


def correctness(
    rng: np.random.Generator, studies: int, n: int, images: int, between: float
) -> NDArray[np.bool_]:
    """(studies, n, images): runs whose accuracy on endless images has the std ``between``.

    Most images are easy, some are a toss-up, a few are missed nearly always, as on CIFAR-10; a better run is
    right more often on those in between. Each study has its own images.
    """
    kinds = rng.random((studies, 1, images))
    easy, hard = kinds < 0.85, kinds > 0.97
    base = np.where(easy, 0.99, np.where(hard, 0.05, 0.2 + 0.6 * rng.random((studies, 1, images))))
    better = rng.uniform(-1, 1, (studies, n, 1)) * math.sqrt(3) * between
    # the shift must not leave [0, 1], so easy images keep theirs and the rest have a larger one
    shift = np.where(easy | hard, 0.0, better / 0.12)
    drawn = rng.random((studies, n, images), dtype=np.float32)
    return np.asarray(drawn < base + shift)


def between_runs(correct: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Jordan's estimate of the between-run variance, and p (sampling noise only); one a study."""
    _, n, images = correct.shape
    variance = correct.mean(axis=2).var(axis=1, ddof=1)
    luck = correct.var(axis=1, ddof=1).sum(axis=1) / images**2
    return (variance - luck) * images / (images - 1), special.chdtrc(n - 1, (n - 1) * variance / luck)


# ---- the tables ------------------------------------------------------------------------------------------


def covers(interval: tuple[Array, Array], truth: float | Array) -> float:
    """Share of intervals that hold the truth."""
    return float(np.mean((interval[0] <= truth) & (truth <= interval[1])))


def rejects(p_values: Array, alpha: float = 0.05) -> float:
    """Share of studies with p of at most alpha; one that cannot be judged is not rejected."""
    return float(np.mean(np.nan_to_num(p_values, nan=1.0) <= alpha))


def interval_rates(name: str, n: int, studies: int, seed: int = 0) -> dict[str, float]:
    """Coverage of the intervals over seeds, of the studies whose values are not all equal."""
    draw, mean = DISTRIBUTIONS[name]
    rng = np.random.default_rng(seed)
    values, further = draw(rng, (studies, n)), draw(rng, (studies,))
    usable = judgeable(values)
    values, further = values[usable], further[usable]
    return {
        "t interval of the mean": covers(t_intervals(values), mean),
        "prediction interval of one more run": covers(prediction_intervals(values), further),
    }


def test_rates(name: str, n: int, studies: int, seed: int = 1) -> dict[str, float]:
    """How often each test rejects a null that is true: two recipes with the same distribution."""
    draw, mean = DISTRIBUTIONS[name]
    rng = np.random.default_rng(seed)
    first, second = draw(rng, (studies, n)), draw(rng, (studies, n))
    family = np.stack([paired_t(draw(rng, (studies, n)), second) for _ in range(4)], axis=1)
    few = slice(0, min(studies, FEW))
    return {
        "paired t": rejects(paired_t(first, second)),
        "Welch t": rejects(welch_t(first, second)),
        "sign flips": rejects(sign_flips(first[few], second[few])),
        "relabelling": rejects(relabelled(first[few], second[few])),
        "any of 4 variants, Holm": float(np.mean(holm_rejects_any(family))),
        "mean > target, one-sided t": rejects(p_above(first, mean)),
    }


def unequal_rates(n: int, studies: int, seed: int = 2) -> dict[str, float]:
    """The same tests for two recipes that have only their means in common."""
    rng = np.random.default_rng(seed)
    narrow, wide = rng.normal(MEAN, STD / 2, (studies, n)), rng.normal(MEAN, 2 * STD, (studies, n))
    unreliable = skewed(rng, (studies, n)) + BAD * LOSS
    few = slice(0, min(studies, FEW))
    rates = {}
    for label, one, two in (
        ("stds 0.1 and 0.4", narrow, wide),
        ("only one skewed", narrow, unreliable),
    ):
        rates[f"paired t, {label}"] = rejects(paired_t(one, two))
        rates[f"Welch t, {label}"] = rejects(welch_t(one, two))
        rates[f"relabelling, {label}"] = rejects(relabelled(one[few], two[few]))
    return rates


def image_rates(studies: int, images: int = 10_000, seed: int = 3) -> dict[str, float]:
    """Two single networks of one recipe, on images drawn anew each time."""
    rng = np.random.default_rng(seed)
    p_values, covered = [], []
    for _ in range(math.ceil(studies / 50)):
        correct = correctness(rng, 50, 2, images, 0.0)
        p_values.append(mcnemar(correct[:, 0], correct[:, 1]))
        one, two = ((correct[:, a] & ~correct[:, 1 - a]).sum(axis=1) for a in (0, 1))
        for b, c in zip(one, two, strict=True):
            shares = np.array([b, c, images - b - c]) / images
            drawn = rng.multinomial(images, shares, size=999)
            low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
            covered.append(low <= 0 <= high)
    return {"McNemar": rejects(np.concatenate(p_values)), "bootstrap over images": float(np.mean(covered))}


def between_rates(
    n: int, between: float, studies: int, images: int = 2_000, seed: int = 4
) -> tuple[float, float, float]:
    """Mean of the estimates of the between-run variance, that mean's standard error, and rejections."""
    rng = np.random.default_rng(seed)
    parts = [between_runs(correctness(rng, 50, n, images, between)) for _ in range(math.ceil(studies / 50))]
    found, p_luck = (np.concatenate(column) for column in zip(*parts, strict=True))
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(len(found))), rejects(p_luck)
