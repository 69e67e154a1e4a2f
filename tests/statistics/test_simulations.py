"""Intervals cover and tests reject as often as they should, at the n and for the distributions of studies.

The simulations compute thousands of studies at once (benchmarks/simulations.py); the first tests show that
they compute what the harness computes. ``-m slow`` repeats them with more studies.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness.statistics.comparison import compare, holm
from harness.statistics.distribution import BOOTSTRAP_FROM, t_interval
from harness.statistics.mcnemar import compare_images
from harness.statistics.permutation import relabelled
from harness.statistics.prediction import prediction_interval
from harness.statistics.target import clopper_pearson, p_above
from harness.statistics.variance import seed_variance

STUDIES = 20_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    path = ROOT / "benchmarks" / "simulations.py"
    spec = importlib.util.spec_from_file_location("simulations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def monte_carlo(rate: float, studies: int = STUDIES) -> float:
    """Four standard errors of a rate: passed by chance once in 30,000 times."""
    return 4 * math.sqrt(rate * (1 - rate) / studies)


def or_nan(p: float | None) -> float:
    return math.nan if p is None else p


@pytest.mark.parametrize("name", ["normal", "like ours", "coarse", "skewed"])
@pytest.mark.parametrize("n", [3, 5])
def test_the_simulations_compute_what_the_harness_computes(
    simulations: ModuleType, name: str, n: int
) -> None:
    rng = np.random.default_rng(n)
    draw, mean = simulations.DISTRIBUTIONS[name]
    first, second = draw(rng, (40, n)), draw(rng, (40, n))
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    ours = np.array([t_interval(values) or (math.nan, math.nan) for values, _ in pairs])
    usable = np.isfinite(ours[:, 0])
    assert usable.tolist() == simulations.judgeable(first).tolist()
    assert np.transpose(simulations.t_intervals(first))[usable] == pytest.approx(ours[usable], rel=1e-12)
    predicted = [prediction_interval(values) or (math.nan, math.nan) for values, _ in pairs]
    theirs = np.transpose(simulations.prediction_intervals(first))
    assert theirs[usable] == pytest.approx(np.array(predicted)[usable], rel=1e-12)
    found = [compare(dict(enumerate(one)), dict(enumerate(two))) for one, two in pairs]
    compared = [one for one in found if one is not None]
    assert len(compared) == 40
    for mine, many in (
        ([one.primary.p for one in compared], simulations.paired_t(first, second)),
        ([one.welch_p for one in compared], simulations.welch_t(first, second)),
        (
            [one.permutation.p if one.permutation else None for one in compared],
            simulations.sign_flips(first, second),
        ),
        ([relabelled(*pair).p for pair in pairs], simulations.relabelled(first, second)),
        ([p_above(values, mean) for values, _ in pairs], simulations.p_above(first, mean)),
    ):
        assert [or_nan(p) for p in mine] == pytest.approx(many, rel=1e-9, nan_ok=True)
    family = np.stack([simulations.paired_t(first, draw(rng, (40, n))) for _ in range(4)], axis=1)
    corrected = [min(holm([p for p in row if p == p])) <= 0.05 for row in family.tolist()]
    assert corrected == simulations.holm_rejects_any(family).tolist()


def test_the_simulated_images_are_judged_as_the_harness_judges(simulations: ModuleType) -> None:
    correct = simulations.correctness(np.random.default_rng(0), 20, 4, 500, 0.002)
    found = [seed_variance(matrix) for matrix in correct]
    estimates, p_luck = simulations.between_runs(correct)
    assert [one.between_runs for one in found if one] == pytest.approx(estimates, abs=1e-12)
    assert [one.p_luck for one in found if one] == pytest.approx(p_luck, rel=1e-6)
    p_values = simulations.mcnemar(correct[:, 0], correct[:, 1])
    mine = [compare_images(matrix[0], matrix[1]).primary.p for matrix in correct]
    assert mine == pytest.approx(p_values, rel=1e-9)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("name", ["normal", "like ours"])
def test_intervals_over_seeds_cover_95_percent(simulations: ModuleType, name: str, n: int) -> None:
    for interval, rate in simulations.interval_rates(name, n, STUDIES).items():
        assert rate == pytest.approx(0.95, abs=0.015), interval


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coarse_accuracies_do_not_make_intervals_cover_less(simulations: ModuleType, n: int) -> None:
    assert min(simulations.interval_rates("coarse", n, STUDIES).values()) > 0.935


def test_unseen_bad_seeds_make_t_intervals_too_narrow_as_the_page_says(simulations: ModuleType) -> None:
    rates = [simulations.interval_rates("skewed", n, STUDIES)["t interval of the mean"] for n in (3, 5, 10)]
    assert rates == pytest.approx([0.94, 0.92, 0.89], abs=0.015)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("name", ["normal", "like ours", "coarse", "skewed"])
def test_comparisons_reject_a_true_null_in_at_most_5_percent(
    simulations: ModuleType, name: str, n: int
) -> None:
    rates = simulations.test_rates(name, n, 4_000 if n == 10 else STUDIES)
    one_sided = rates.pop("mean > target, one-sided t")
    assert max(rates.values()) < 0.05 + monte_carlo(0.05, 4_000 if n == 10 else STUDIES), rates
    if name in ("like ours", "skewed"):
        assert one_sided > 0.055  # which is why it decides nothing
    else:
        assert one_sided < 0.05 + monte_carlo(0.05)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 50])
def test_clopper_pearson_covers_at_least_95_percent_at_every_probability(
    simulations: ModuleType, n: int
) -> None:
    probabilities = np.linspace(0.00037, 0.99963, 1999)
    low, high = clopper_pearson(np.arange(n + 1), np.full(n + 1, n))
    inside = (low <= probabilities[:, None]) & (probabilities[:, None] <= high)
    from scipy.stats import binom

    coverage = (binom.pmf(np.arange(n + 1), n, probabilities[:, None]) * inside).sum(axis=1)
    assert coverage.min() >= 0.95
    assert coverage == pytest.approx(simulations.clopper_pearson_coverage(n, probabilities), abs=1e-9)


@pytest.mark.parametrize(("n", "between"), [(3, 0.0), (3, 0.004), (5, 0.0), (5, 0.004), (10, 0.004)])
def test_the_between_run_variance_is_estimated_without_bias(
    simulations: ModuleType, n: int, between: float
) -> None:
    mean, error, luck_rejected = simulations.between_rates(n, between, 400, images=1_000)
    assert abs(mean - between**2) < 4 * error
    if between == 0:
        assert luck_rejected < 0.05 + monte_carlo(0.05, 400)


def test_single_networks_of_one_recipe_are_rarely_told_apart(simulations: ModuleType) -> None:
    rates = simulations.image_rates(1_000, images=500)
    assert rates["McNemar"] < 0.05 + monte_carlo(0.05, 1_000)
    assert rates["bootstrap over images"] == pytest.approx(0.95, abs=monte_carlo(0.95, 1_000))


def test_the_bootstrap_covers_too_rarely_below_its_limit(simulations: ModuleType) -> None:
    draw, mean = simulations.DISTRIBUTIONS["normal"]
    values = draw(np.random.default_rng(0), (600, 5))
    assert simulations.covers(simulations.bca_intervals(values), mean) < 0.90
    enough = draw(np.random.default_rng(1), (300, BOOTSTRAP_FROM))
    assert simulations.covers(simulations.bca_intervals(enough), mean) > 0.90


# ---- the same with more studies ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("name", ["normal", "like ours", "coarse", "skewed"])
def test_rates_hold_in_a_hundred_thousand_studies(simulations: ModuleType, name: str, n: int) -> None:
    rates = simulations.test_rates(name, n, 100_000, seed=11)
    rates.pop("mean > target, one-sided t")
    # the permutation tests go through 20,000 of them
    assert max(rates.values()) < 0.05 + monte_carlo(0.05, 20_000), rates
    if tolerance := {"normal": 0.005, "like ours": 0.015}.get(name):
        found = simulations.interval_rates(name, n, 100_000)
        assert all(abs(rate - 0.95) < tolerance for rate in found.values()), found


@pytest.mark.slow
def test_the_bootstrap_covers_from_its_limit_on(simulations: ModuleType) -> None:
    draw, mean = simulations.DISTRIBUTIONS["normal"]
    values = draw(np.random.default_rng(2), (10_000, BOOTSTRAP_FROM))
    assert simulations.covers(simulations.bca_intervals(values), mean) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
def test_luck_is_told_from_differences_in_many_studies(simulations: ModuleType, n: int) -> None:
    for between in (0.0, 0.002):
        mean, error, luck_rejected = simulations.between_rates(n, between, 4_000)
        assert abs(mean - between**2) < 4 * error
        if between == 0:
            assert luck_rejected < 0.05 + monte_carlo(0.05, 4_000)


@pytest.mark.slow
def test_the_page_has_what_the_simulations_print() -> None:
    import scipy

    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    if f"numpy {np.__version__} and scipy {scipy.__version__}:" not in page:
        pytest.skip("the page was made with other versions, which may draw other numbers")
    command = [sys.executable, "-m", "benchmarks.simulation_tables"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tables = [table for table in printed.split("\n\n") if table.strip()]
    assert len(tables) == 24  # twelve titles, twelve tables
    assert [table for table in tables if table.strip() not in page] == []
