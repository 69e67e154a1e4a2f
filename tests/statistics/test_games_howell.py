"""Who may be the best: against scipy's own Games-Howell test, and by how often the best is ruled out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multicomp import pairwise_tukeyhsd

from harness.statistics.games_howell import rank_recipes

VALUES = {
    "low": [0.901, 0.905, 0.899, 0.903],
    "high": [0.941, 0.938, 0.944],
    "near": [0.936, 0.941, 0.934, 0.938, 0.940],
    "wide": [0.95, 0.84, 0.93],
}


def test_p_is_games_and_howells() -> None:
    expected = stats.tukey_hsd(*VALUES.values(), equal_var=False).pvalue
    names = list(VALUES)
    places = rank_recipes(VALUES)
    assert [place.name for place in places] == ["high", "near", "wide", "low"]
    assert places[0].p is None
    for place in places[1:]:
        assert place.p == pytest.approx(expected[names.index("high")][names.index(place.name)], abs=1e-9)


def test_possible_are_those_not_told_apart_from_the_highest() -> None:
    places = rank_recipes(VALUES)
    assert [place.name for place in places if place.possible] == ["high", "near", "wide"]
    assert places[3].behind == pytest.approx(0.941 - 0.902)


def test_one_run_is_judged_by_the_spread_that_all_have_in_common() -> None:
    for value, possible in ((0.5, False), (0.92, True)):
        groups = {**VALUES, "once": [value]}
        place = next(place for place in rank_recipes(groups) if place.name == "once")
        # Tukey and Kramer's own test, which pools the variances
        labels = [name for name, each in groups.items() for _ in each]
        found = pairwise_tukeyhsd([value for each in groups.values() for value in each], labels)
        pairs = {tuple(row[:2]): p for row, p in zip(found.summary().data[1:], found.pvalues, strict=True)}
        assert place.p == pytest.approx(pairs["high", "once"], abs=1e-6) and place.possible == possible


def test_one_run_of_each_rules_nothing_out() -> None:
    places = rank_recipes({"a": [0.9], "b": [0.1], "c": [0.5]})
    assert all(place.possible and place.p is None for place in places)


def test_equal_means_share_a_rank_and_no_spread_gives_no_p() -> None:
    places = rank_recipes({"a": [0.1] * 3, "b": [0.1, 0.1], "c": [0.0, 0.0]})
    assert [(place.rank, place.p, place.possible) for place in places] == [
        (1, None, True),
        (1, None, True),
        (3, None, True),
    ]


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_best_is_rarely_ruled_out(seeds: int) -> None:
    """Twelve recipes, the best one 0.1 std above eleven equal ones: hard to see, easy to lose."""
    rng, studies, lost = np.random.default_rng(seeds), 50, 0
    for _ in range(studies):
        values = {str(at): list(rng.normal(0.1 * (at == 0), 1, seeds)) for at in range(12)}
        lost += not next(place for place in rank_recipes(values) if place.name == "0").possible
    assert lost <= stats.binom.ppf(0.999, studies, 0.05)


def test_with_many_seeds_only_the_best_is_left() -> None:
    rng = np.random.default_rng(0)
    values = {str(at): list(rng.normal(0.9 + 0.01 * at, 0.002, 20)) for at in range(5)}
    assert [place.name for place in rank_recipes(values) if place.possible] == ["4"]
