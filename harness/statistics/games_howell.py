"""Games and Howell's test: which of many recipes may be the best; not only the one with the highest mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.statistics.comparison import ALPHA
from harness.statistics.distribution import judgeable_std, mean_of, std_of


@dataclass(frozen=True)
class Place:
    """A recipe's place among the others.

    Attributes:
        rank: 1 for the highest mean; recipes of equal means share a rank.
        behind: the highest mean minus this one, in fractions.
        p: of no difference from the highest, corrected for all pairs; None for the highest itself, and where
            no variance is known. Where either has a single value, it is Tukey and Kramer's p with the pooled
            variance of all recipes.
        possible: whether it may be the best: it does not differ significantly from the highest.
    """

    name: str
    rank: int
    n: int
    mean: float
    std: float | None
    behind: float
    p: float | None
    possible: bool


def rank_recipes(values: Mapping[str, Sequence[float]]) -> list[Place]:
    """Rank the recipes by their means, and mark those that do not differ significantly from the highest.

    Games and Howell's test (Journal of Educational Statistics, 1976) of each against the highest: Tukey's
    correction for all pairs, with each pair's own variances. As it holds for all pairs, it holds for the
    pairs with the highest mean, whichever recipe has it: with probability ``1 - ALPHA`` the best recipe is a
    possible one.

    Args:
        values: recipe -> at least one accuracy each, in fractions.
    """
    means = {name: mean_of(accuracies) for name, accuracies in values.items()}
    order = sorted(
        values, key=lambda name: -round(means[name], 12)
    )  # means that differ in the last bits are equal
    places: list[Place] = []
    for at, name in enumerate(order):
        mean, best = means[name], order[0]
        p = None if at == 0 else _p(values[best], values[name], list(values.values()))
        behind = max(0.0, means[best] - mean)
        rank = places[-1].rank if places and abs(places[-1].mean - mean) < 1e-12 else at + 1
        possible = p is None or p > ALPHA
        places.append(Place(name, rank, len(values[name]), mean, std_of(values[name]), behind, p, possible))
    return places


def _p(first: Sequence[float], second: Sequence[float], everyone: Sequence[Sequence[float]]) -> float | None:
    """Return the two-sided p of one pair out of all; None without any variance."""
    from scipy.stats import studentized_range

    if min(len(first), len(second)) > 1:
        parts = [(std_of(group) or 0.0) ** 2 / len(group) for group in (first, second)]
        judgeable = judgeable_std(first) is not None or judgeable_std(second) is not None
        weights = zip(parts, (first, second), strict=True)
        free = (
            sum(parts) ** 2 / sum(part**2 / (len(group) - 1) for part, group in weights) if judgeable else 0.0
        )
    else:
        several = [group for group in everyone if len(group) > 1]
        judgeable = any(judgeable_std(group) is not None for group in several)
        free = float(sum(len(group) - 1 for group in several))
        squares = math.fsum((len(group) - 1) * (std_of(group) or 0.0) ** 2 for group in several)
        pooled = squares / max(free, 1.0)
        parts = [pooled / len(group) for group in (first, second)]
    if not judgeable:
        return None
    away = abs(mean_of(first) - mean_of(second)) / math.sqrt(sum(parts) / 2)
    return min(1.0, float(studentized_range.sf(away, len(everyone), free)))
