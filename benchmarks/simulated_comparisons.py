"""Error rates and power of comparisons of several variants, as ``harness.statistics`` decides them.

As in ``benchmarks.simulations`` each function computes thousands of studies at once, and
tests/statistics/test_simulated_comparisons.py checks that they decide as the harness does.
Values are (studies, k, n): variants, the baseline first, and their shared seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.simulations import BAD, LOSS, MEAN, STD, Array

Flags = NDArray[np.bool_]
SIZES = (3, 5, 10, 20)


@dataclass(frozen=True)
class Kind:
    """The distribution of a study's seeds; means are equal.

    Attributes:
        rho: correlation of a seed's accuracies.
        stds: of the variants in turn, the baseline first; the last one applies to all further variants.
        bad: which variants have one seed in ten that ends a point lower: ``baseline``, ``variants``.
    """

    rho: float = 0.0
    stds: tuple[float, ...] = (STD,)
    bad: tuple[str, ...] = ()


KINDS = {
    "normal": Kind(),
    "normal, ρ = 0.5": Kind(rho=0.5),
    "stds 0.1 to 0.4": Kind(stds=(STD / 2, 2 * STD, STD)),
    "bad seeds": Kind(bad=("baseline", "variants")),
    "only variants bad": Kind(bad=("variants",)),
    "only variants bad, baseline std 0.1": Kind(stds=(STD / 2, STD), bad=("variants",)),
    "only variants bad, ρ = 0.5": Kind(rho=0.5, bad=("variants",)),
    "only the baseline bad": Kind(bad=("baseline",)),
}


# two of four variants, not the one that differs, vary ten times as much as the others
NOISY = Kind(stds=(STD, STD, 10 * STD, 10 * STD, STD))


def draw(kind: Kind, rng: np.random.Generator, studies: int, k: int, n: int) -> Array:
    """Draw studies of equal means."""
    shared, own = rng.normal(size=(studies, 1, n)), rng.normal(size=(studies, k, n))
    stds = np.array([kind.stds[min(at, len(kind.stds) - 1)] for at in range(k)])
    values = MEAN + stds[:, None] * (math.sqrt(kind.rho) * shared + math.sqrt(1 - kind.rho) * own)
    has = np.array(["baseline" in kind.bad, *["variants" in kind.bad] * (k - 1)])
    bad = rng.random((studies, k, n)) < BAD
    return np.asarray(values - LOSS * has[:, None] * (bad - BAD))


# ---- as the harness decides ------------------------------------------------------------------------------


def flagged(values: Array) -> Flags:
    """(studies, k): whether a seed is an outlier by Grubbs's test at 5 %."""
    n = values.shape[-1]
    if n < 5:
        return np.zeros(values.shape[:-1], dtype=bool)
    away = np.abs(values - values.mean(axis=-1, keepdims=True)).max(axis=-1) / values.std(axis=-1, ddof=1)
    t = special.stdtrit(n - 2, 1 - 0.05 / (2 * n))
    return np.asarray(away > (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2)))


def two_sided(t: Array, free: float) -> Array:
    return np.asarray(2 * special.stdtr(free, -np.abs(t)))


def holm(p_values: Array) -> Array:
    """(studies, tests): corrected p values."""
    order = np.argsort(p_values, axis=1)
    tests = p_values.shape[1]
    ordered = np.take_along_axis(p_values, order, axis=1) * np.arange(tests, 0, -1)
    raised = np.minimum(np.maximum.accumulate(ordered, axis=1), 1)
    corrected = np.empty_like(raised)
    np.put_along_axis(corrected, order, raised, axis=1)
    return corrected


def _pairs(values: Array) -> tuple[Array, Array, list[tuple[int, int]]]:
    """Return means and stds of the differences of all pairs, those with the baseline first."""
    k = values.shape[1]
    pairs = [(at, 0) for at in range(1, k)] + [(at, to) for at in range(2, k) for to in range(1, at)]
    differences = np.stack([values[:, one] - values[:, other] for one, other in pairs], axis=1)
    return differences.mean(axis=-1), differences.std(axis=-1, ddof=1), pairs


def verdicts(values: Array) -> tuple[Array, Array]:
    """(studies, k - 1) each: p after Holm of each variant against the baseline; p with the common spread."""
    n = values.shape[-1]
    means, stds, _ = _pairs(values)
    means, stds = means[:, : values.shape[1] - 1], stds[:, : values.shape[1] - 1]
    own = holm(two_sided(means / stds * math.sqrt(n), n - 1))
    wider = np.maximum(stds, np.median(stds, axis=1, keepdims=True))
    common = holm(two_sided(means / wider * math.sqrt(n), n - 1))
    return own, np.where(flagged(values).any(axis=1, keepdims=True), common, 0.0)


def possible(values: Array) -> Flags:
    """(studies, k): whether no other variant is significantly better."""
    studies, k, n = values.shape
    means, stds, pairs = _pairs(values)
    against = k - 1
    p = np.maximum(*verdicts(values))
    spread = stds[:, against:]
    common = np.median(stds, axis=1, keepdims=True)
    spread = np.where(flagged(values).any(axis=1, keepdims=True), np.maximum(spread, common), spread)
    others = against * two_sided(means[:, against:] / spread * math.sqrt(n), n - 1)
    shown = np.concatenate([p, others], axis=1) <= 0.05
    excluded = np.zeros((studies, k), dtype=bool)
    for at, (one, other) in enumerate(pairs):
        excluded[:, other] |= shown[:, at] & (means[:, at] > 0)
        excluded[:, one] |= shown[:, at] & (means[:, at] < 0)
    return ~excluded


@cache
def _critical(k: int) -> tuple[Array, Array]:
    """Return degrees of freedom, and the 5 % points of the studentized range."""
    free = np.array([2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 14, 20, 30, 60])
    return free, np.array([stats.studentized_range.ppf(0.95, k, each) for each in free])


def games_howell(values: Array) -> Flags:
    """(studies, k): whether Games and Howell's test finds no difference from the highest mean."""
    studies, k, n = values.shape
    means, parts = values.mean(axis=-1), values.var(axis=-1, ddof=1) / n
    best = means.argmax(axis=1)
    highest, part = (each[np.arange(studies), best][:, None] for each in (means, parts))
    free = (parts + part) ** 2 / ((parts**2 + part**2) / (n - 1))
    away = (highest - means) / np.sqrt((parts + part) / 2)
    known, limits = _critical(k)
    return np.asarray(away <= np.interp(1 / free, 1 / known[::-1], limits[::-1]))


def yuen(differences: Array) -> Array:
    """Two-sided p of the paired t test of 20 % trimmed means (Yuen, Biometrika, 1974)."""
    n = differences.shape[-1]
    cut = n // 5
    ordered = np.sort(differences, axis=-1)
    held = np.clip(differences, ordered[..., cut : cut + 1], ordered[..., n - cut - 1 : n - cut])
    error = held.std(axis=-1, ddof=1) / ((1 - 2 * cut / n) * math.sqrt(n))
    return two_sided(ordered[..., cut : n - cut].mean(axis=-1) / error, n - 2 * cut - 1)


# ---- the tables ------------------------------------------------------------------------------------------


def best_rates(kind: str, k: int, n: int, studies: int, seed: int = 20) -> dict[str, float]:
    """How often the best of equal variants is excluded, as the baseline and as another one."""
    values = draw(KINDS[kind], np.random.default_rng(seed), studies, k, n)
    ours, theirs = possible(values), games_howell(values)
    return {
        "the baseline is best": float(1 - ours[:, 0].mean()),
        "another is best": float(1 - ours[:, -1].mean()),
        "Games-Howell": float(1 - theirs[:, -1].mean()),
    }


def left_rates(
    kind: str, k: int, n: int, studies: int, step: float = STD, seed: int = 21
) -> dict[str, float]:
    """How many of k variants remain on average, each a step worse than the one before it."""
    values = draw(KINDS[kind], np.random.default_rng(seed), studies, k, n) - step * np.arange(k)[:, None]
    return {
        "remain": float(possible(values).sum(axis=1).mean()),
        "remain by Games-Howell": float(games_howell(values).sum(axis=1).mean()),
    }


def family_rates(kind: str, k: int, n: int, studies: int, seed: int = 22) -> dict[str, float]:
    """How often any of k variants with the baseline's mean is called better or worse."""
    values = draw(KINDS[kind], np.random.default_rng(seed), studies, k + 1, n)
    return {name: float((p.min(axis=1) <= 0.05).mean()) for name, p in _rules(values).items()}


def power_rates(
    d: float, k: int, n: int, studies: int, kind: Kind = KINDS["normal"], seed: int = 23
) -> dict[str, float]:
    """How often the one of k variants that differs is found, by d stds of the difference of two seeds."""
    values = draw(kind, np.random.default_rng(seed), studies, k + 1, n)
    values[:, 1] += d * STD * math.sqrt(2)
    return {name: float((p[:, 0] <= 0.05).mean()) for name, p in _rules(values).items()}


def _rules(values: Array) -> dict[str, Array]:
    """Return corrected p values by the rule of the harness, and by others."""
    differences = values[:, 1:] - values[:, :1]
    own, common = verdicts(values)
    rules = {"paired t": own, "as the harness decides": np.maximum(own, common), "p at most 0.02": own * 2.5}
    if values.shape[-1] >= 5:
        rules["trimmed t"] = holm(yuen(differences))
    return rules


def margin_rates(n: int, studies: int, margin: float = STD, seed: int = 24) -> dict[str, float]:
    """How often a pair is called equivalent, not worse or better by the margin."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(0, STD * math.sqrt(2), (studies, n))
    mean, error = differences.mean(axis=1), differences.std(axis=1, ddof=1) / math.sqrt(n)

    def above(shift: float, value: float) -> Array:
        """Return p of "the difference is at most this value" where the true one is the shift."""
        return np.asarray(special.stdtr(n - 1, (value - mean - shift) / error))

    def equivalent(shift: float) -> float:
        return float((np.maximum(above(shift, -margin), 1 - above(shift, margin)) <= 0.05).mean())

    return {
        "equivalent, at the margin": equivalent(margin),
        "not worse, at minus the margin": float((above(-margin, -margin) <= 0.025).mean()),
        "better by it, at the margin": float((above(margin, margin) <= 0.025).mean()),
        "equivalent, no difference": equivalent(0.0),
        "not worse, no difference": float((above(0.0, -margin) <= 0.025).mean()),
        "better by it, at three margins": float((above(3 * margin, margin) <= 0.025).mean()),
    }


def superiority_rates(d: float, n: int, studies: int, seed: int = 25) -> dict[str, float]:
    """How often the intervals of P(A > B) hold it, for normal runs whose means are d stds apart."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(d, 1, (studies, n)), rng.normal(0, 1, (studies, n))
    truth = float(special.ndtr(d / math.sqrt(2)))
    wins = (first > second).sum(axis=1)
    low = np.array([0.0, *special.betaincinv(np.arange(1, n + 1), n - np.arange(n), 0.025)])[wins]
    high = np.array([*special.betaincinv(np.arange(1, n + 1), n - np.arange(n), 0.975), 1.0])[wins]
    exact = float(((low <= truth) & (truth <= high)).mean())
    rates = {"paired, Clopper-Pearson": exact}
    for name, logit in (("not paired, Brunner-Munzel of the logit", True), ("the same, plain", False)):
        low, high = brunner_munzel(first, second, logit=logit)
        rates[name] = float(((low <= truth) & (truth <= high)).mean())
    return rates


def brunner_munzel(first: Array, second: Array, *, logit: bool = True) -> tuple[Array, Array]:
    """Return both ends of the interval of P(A > B), for values without ties."""
    n, m = first.shape[1], second.shape[1]
    above = first[:, :, None] > second[:, None, :]
    placed, others = above.mean(axis=2), 1 - above.mean(axis=1)
    share = placed.mean(axis=1)
    one, two = placed.var(axis=1, ddof=1) / n, others.var(axis=1, ddof=1) / m
    total = one + two
    apart = total <= 1e-15
    with np.errstate(divide="ignore", invalid="ignore"):
        free = total**2 / (one**2 / (n - 1) + two**2 / (m - 1))
    half = special.stdtrit(np.where(apart, 1.0, free), 0.975) * np.sqrt(total)
    low, high = np.maximum(share - half, 0), np.minimum(share + half, 1)
    if logit:
        inside = np.where(apart, 0.5, share)
        wide = half / (inside * (1 - inside))
        low, high = (special.expit(special.logit(inside) + each) for each in (-wide, wide))
    least = 0.025 ** (1 / min(n, m))  # all of so many pairs are won
    low = np.where(apart, np.where(share > 0.5, least, 0.0), low)
    high = np.where(apart, np.where(share > 0.5, 1.0, 1 - least), high)
    return low, high
