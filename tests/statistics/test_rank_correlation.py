"""Rank correlations: scipy's, row by row; and means that know what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from harness.statistics.rank_correlation import mean_known, rank_correlations


def test_every_pair_of_rows_has_spearmans_correlation() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 30)), rng.normal(size=(3, 30))
    second[1] = np.maximum(second[1], 0)  # ties, as in a map without evidence in many places
    found = rank_correlations(first, second)
    expected = [[spearmanr(one, other).statistic for other in second] for one in first]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_only_the_order_counts() -> None:
    row = np.array([[0.1, 4.0, 2.0, 9.0]])
    assert rank_correlations(row, np.exp(row)) == pytest.approx(1)
    assert rank_correlations(row, -(row**3)) == pytest.approx(-1)


def test_a_constant_row_has_no_rank_correlation() -> None:
    found = rank_correlations([[1, 1, 1], [1, 2, 3]], [[1, 2, 3], [0, 0, 0]])
    assert np.isnan(found).tolist() == [[True, True], [False, True]]
    assert np.isnan(rank_correlations([[5.0]], [[7.0]])).all()


def test_a_mean_is_over_what_is_known() -> None:
    values = [[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]]
    assert mean_known(values) == 2
    np.testing.assert_array_equal(mean_known(values, axis=1), [2, np.nan])
    assert np.isnan(mean_known([]))
