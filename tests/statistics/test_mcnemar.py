"""Two networks on the same images: McNemar's test and the bootstrap over images."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from harness.statistics.mcnemar import compare_images, mcnemar


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (310, 250)])
def test_mcnemar_is_exact(b: int, c: int) -> None:
    expected = reference_mcnemar([[100, b], [c, 7]], exact=True).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_only_images_on_which_the_networks_differ_count() -> None:
    first = np.r_[np.ones(90), np.zeros(10)]
    second = np.r_[np.ones(70), np.zeros(25), np.ones(5)]
    found = compare_images(first, second).primary
    assert found.difference == pytest.approx(0.15)
    assert found.p == pytest.approx(reference_mcnemar([[70, 20], [5, 5]], exact=True).pvalue, rel=1e-9)
    assert found.effect_size == pytest.approx(20 / 25 - 0.5)


def test_the_interval_is_that_of_drawing_images_with_replacement() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 2_000)) < 0.9
    found = compare_images(first, second).primary
    drawn = rng.integers(0, 2_000, (1_500, 2_000))
    differences = (first[drawn].mean(axis=1) - second[drawn].mean(axis=1)).astype(float)
    assert found == compare_images(first, second).primary
    assert (found.low, found.high) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.0015)


def test_networks_that_agree_everywhere_do_not_differ() -> None:
    found = compare_images([1, 0, 1], [1, 0, 1]).primary
    assert (found.difference, found.low, found.high, found.p, found.effect_size) == (0, 0, 0, 1.0, None)
