"""Ranking: it agrees with every comparison, and tests the other pairs in the same way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.best import Place, rank_recipes
from harness.statistics.comparison import Comparison, compare, judge

Values = dict[str, dict[int, float]]


def drawn(means: dict[str, float], n: int, seed: int = 0, std: float = 0.002) -> Values:
    rng = np.random.default_rng(seed)
    return {name: dict(enumerate(rng.normal(mean, std, n).tolist())) for name, mean in means.items()}


def against_first(values: Values) -> dict[tuple[str, str], Comparison]:
    first, *others = values
    found = [compare(values[name], values[first]) for name in others]
    judged = judge([one for one in found if one is not None])
    return {(name, first): one for name, one in zip(others, judged, strict=True)}


def places(values: Values) -> dict[str, Place]:
    return {place.name: place for place in rank_recipes(values, against_first(values))}


def test_pairs_that_no_comparison_has_are_tested_with_p_times_the_rivals() -> None:
    values = drawn({"base": 0.9, "a": 0.9, "b": 0.906, "c": 0.9}, 5)
    found, judged = places(values), against_first(values)
    (x, y) = (np.array(list(values[name].values())) for name in ("b", "c"))
    assert x.mean() > y.mean()
    candidates = [3 * stats.ttest_rel(y, np.array(list(values[name].values()))).pvalue
                  for name in ("a", "b") if np.mean(list(values[name].values())) > y.mean()]  # fmt: skip
    if judged["c", "base"].primary.difference < 0:
        candidates.append(judged["c", "base"].p_holm or 1.0)
    assert found["c"].p == pytest.approx(min(1.0, *candidates), rel=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(3, 6))
def test_the_ranking_never_contradicts_a_comparison(seed: int, n: int, k: int) -> None:
    values = drawn({str(at): 0.9 + 0.003 * (at % 3) for at in range(k)}, n, seed)
    found = places(values)
    for (name, first), comparison in against_first(values).items():
        assert (first in found[name].worse_than) == (comparison.verdict == "worse")
        assert (name in found[first].worse_than) == (comparison.verdict == "better")
    # with equal seeds the highest mean is never excluded, and excluded is what has p of at most 0.05
    assert not found[max(values, key=lambda name: sum(values[name].values()))].worse_than
    for place in found.values():
        assert bool(place.worse_than) == (place.p is not None and place.p <= 0.05)


def test_a_single_run_is_neither_excluded_nor_excludes() -> None:
    values = {**drawn({"base": 0.9, "a": 0.95, "b": 0.95}, 6), "once": {0: 0.1}, "other": {1: 0.99}}
    found = {place.name: place for place in rank_recipes(values, {})}
    assert (found["once"].p, found["once"].worse_than, found["once"].std) == (None, (), None)
    assert found["base"].worse_than and "other" not in found["base"].worse_than


def test_equal_means_share_a_rank_and_no_spread_gives_no_p() -> None:
    values = {"a": {0: 0.1, 1: 0.1}, "b": {0: 0.1, 1: 0.1}, "c": {0: 0.0, 1: 0.0}}
    found = rank_recipes(values, {})
    assert [(place.rank, place.p, place.worse_than) for place in found] == [
        (1, None, ()),
        (1, None, ()),
        (3, None, ()),
    ]
    assert found[2].behind == pytest.approx(0.1)


def test_many_variants_are_ranked_in_seconds() -> None:
    values = drawn({str(at): 0.9 + at / 1e5 for at in range(200)}, 3)
    assert len(rank_recipes(values, {})) == 200


def test_a_flagged_seed_widens_the_tests_that_no_comparison_has() -> None:
    values = drawn({"base": 0.9, "a": 0.9, "b": 0.9032}, 6, seed=4)
    values["a"][2] -= 0.05
    values["base"][1] -= 0.05
    plain, careful = (rank_recipes(values, {}, flagged=flagged) for flagged in (False, True))
    p_values = [{place.name: place.p or 1.0 for place in one} for one in (plain, careful)]
    assert all(p_values[1][name] >= p_values[0][name] for name in values)
    assert p_values[0] != p_values[1]
