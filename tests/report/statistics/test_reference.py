"""A published number against ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.report import statistics

VALUES = [0.931, 0.934, 0.929, 0.936, 0.933]


def test_the_prediction_interval_is_that_of_one_further_run() -> None:
    half = stats.t.ppf(0.975, 4) * np.std(VALUES, ddof=1) * np.sqrt(1 + 1 / 5)
    expected = (np.mean(VALUES) - half, np.mean(VALUES) + half)
    assert statistics.prediction_interval(VALUES) == pytest.approx(expected, rel=1e-12)


def test_the_mean_of_many_runs_is_predicted_more_narrowly() -> None:
    one, many = statistics.prediction_interval(VALUES), statistics.prediction_interval(VALUES, runs=10_000)
    assert one is not None and many is not None and one[0] < many[0] < many[1] < one[1]
    assert many == pytest.approx(statistics.t_interval(VALUES), abs=1e-5)


def test_a_number_inside_is_plausible_and_one_outside_is_not() -> None:
    inside, outside = statistics.standing(0.9318, VALUES), statistics.standing(0.9, VALUES)
    assert inside.plausible is True and outside.plausible is False
    assert inside.difference == pytest.approx(0.9318 - np.mean(VALUES), rel=1e-12)
    assert (inside.percentile, outside.percentile) == (0.4, 0.0)


def test_equal_runs_count_half_in_the_percentile() -> None:
    assert (
        statistics.standing(0.933, VALUES).percentile == stats.percentileofscore(VALUES, 0.933, "mean") / 100
    )


def test_with_one_seed_only_the_difference_is_known() -> None:
    found = statistics.standing(0.9318, [0.934])
    assert found.difference == pytest.approx(-0.0022)
    assert (found.percentile, found.low, found.high, found.plausible) == (None, None, None, None)


def test_equal_seeds_do_not_judge() -> None:
    found = statistics.standing(0.9318, [0.934, 0.934])
    assert (found.percentile, found.plausible) == (0.0, None)
