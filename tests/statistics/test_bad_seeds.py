"""Outlier seeds: Grubbs's own table, and values that cannot be flagged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.bad_seeds import flagged_seed, grubbs_limit


@pytest.mark.parametrize(("n", "limit"), [(5, 1.715), (10, 2.290), (20, 2.708)])
def test_the_limit_is_that_of_the_published_table(n: int, limit: float) -> None:
    # Grubbs and Beck (Technometrics, 1972), table 1, 2.5 % one-sided, with 2.709 for 20
    assert grubbs_limit(n) == pytest.approx(limit, abs=6e-4)


def test_a_seed_far_below_or_above_the_others_is_flagged() -> None:
    values = {seed: 0.93 + 0.001 * (seed % 3) for seed in range(8)}
    assert flagged_seed(values) is None
    assert flagged_seed({**values, 5: 0.90}) == 5
    assert flagged_seed({**values, 2: 0.97}) == 2


@pytest.mark.parametrize("values", [[], [0.9], [0.9, 0.9, 0.9, 0.1], [0.9] * 6])
def test_few_values_and_equal_ones_flag_nothing(values: list[float]) -> None:
    assert flagged_seed(dict(enumerate(values))) is None


def test_one_normal_group_in_twenty_is_flagged() -> None:
    rng = np.random.default_rng(0)
    flagged = [flagged_seed(dict(enumerate(rng.normal(0.9, 0.01, 6).tolist()))) for _ in range(2_000)]
    assert np.mean([seed is not None for seed in flagged]) == pytest.approx(0.05, abs=0.02)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=12), st.randoms())
def test_the_order_of_the_seeds_decides_nothing(values: list[float], random: object) -> None:
    by_seed = dict(enumerate(values))
    turned = dict(reversed(list(by_seed.items())))
    one, other = flagged_seed(by_seed), flagged_seed(turned)
    assert (one is None) == (other is None)
    assert one is None or other is None or by_seed[one] == by_seed[other]
