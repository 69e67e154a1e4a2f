"""Intervals of components, of correlations and of means cover as docs/variance.md says."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import simulations_variance as simulations
from harness.statistics.corrected import crossed_t

STUDIES = 4_000
ROOT = Path(__file__).parents[2]


def monte_carlo(rate: float, studies: int = STUDIES) -> float:
    """Four standard errors of a rate: passed by chance once in 30,000 times."""
    return 4 * math.sqrt(rate * (1 - rate) / studies)


def test_the_simulated_intervals_of_a_mean_are_the_harnesss() -> None:
    values = simulations.designs(np.random.default_rng(0), 20, (4, 3, 2), 0.5)
    _, halves = simulations.crossed_intervals(values, 3)
    for design, half in zip(values, halves, strict=True):
        interval = crossed_t(design, [0.0] * 3).interval
        assert interval is not None and (interval[1] - interval[0]) / 2 == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("levels", simulations.DESIGNS)
def test_intervals_of_components_cover_at_least_95_percent(levels: tuple[int, ...], bad: bool) -> None:
    for component in simulations.COMPONENTS:
        coverage, rejected = simulations.component_rates(levels, component, STUDIES, bad=bad)
        assert coverage > 0.95 - monte_carlo(0.95)
        if component == 0:
            assert rejected < 0.05 + monte_carlo(0.05)


@pytest.mark.parametrize("levels", [(4, 4, 3), (3, 3, 3)])
def test_what_two_sources_do_together_is_not_taken_for_one_of_them(levels: tuple[int, ...]) -> None:
    assert simulations.rejections_beside_an_interaction(levels, 2.0, STUDIES) < 0.05 + monte_carlo(0.05)


def test_intervals_of_correlations_cover_at_least_94_percent() -> None:
    for component, shared in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.9)):
        coverage = simulations.correlation_rate((5, 5), component, shared, STUDIES)
        assert coverage > 0.94 - monte_carlo(0.94)


@pytest.mark.parametrize("component", [0.1, 0.5, 2.0])
def test_the_plain_interval_of_a_crossed_mean_fails_and_the_corrected_one_holds(component: float) -> None:
    plain, corrected = simulations.mean_rates((4, 4, 3), component, STUDIES)
    assert plain < 0.75 and corrected > 0.95 - monte_carlo(0.95)


@pytest.mark.parametrize("draws", [5, 10])
def test_the_interval_over_hold_outs_needs_nadeau_and_bengio(draws: int) -> None:
    plain, corrected = simulations.holdout_rates(draws, 600)
    assert plain < 0.9 and abs(corrected - 0.95) < 0.015 + monte_carlo(0.95, 600)


@pytest.mark.slow
def test_the_page_has_what_the_simulations_print() -> None:
    import scipy

    page = (ROOT / "docs" / "variance.md").read_text(encoding="utf-8")
    if f"numpy {np.__version__} and scipy {scipy.__version__}:" not in page:
        pytest.skip("the page was made with other versions, which may draw other numbers")
    command = [sys.executable, "-m", "benchmarks.simulations_variance"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tables = [table for table in printed.split("\n\n") if table.strip()]
    assert len(tables) == 14  # seven titles, seven tables
    assert [table for table in tables if table.strip() not in page] == []
