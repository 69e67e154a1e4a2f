"""Coverage of the intervals over seeds, over images and over both (harness/statistics/noise.py).

Each function computes many studies at once; tests/statistics/test_noise.py checks that they give, study by
study, what the harness gives.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]
EASY, HARD = 0.85, 0.03  # shares of images; the others lie between
TRUTH = EASY * 0.99 + HARD * 0.05 + (1 - EASY - HARD) * 0.5
CHUNK = 100  # studies at a time
# name -> std between runs, images of a cluster, whether it is the difference of two recipes
CASES: dict[str, tuple[float, int, bool]] = {
    "runs alike": (0.0, 1, False),
    "runs differ, std 0.5 points": (0.005, 1, False),
    "clusters of 5 images": (0.002, 5, False),
    "paired difference": (0.005, 1, True),
}
IMAGES = 1_000
FEW_CLUSTERS = (10, 20, 40, 100)  # of five images


def draw(
    rng: np.random.Generator, studies: int, n: int, images: int, between: float, size: int, difference: bool
) -> tuple[Array, Array, Array, float]:
    """Answers (studies, n, images), the true means of those images and of those runs, and of all.

    Most images are easy, some are a toss-up, a few are missed nearly always. Images of a cluster are alike. A
    better run is right more often on those in between; so is the second recipe on half of them, where the
    first is right more often on the others.
    """
    kinds = np.repeat(rng.random((studies, 1, images // size)), size, axis=2)
    between_both = (kinds >= EASY) & (kinds <= 1 - HARD)
    toss_up = np.repeat(rng.random((studies, 1, images // size)), size, axis=2)
    base = np.where(kinds < EASY, 0.99, np.where(between_both, 0.2 + 0.6 * toss_up, 0.05))
    answers = np.zeros((studies, n, images), np.int8)
    of_images, of_runs = np.zeros(studies), np.zeros(studies)
    for sign in (1, -1) if difference else (1,):
        better = rng.uniform(-1, 1, (studies, n, 1)) * math.sqrt(3) * between
        recipe = np.where(rng.random((studies, 1, images)) < 0.5, 0.12, -0.12) * difference
        chance = base + np.where(between_both, better / (1 - EASY - HARD) + recipe, 0.0)
        right = rng.random((studies, n, images), dtype=np.float32) < chance
        answers += sign * right.astype(np.int8)
        of_images += sign * (base + np.where(between_both, recipe, 0.0)).mean(axis=(1, 2))
        of_runs += sign * (TRUTH + better.mean(axis=(1, 2)))
    return answers, of_images, of_runs, 0.0 if difference else TRUTH


def squared_errors(answers: Array, size: int) -> tuple[Array, Array, Array]:
    """Squared standard errors of the mean over seeds and over images, and the rest; one a study."""
    studies, n, images = answers.shape
    groups = images // size
    sums = answers.reshape(studies, n, groups, size).sum(axis=3, dtype=np.float64)
    of_runs, of_groups = sums.mean(axis=2, keepdims=True), sums.mean(axis=1, keepdims=True)
    mean = of_runs.mean(axis=1, keepdims=True)
    rest = ((sums - of_runs - of_groups + mean) ** 2).sum(axis=(1, 2)) / ((n - 1) * (groups - 1))
    over_seeds = of_runs.var(axis=1, ddof=1)[:, 0] / n
    over_images = of_groups.var(axis=2, ddof=1)[:, 0] / groups
    return over_seeds / size**2, over_images / size**2, rest / (n * groups) / size**2


def both(seeds: Array, images: Array, rest: Array, n: int, groups: int) -> tuple[Array, Array]:
    """Squared standard error over both, and its degrees of freedom."""
    variance = np.maximum(seeds, rest) + np.maximum(images, rest) - rest
    terms = seeds**2 / (n - 1) + images**2 / (groups - 1) + rest**2 / ((n - 1) * (groups - 1))
    with np.errstate(invalid="ignore"):  # nothing varies: NaN, an interval that holds nothing
        return variance, variance**2 / terms


def noise_rates(case: str, n: int, studies: int, images: int = IMAGES, seed: int = 6) -> dict[str, float]:
    """Coverage of each 95 % interval; and of the interval over seeds used for new images."""
    between, size, difference = CASES[case]
    rng, held = np.random.default_rng(seed), []
    for _ in range(math.ceil(studies / CHUNK)):
        answers, of_images, of_runs, truth = draw(rng, CHUNK, n, images, between, size, difference)
        mean, groups = answers.mean(axis=(1, 2)), images // size
        seeds, over_images, rest = squared_errors(answers, size)
        variance, free = both(seeds, over_images, rest, n, groups)
        t_seeds, t_images, t_both = (special.stdtrit(f, 0.975) for f in (n - 1, groups - 1, free))
        held.append(
            [
                np.abs(mean - of_images) <= t_seeds * np.sqrt(seeds),
                np.abs(mean - of_runs) <= t_images * np.sqrt(over_images),
                np.abs(mean - truth) <= t_both * np.sqrt(variance),
                np.abs(mean - truth) <= t_seeds * np.sqrt(seeds),
            ]
        )
    names = ("over seeds", "over images", "over both", "over seeds, where images are new too")
    return dict(zip(names, np.concatenate(held, axis=1).mean(axis=1).tolist(), strict=True))
