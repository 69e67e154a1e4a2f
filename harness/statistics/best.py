"""Ranking of many recipes: which are not significantly below the top."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from harness.statistics.comparison import ALPHA, Comparison, primary_test, with_common_spread
from harness.statistics.distribution import mean_of, std_of


@dataclass(frozen=True)
class Place:
    """A recipe's place among the others.

    Attributes:
        rank: 1 for the highest mean; recipes of equal means share a rank.
        behind: the highest mean minus this one, in fractions.
        p: the smallest corrected p of the tests in which another recipe was better; None without such a test,
            and of pairs whose n was not fixed in advance.
        worse_than: the recipes that are shown to be better, in the order of the ranking.
    """

    name: str
    rank: int
    n: int
    mean: float
    std: float | None
    behind: float
    p: float | None
    worse_than: tuple[str, ...]


@dataclass(frozen=True)
class _Lost:
    """One recipe was better than another in a test with this corrected p; and whether that is significant."""

    winner: str
    loser: str
    p: float | None
    shown: bool


def rank_recipes(
    values: Mapping[str, Mapping[int, float]],
    judged: Mapping[tuple[str, str], Comparison],
    *,
    flagged: bool = False,
    sequential: Mapping[tuple[str, str], int] | None = None,
) -> list[Place]:
    """Rank the recipes by their means; name for each the recipes that are significantly better.

    A pair that was compared has that comparison's verdict, so that no ranking contradicts it. The other pairs
    are tested by the same primary test, with p times the number of the recipe's rivals: Bonferroni's form of
    multiple comparisons with the best (Hsu, "Multiple comparisons", 1996, chapter 4). Only the rivals of the
    true best can exclude it, each with at most ``ALPHA`` / 2 / rivals, an error in one direction; the
    comparisons with a baseline add at most ``ALPHA`` / 2. So the best is excluded in at most ``ALPHA`` of all
    studies.

    Args:
        values: recipe -> seed -> accuracy, at least one each.
        judged: the comparisons of pairs, the first against the second.
        flagged: whether a seed is an outlier: then these tests too need the common spread.
        sequential: other pairs whose n was not fixed in advance, with what is shown of each: 1 that the first
            is better, -1 that it is worse, else 0.
    """
    means = {name: mean_of(list(accuracies.values())) for name, accuracies in values.items()}
    # means that differ in the last bits are equal
    order = sorted(values, key=lambda name: -round(means[name], 12))
    rivals: dict[str, dict[str, _Lost]] = {name: {} for name in values}
    signs = sequential or {}
    for lost in (
        *_judged(judged, values),
        *_with_the_best(values, [*judged, *signs], flagged=flagged, beside=judged.values()),
        *(
            _Lost(*(pair if sign > 0 else pair[::-1]), None, shown=True)
            for pair, sign in signs.items()
            if sign
        ),
    ):
        rivals[lost.loser][lost.winner] = lost
    places: list[Place] = []
    for at, name in enumerate(order):
        mean, accuracies = means[name], list(values[name].values())
        rank = places[-1].rank if places and abs(places[-1].mean - mean) < 1e-12 else at + 1
        places.append(
            Place(
                name,
                rank,
                len(accuracies),
                mean,
                std_of(accuracies),
                max(0.0, means[order[0]] - mean),
                min((lost.p for lost in rivals[name].values() if lost.p is not None), default=None),
                tuple(rival for rival in order if rival in rivals[name] and rivals[name][rival].shown),
            )
        )
    return places


def _judged(judged: Mapping[tuple[str, str], Comparison], among: Collection[str]) -> list[_Lost]:
    """Return the decisions of the comparisons about pairs of these recipes."""
    return [
        _lost(pair, comparison, max(comparison.p_holm, comparison.p_common or 0.0))
        for pair, comparison in judged.items()
        if set(pair) <= set(among) and _decides(comparison) and comparison.p_holm is not None
    ]


def _with_the_best(
    values: Mapping[str, Mapping[int, float]],
    known: Collection[tuple[str, str]],
    *,
    flagged: bool,
    beside: Iterable[Comparison],
) -> list[_Lost]:
    """Test the pairs without a comparison; their common spread includes that of the comparisons."""
    rivals, known = rivals_of_each(values), set(known)
    pairs = (pair for pair in combinations(values, 2) if pair not in known and pair[::-1] not in known)
    tests = {
        pair: test
        for pair in pairs
        if (test := primary_test(values[pair[0]], values[pair[1]])) is not None and _decides(test)
    }
    if flagged:
        widened = with_common_spread([*tests.values(), *beside])
        tests = dict(zip(tests, widened, strict=False))
    corrected = {
        pair: min(1.0, rivals * ((test.careful or test.primary).p or 0.0)) for pair, test in tests.items()
    }
    return [
        replace(_lost(pair, test, corrected[pair]), shown=corrected[pair] <= ALPHA)
        for pair, test in tests.items()
    ]


def rivals_of_each(values: Mapping[str, Mapping[int, float]]) -> int:
    """Return the number of others that could beat each recipe: those of at least two runs."""
    return max(sum(len(accuracies) > 1 for accuracies in values.values()) - 1, 1)


def _decides(comparison: Comparison) -> bool:
    """Tell whether this test can show that one recipe is better; single runs cannot."""
    return comparison.test in ("paired t", "Welch t") and comparison.primary.p is not None


def _lost(pair: tuple[str, str], comparison: Comparison, p: float) -> _Lost:
    """Return the worse of two recipes, by the verdict if the comparison has one."""
    shown = comparison.verdict != "cannot tell"
    first_won = comparison.verdict == "better" if shown else comparison.primary.difference > 0
    winner, loser = pair if first_won else pair[::-1]
    return _Lost(winner, loser, p, shown)
