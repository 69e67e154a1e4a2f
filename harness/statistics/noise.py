"""The noise of an accuracy on both sides: other seeds, other test images, and both at once.

Seeds and images are crossed: every seed's network is judged by every image. The model has a random effect of
each seed, of each image, and of each pair (Miller, "Adding error bars to evals", 2024, arXiv 2411.00640, has
the images' side; Searle, Casella and McCulloch, "Variance components", 1992, chapter 4, both).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from harness.statistics.distribution import t_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Noise:
    """The standard errors of a mean accuracy, or of a difference of two; in fractions.

    Attributes:
        n: seeds; of a difference that is not paired, of the first recipe.
        n_other: of the second recipe where the difference is not paired, else None.
        groups: clusters of images; as many as images where each is by itself.
        mean: the accuracy, or the difference.
        se_seeds: over other seeds, on these images. For one seed None, as all below except ``se_images``.
        se_images: over other images, with these networks.
        se_both: over other seeds and other images.
        free: degrees of freedom of ``se_both`` (Satterthwaite, Biometrics Bulletin, 1946).
        low, high: 95 % interval of the mean over infinitely many seeds and images; None where nothing varies.
        var_seeds, var_images, var_residual: unbiased estimates of the variances of the effects of a seed, of
            an image and of the rest, in squared fractions; the first two may be negative. None where the
            difference is not paired: it has the effects of two recipes' seeds.
    """

    n: int
    n_other: int | None
    images: int
    groups: int
    mean: float
    se_seeds: float | None
    se_images: float
    se_both: float | None
    free: float | None
    low: float | None
    high: float | None
    var_seeds: float | None
    var_images: float | None
    var_residual: float | None


@dataclass(frozen=True)
class _Counts:
    """Right answers, or differences of them, of each seed in each cluster of images.

    Attributes:
        table: (n, G).
        sizes: (G,), the images of each cluster.
    """

    table: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def n(self) -> int:
        return len(self.table)

    @property
    def images(self) -> int:
        return int(self.sizes.sum())

    @property
    def total(self) -> int:
        return int(self.table.sum())


def noise_of(correct: ArrayLike, clusters: ArrayLike | None = None) -> Noise | None:
    """Estimate the noise of a mean accuracy; or, of paired differences, of their mean.

    With mean squares MS of seeds, images and the rest, se_seeds² = MS_s / nN (the usual s² / n),
    se_images² = MS_i / nN, se_both² = (MS_s + MS_i - MS_r) / nN, where a mean square below MS_r counts as it.
    With clusters the images' sums of squares are those of the clusters' sums, times G / (G - 1) (Miller 2024,
    on clustered questions; Cameron and Miller, "A practitioner's guide to cluster-robust inference", 2015).

    Args:
        correct: (n, N): 1 where seed i is right on image j, else 0; or the differences of two recipes with
            the same seeds, -1, 0 or 1.
        clusters: (N,) of integers, equal for images of one cluster; None: each image is one.

    Returns:
        None for fewer than two clusters, and for no seed.
    """
    counts = _count(correct, clusters)
    if counts.n == 0 or len(counts.sizes) < 2:
        return None
    n, images, groups = counts.n, counts.images, len(counts.sizes)
    over_images = _over_images(counts.table.sum(axis=0), counts.sizes) / (n * images) ** 2
    mean = Fraction(counts.total, n * images)
    if n == 1:
        unknown = (None, None, None, None)
        return Noise(
            1, None, images, groups, float(mean), None, _root(over_images), *unknown,
            var_seeds=None, var_images=None, var_residual=None,
        )  # fmt: skip
    seeds, rest = _over_seeds(counts), _residual(counts)
    terms = [(seeds, n - 1), (over_images, groups - 1), (rest, (n - 1) * (groups - 1))]
    lowest = -1 if np.min(counts.table) < 0 else 0
    return Noise(
        n, None, images, groups, float(mean), _root(seeds), _root(over_images),
        *_both(mean, seeds, over_images, rest, terms, lowest),
        var_seeds=float(n * (seeds - rest)),
        var_images=float(images * (over_images - rest)),
        var_residual=float(n * images * rest),
    )  # fmt: skip


def noise_of_difference(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None
) -> Noise | None:
    """Estimate the noise of a difference of mean accuracies on the same images with different seeds.

    The seeds' and the rest's squared standard errors of both recipes add up, as in Welch's test; the images'
    is that of the images' differences, because both recipes are judged by the same.

    Args:
        first, second: (n, N) and (m, N) of 0 and 1, each of at least two seeds.
        clusters: as for :func:`noise_of`.
    """
    one, two = _count(first, clusters), _count(second, clusters)
    n, m, images, groups = one.n, two.n, one.images, len(one.sizes)
    if min(n, m) < 2 or groups < 2:
        return None
    weighed = m * one.table.sum(axis=0) - n * two.table.sum(axis=0)
    over_images = _over_images(weighed, one.sizes) / (n * m * images) ** 2
    seeds, rest = [_over_seeds(one), _over_seeds(two)], [_residual(one), _residual(two)]
    terms = [(seeds[0], n - 1), (seeds[1], m - 1), (over_images, groups - 1)]
    terms += [(rest[0], (n - 1) * (groups - 1)), (rest[1], (m - 1) * (groups - 1))]
    mean = Fraction(one.total, n * images) - Fraction(two.total, m * images)
    return Noise(
        n, m, images, groups, float(mean), _root(sum(seeds, Fraction())), _root(over_images),
        *_both(mean, sum(seeds, Fraction()), over_images, sum(rest, Fraction()), terms, -1),
        var_seeds=None, var_images=None, var_residual=None,
    )  # fmt: skip


def _count(correct: ArrayLike, clusters: ArrayLike | None) -> _Counts:
    table = np.asarray(correct).astype(np.int64)
    if clusters is None:
        return _Counts(table, np.ones(table.shape[1], np.int64))
    _, place, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    summed = [np.bincount(place, weights=row, minlength=len(sizes)) for row in table]  # whole numbers
    return _Counts(np.array(summed, np.int64).reshape(len(table), len(sizes)), sizes.astype(np.int64))


# Sums of squares as exact fractions of whole numbers: they are small differences of large sums.


def _over_images(counts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Fraction:
    """Return G / (G - 1) times the squares of the clusters' sums of what exceeds the mean of all images."""
    images, groups = int(sizes.sum()), len(sizes)
    ratio = Fraction(int(counts.sum()), images)
    squares = (
        int((counts**2).sum()) - 2 * ratio * int((sizes * counts).sum()) + ratio**2 * int((sizes**2).sum())
    )
    return squares * Fraction(groups, groups - 1)


def _over_seeds(counts: _Counts) -> Fraction:
    """Return the squared standard error over seeds: s² / n."""
    n, totals = counts.n, [int(total) for total in counts.table.sum(axis=1)]
    squares = sum(total**2 for total in totals) - Fraction(sum(totals) ** 2, n)
    return squares / (n * (n - 1) * counts.images**2)


def _residual(counts: _Counts) -> Fraction:
    """Return MS_r / nN: what neither the seed nor the image explains."""
    n, images = counts.n, counts.images
    of_seeds = sum((_over_images(row, counts.sizes) for row in counts.table), Fraction())
    of_mean = _over_images(counts.table.sum(axis=0), counts.sizes) / n
    return (of_seeds - of_mean) / (n * (n - 1) * images**2)


def _both(
    mean: Fraction,
    seeds: Fraction,
    images: Fraction,
    rest: Fraction,
    terms: list[tuple[Fraction, int]],
    lowest: int,
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return the standard error over both, its degrees of freedom, and the interval's ends."""
    variance = max(seeds, rest) + max(images, rest) - rest
    if variance == 0:
        return 0.0, None, None, None
    free = float(variance**2 / sum(term**2 / freedom for term, freedom in terms))
    half = t_quantile(free) * _root(variance)
    return _root(variance), free, max(float(mean) - half, lowest), min(float(mean) + half, 1.0)


def _root(square: Fraction) -> float:
    return math.sqrt(square)
