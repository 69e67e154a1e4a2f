"""Verdicts at planned looks: how large a paired |t| has to be at each look, and what Holm makes of it.

A study that is looked at again and again rejects a true null too often. With looks planned before the first
run, each look may spend a part of the level, and all of them together reject in at most ``level``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SPENDING_POWER = 2  # of the power family: late looks, which decide more often, get most of the level
DIGITS = 5  # significant ones of a bound, rounded up: a processor that computes otherwise gives the same
LEVELS = 1e-6, 0.5  # beyond them the cells would be too coarse, or there would be none
EDGES = np.linspace(0.0, 8.0, 201)  # of the cells of |t|, as normal deviates with the same p
DIRECTIONS = 48  # points of the integral over how much of a stage's new values is their mean
ANGLES = np.linspace(0.0, math.pi / 2, 8193)


@dataclass(frozen=True)
class LookDecision:
    """The state of one comparison after the looks so far.

    Attributes:
        look: index of the look at which it was decided, 0 the first; None where it is not decided.
        sign: 1 or -1, of the t statistic that decided; 0 where it is not decided.
        crossed: index of the look whose |t| reached what was needed. It is before ``look`` where a verdict
            on another comparison has lowered what is needed.
        needed: the |t| needed at the look ``crossed``, else at the latest look, by the level that the
            comparison was held to; infinite for fewer than two pairs, None before the first look.
    """

    look: int | None
    sign: int
    crossed: int | None
    needed: float | None


def decide_at_looks(
    t: Sequence[Sequence[float | None]],
    pairs: Sequence[Sequence[int]],
    looks: Sequence[int],
    level: float,
) -> list[LookDecision]:
    """Decide comparisons at the looks reached so far, with all their errors together at most ``level``.

    Group-sequential Holm (Ye, Li, Liu and Yao, Statistics in Medicine, 2013): while m comparisons are not
    decided, each is held to the bounds of level / m, at every look that it has reached; one that is decided
    leaves, and the others are held to level / (m - 1). Later looks change no decision.

    Args:
        t: of each comparison, the paired t statistic at each look that it has reached; None where the
            differences are equal or fewer than two, which decides nothing. All comparisons that the
            study makes stand here, also those without any look so far.
        pairs: of each comparison, the number of differences at each of these looks.
        looks: the planned numbers of seeds, of all looks.
        level: of the study, such as 0.05.

    Returns:
        A decision for each comparison, in the same order.

    Raises:
        ValueError: as :func:`look_bounds`; or t and pairs do not belong together.
    """
    if [len(row) for row in t] != [len(row) for row in pairs]:
        raise ValueError("each comparison needs as many t statistics as numbers of pairs")
    decided: dict[int, LookDecision] = {}
    for look in range(max((len(row) for row in t), default=0)):
        while waiting := [at for at in range(len(t)) if at not in decided]:
            bounds = {at: look_bounds(looks, level / len(waiting), pairs[at][: look + 1]) for at in waiting}
            news = {at: _first_crossing(t[at], bounds[at]) for at in waiting}
            found = {at: crossed for at, crossed in news.items() if crossed is not None}
            if not found:
                break
            for at, crossed in found.items():
                sign = 1 if (t[at][crossed] or 0.0) > 0 else -1
                decided[at] = LookDecision(look, sign, crossed, bounds[at][crossed])
    left = len(t) - len(decided)
    return [
        decided[at] if at in decided else LookDecision(None, 0, None, _latest(looks, level / left, row))
        for at, row in enumerate(pairs)
    ]


def _first_crossing(t: Sequence[float | None], bounds: Sequence[float]) -> int | None:
    reached = zip(t, bounds, strict=False)  # the looks that the bounds are of
    return next(
        (at for at, (one, bound) in enumerate(reached) if one is not None and abs(one) >= bound), None
    )


def _latest(looks: Sequence[int], level: float, pairs: Sequence[int]) -> float | None:
    return look_bounds(looks, level, pairs)[-1] if pairs else None


def look_bounds(looks: Sequence[int], level: float, pairs: Sequence[int] | None = None) -> tuple[float, ...]:
    """Return the |t| needed at each look so that all looks together reject a true null in ``level``.

    Up to look j of K, level · (n_j / n_K)² is spent, by the planned numbers of seeds (Kim and DeMets,
    Biometrika, 1987). The bounds are those of t statistics, not of z (Rom and McTague, Journal of
    Biopharmaceutical Statistics, 2020), of independent normal differences; computed by integration, to 0.3 %.

    Args:
        looks: the planned numbers of seeds, increasing, at least 2.
        level: two-sided, in ``LEVELS``.
        pairs: the number of differences that the t statistic really has, at the looks reached so far: a
            failed run makes fewer than planned. As planned if None.

    Returns:
        A bound for each look in ``pairs``, infinite for fewer than two pairs: the next look has its level.

    Raises:
        ValueError: the arguments are not as described.
    """
    planned, reached = tuple(map(int, looks)), tuple(map(int, looks if pairs is None else pairs))
    if not planned or planned[0] < 2 or any(a >= b for a, b in zip(planned, planned[1:], strict=False)):
        raise ValueError(f"looks must be increasing numbers of seeds from 2 on, not {list(looks)}")
    if not LEVELS[0] <= level <= LEVELS[1]:
        raise ValueError(f"level must be between {LEVELS[0]} and {LEVELS[1]}, not {level}")
    if len(reached) > len(planned) or any(a > b for a, b in zip(reached, reached[1:], strict=False)):
        raise ValueError(
            f"pairs must not decrease, and have at most {len(planned)} looks, not {list(reached)}"
        )
    spent = [level * (n / planned[-1]) ** SPENDING_POWER for n in planned[: len(reached)]]
    # one after another, so that each finds the looks before it in the cache
    return tuple(
        _look(tuple(spent[:end]), reached[:end]).bound if reached[end - 1] > 1 else math.inf
        for end in range(1, len(reached) + 1)
    )


# ---- integration from look to look -----------------------------------------------------------------------
#
# Write r for the sum of n differences over the root of the sum of their squares: t = r √(n - 1) / √(n - r²).
# For normal differences around 0, r of the next look depends on the earlier ones through the last r alone
# (Basu's theorem). With m new differences r' = r cos φ + √m v sin φ: cos² φ is Beta(n / 2, m / 2), and v,
# the cosine of the angle between them and (1, ..., 1), has a density ∝ (1 - v²)^((m - 3) / 2).
# So one distribution is kept: that of |r| where no look has decided, as masses of cells.


@dataclass(frozen=True, eq=False)
class _Look:
    """The bound of |t| at a look, and the distribution of |r| where neither it nor an earlier look decides.

    Attributes:
        n: differences at this look.
        bound: of |t|; what is above it is in no cell.
        edges: of the cells, normal deviates with the same two-sided p as |t|; one more than the cells.
        masses: probability of each cell.
    """

    n: int
    bound: float
    edges: Array
    masses: Array


@lru_cache(maxsize=4096)
def _look(spent: tuple[float, ...], pairs: tuple[int, ...]) -> _Look:
    """Return the last of these looks, by the level spent up to each; without a t statistic none is spent."""
    from scipy.special import log_ndtr, ndtri_exp

    at = len(pairs) - 1
    before = next((end for end in range(at, 0, -1) if pairs[end - 1] > 1), None)
    if before is None:  # the first t statistic: its distribution is known
        edges, above = EDGES, 2 * np.exp(log_ndtr(-EDGES))
        z = -float(ndtri_exp(math.log(spent[at] / 2)))
    else:
        last = _look(spent[:before], pairs[:before])
        edges, above = _survival(last, pairs[at])
        left = math.log(spent[at] - spent[before - 1])
        possible = above > 0
        z = float(np.interp(-left, -np.log(above[possible]), edges[possible]))
    kept = edges < z - 1e-9  # a cell has a width
    masses = -np.diff(above[kept], append=spent[at] - (spent[before - 1] if before else 0.0))
    bound = _round_up(float(_t_of(np.array(z), pairs[at] - 1)))
    return _Look(pairs[at], bound, np.append(edges[kept], z), np.maximum(masses, 0.0))


def _survival(last: _Look, n: int) -> tuple[Array, Array]:
    """Return edges, and the probability that no look has decided and |t| of n differences is above each."""
    from scipy.special import betainc, ndtr

    if n == last.n:
        return last.edges, np.append(np.cumsum(last.masses[::-1])[::-1], 0.0)
    new = n - last.n
    v, weights = np.array([-1.0, 1.0]), np.ones(2)
    if new > 1:
        angles = min(math.pi / 2, 9 / math.sqrt(new)) * (2 * np.arange(0.5, DIRECTIONS) / DIRECTIONS - 1)
        v, weights = np.sin(angles), np.cos(angles) ** (new - 2)
    # a cell stands at the mean of its normal deviate
    density = np.exp(-(last.edges**2) / 2) / math.sqrt(2 * math.pi)
    along = _r_of(np.diff(density) / np.diff(ndtr(-last.edges)), last.n)[:, None, None]
    across = math.sqrt(new) * v[:, None]
    length, turn = np.hypot(along, across), np.arctan2(along, across)
    reach = np.arcsin(np.minimum(_r_of(EDGES, n) / length, 1.0))  # (cells, directions, edges)
    shares = betainc(new / 2, last.n / 2, np.sin(ANGLES) ** 2)

    def below(angle: Array) -> Array:
        """Return the probability of a smaller φ."""
        return np.asarray(np.interp(angle, ANGLES, shares))

    # r' = length · sin(φ + turn), above the edge or below its negative
    beyond = 1 + below(math.pi - reach - turn) - below(reach - turn) - below(math.pi + reach - turn)
    return EDGES, np.einsum("i,ijk,j->k", last.masses, beyond, weights / weights.sum())


def _t_of(z: Array, free: int) -> Array:
    """Return the |t| with the same two-sided p as a normal deviate."""
    from scipy.special import ndtr, stdtrit

    return np.asarray(-stdtrit(free, ndtr(-z)))


def _r_of(z: Array, n: int) -> Array:
    t = _t_of(z, n - 1)
    return np.asarray(math.sqrt(n) * t / np.hypot(t, math.sqrt(n - 1)))


def _round_up(bound: float) -> float:
    scale = 10.0 ** (DIGITS - 1 - math.floor(math.log10(bound)))
    return math.ceil(bound * scale) / scale
