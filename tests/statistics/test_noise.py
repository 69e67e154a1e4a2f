"""Noise over seeds and over images: against an analysis of variance, plain loops, and simulation."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.anova import anova_lm

from harness.statistics.noise import Noise, noise_of, noise_of_difference


def right(n: int, images: int, seed: int = 0) -> NDArray[np.int64]:
    """Of n networks: easy and hard images, better and worse networks."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.3, 1, images) + rng.normal(0, 0.05, (n, 1))
    return (rng.random((n, images)) < chance).astype(np.int64)


def found(noise: Noise | None) -> Noise:
    assert noise is not None
    return noise


def test_the_components_are_those_of_an_analysis_of_variance() -> None:
    n, images = 5, 40
    matrix = right(n, images)
    rows = [
        {"seed": s, "image": i, "right": float(matrix[s, i])}
        for s, i in itertools.product(range(n), range(images))
    ]
    squares = anova_lm(smf.ols("right ~ C(seed) + C(image)", pd.DataFrame(rows)).fit())["mean_sq"]
    seeds, of_images, rest = (squares[name] for name in ("C(seed)", "C(image)", "Residual"))
    noise = found(noise_of(matrix))
    assert noise.var_residual == pytest.approx(rest)
    assert noise.var_seeds == pytest.approx((seeds - rest) / images)
    assert noise.var_images == pytest.approx((of_images - rest) / n)
    variances = [seeds, of_images, max(seeds, rest) + max(of_images, rest) - rest]
    errors = [math.sqrt(variance / (n * images)) for variance in variances]
    assert [noise.se_seeds, noise.se_images, noise.se_both] == pytest.approx(errors)
    free = variances[2] ** 2 / (
        seeds**2 / (n - 1) + of_images**2 / (images - 1) + rest**2 / ((n - 1) * (images - 1))
    )
    half = stats.t.ppf(0.975, free) * errors[2]
    assert (noise.free, noise.low, noise.high) == pytest.approx(
        (free, matrix.mean() - half, matrix.mean() + half)
    )


def test_over_seeds_it_is_the_usual_standard_error_and_over_images_that_of_their_shares() -> None:
    matrix = right(4, 60)
    noise = found(noise_of(matrix))
    assert noise.se_seeds == pytest.approx(stats.sem(matrix.mean(axis=1)))
    assert noise.se_images == pytest.approx(stats.sem(matrix.mean(axis=0)))


def test_one_network_has_only_the_noise_of_images() -> None:
    matrix = right(1, 100)
    noise = found(noise_of(matrix))
    assert noise.se_images == pytest.approx(math.sqrt(matrix.mean() * (1 - matrix.mean()) / 99))
    assert (noise.se_seeds, noise.se_both, noise.low, noise.var_images) == (None, None, None, None)


def test_without_any_spread_there_is_no_interval() -> None:
    noise = found(noise_of(np.ones((3, 20))))
    assert (noise.se_seeds, noise.se_images, noise.se_both, noise.low) == (0.0, 0.0, 0.0, None)


@pytest.mark.parametrize(("n", "images"), [(0, 5), (3, 1), (3, 0)])
def test_too_little_gives_nothing(n: int, images: int) -> None:
    assert noise_of(np.ones((n, images))) is None
    assert noise_of(np.ones((3, 6)), np.zeros(6)) is None  # one cluster


def clustered_error(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """Miller (2024): sum over all pairs of images in a cluster, with G / (G - 1)."""
    excess, images = values - values.mean(), len(values)
    pairs = sum(
        excess[i] * excess[j]
        for i, j in itertools.product(range(images), repeat=2)
        if clusters[i] == clusters[j]
    )
    groups = len(set(clusters.tolist()))
    return math.sqrt(pairs * groups / (groups - 1)) / images


def test_clusters_are_drawn_anew_as_a_whole() -> None:
    matrix = right(3, 30)
    clusters = np.random.default_rng(1).integers(0, 8, 30) * 7 - 20
    noise = found(noise_of(matrix, clusters))
    assert noise.groups == len(set(clusters.tolist())) and noise.images == 30
    assert noise.se_images == pytest.approx(clustered_error(matrix.mean(axis=0), clusters))
    assert noise.se_seeds == pytest.approx(stats.sem(matrix.mean(axis=1)))
    # frames that are copies of one image tell nothing more than one of them
    copies = found(noise_of(np.repeat(matrix, 5, axis=1), np.repeat(np.arange(30), 5)))
    single = found(noise_of(matrix))
    for name in ("se_seeds", "se_images", "se_both", "free", "low", "high"):
        assert getattr(copies, name) == pytest.approx(getattr(single, name)), name


@given(st.integers(2, 6), st.integers(2, 40), st.integers(0, 1000))
def test_clusters_of_one_image_are_no_clusters_and_both_is_at_least_each(
    n: int, images: int, seed: int
) -> None:
    matrix = right(n, images, seed)
    noise = found(noise_of(matrix))
    assert found(noise_of(matrix, np.arange(images) * 3)) == noise
    assert noise.se_both is not None and noise.se_both >= noise.se_images
    if noise.var_images is not None and noise.var_images >= 0 and noise.se_seeds is not None:
        assert noise.se_both >= noise.se_seeds * (1 - 1e-12)


def test_a_paired_difference_has_the_noise_of_the_differences() -> None:
    first, second = right(4, 50), right(4, 50, seed=9)
    noise = found(noise_of(first - second))
    assert noise.mean == pytest.approx(first.mean() - second.mean())
    assert noise.se_seeds == pytest.approx(stats.sem(first.mean(axis=1) - second.mean(axis=1)))
    assert noise.se_images == pytest.approx(stats.sem((first - second).mean(axis=0)))


def test_other_seeds_add_up_while_the_images_stay_paired() -> None:
    first, second = right(4, 50), right(3, 50, seed=9)
    noise, one, two = (
        found(each) for each in (noise_of_difference(first, second), noise_of(first), noise_of(second))
    )
    assert one.se_seeds is not None and two.se_seeds is not None
    assert one.var_residual is not None and two.var_residual is not None
    seeds = math.hypot(one.se_seeds, two.se_seeds)
    images = stats.sem(first.mean(axis=0) - second.mean(axis=0))
    rest = one.var_residual / (4 * 50) + two.var_residual / (3 * 50)
    assert (noise.n, noise.n_other, noise.var_seeds) == (4, 3, None)
    assert (noise.se_seeds, noise.se_images) == pytest.approx((seeds, images))
    both = max(seeds**2, rest) + max(images**2, rest) - rest
    assert noise.se_both == pytest.approx(math.sqrt(both))
    clusters = np.arange(50) // 5
    clustered = found(noise_of_difference(first, second, clusters))
    difference = first.mean(axis=0) - second.mean(axis=0)
    assert clustered.se_images == pytest.approx(clustered_error(difference, clusters))
    assert noise_of_difference(first[:1], second) is None


def test_the_components_are_estimated_without_bias() -> None:
    rng, n, images = np.random.default_rng(3), 4, 30
    estimates = []
    for _ in range(1500):
        chance = 0.5 + rng.uniform(-0.3, 0.3, images) + rng.uniform(-0.15, 0.15, (n, 1))
        noise = found(noise_of(rng.random((n, images)) < chance))
        estimates.append((noise.var_seeds, noise.var_images, noise.var_residual))
    means = np.mean(np.array(estimates, float), axis=0)
    errors = np.std(np.array(estimates, float), axis=0, ddof=1) / math.sqrt(1500)
    seeds, of_images = 0.15**2 / 3, 0.3**2 / 3
    assert np.all(np.abs(means - [seeds, of_images, 0.25 - seeds - of_images]) < 4 * errors)


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "simulations_noise.py"
    spec = importlib.util.spec_from_file_location("simulations_noise", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = ["runs alike", "runs differ, std 0.5 points", "clusters of 5 images", "paired difference"]


@pytest.mark.parametrize("case", CASES)
def test_the_simulations_compute_what_the_harness_computes(simulations: ModuleType, case: str) -> None:
    between, size, difference = simulations.CASES[case]
    rng = np.random.default_rng(0)
    answers, *_ = simulations.draw(rng, 10, 3, 200, between, size, difference)
    mine = [found(noise_of(each, np.arange(200) // size)) for each in answers]
    seeds, images, rest = simulations.squared_errors(answers, size)
    variance, free = simulations.both(seeds, images, rest, 3, 200 // size)
    for name, theirs in (
        ("se_seeds", np.sqrt(seeds)),
        ("se_images", np.sqrt(images)),
        ("se_both", np.sqrt(variance)),
        ("free", free),
    ):
        assert [getattr(each, name) for each in mine] == pytest.approx(theirs, rel=1e-9), name


def too_low(rates: dict[str, float], error: float) -> list[str]:
    """The first three are what each interval is about; four Monte Carlo errors are granted."""
    return [name for name in list(rates)[:3] if not 0.935 - 4 * error < rates[name] < 0.975 + 4 * error]


@pytest.mark.parametrize("case", CASES)
def test_each_interval_holds_its_own_truth_and_that_of_seeds_not_that_of_other_images(
    simulations: ModuleType, case: str
) -> None:
    rates = simulations.noise_rates(case, 3, 600, images=500)
    assert too_low(rates, math.sqrt(0.05 * 0.95 / 600)) == []
    if case != "paired difference":
        assert list(rates.values())[3] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_each_interval_holds_its_own_truth_in_many_studies(
    simulations: ModuleType, case: str, n: int
) -> None:
    rates = simulations.noise_rates(case, n, 10_000, seed=16)
    assert too_low(rates, 0.0) == []
