"""The noise of each variant's accuracy and of each comparison's difference, over seeds and over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.comparisons import VariantComparison
from harness.analysis.results import Results
from harness.analysis.runs import Run, same_images
from harness.statistics.noise import Noise, noise_of, noise_of_difference


@dataclass(frozen=True)
class VariantNoise:
    """The noise of a variant's mean accuracy, or of its difference from a baseline.

    Attributes:
        baseline: None where the noise is of the variant's own accuracy.
        paired: whether the difference is over shared seeds.
        noise: of the mean.
    """

    variant: str
    baseline: str | None
    paired: bool
    noise: Noise

    @property
    def what(self) -> str:
        """Return ``wide``, or ``wide - base`` for a difference."""
        return self.variant if self.baseline is None else f"{self.variant} - {self.baseline}"


def noise_of_variant(runs: Sequence[Run]) -> Noise | None:
    """Return the noise of the mean accuracy of finished runs, of which there is at least one.

    Returns:
        None where they were not evaluated on the same images, in the same clusters, or are not independent;
        and without their predictions, as published runs are.
    """
    return noise_of(_correct(runs), _clusters(runs)) if _comparable(runs) else None


def list_noise(
    results: Results, of_variants: Mapping[str, Noise | None], comparisons: Sequence[VariantComparison]
) -> list[VariantNoise]:
    """Return the noise of every variant, then that of every comparison of two with finished runs.

    Args:
        of_variants: variant -> :func:`noise_of_variant`, in the study's order.
    """
    found = [VariantNoise(name, None, False, noise) for name, noise in of_variants.items() if noise]
    for compared in comparisons:
        first, second = (results.of(name, "finished") for name in (compared.variant, compared.baseline))
        if first and second and _comparable([*first, *second]):
            paired, noise = _of_difference(first, second)
            if noise is not None:
                found.append(VariantNoise(compared.variant, compared.baseline, paired, noise))
    return found


def _of_difference(first: list[Run], second: list[Run]) -> tuple[bool, Noise | None]:
    """Return the difference's noise over the seeds that both have; else, with several of each, over all."""
    clusters, seeds = _clusters([*first, *second]), {run.seed for run in second}
    shared = [run for run in first if run.seed in seeds]
    if len(shared) < 2 and min(len(first), len(second)) > 1:
        return False, noise_of_difference(_correct(first), _correct(second), clusters)
    if not shared:
        return False, None
    mine = {run.seed for run in shared}
    theirs = [run for run in second if run.seed in mine]
    differences = _correct(shared).astype(np.int64) - _correct(theirs)
    return True, noise_of(differences, clusters)


def _comparable(runs: Sequence[Run]) -> bool:
    clusters = [known for run in runs if (known := _clusters([run])) is not None]
    if any(run.predictions is None for run in runs):
        return False
    if not all(run.independent for run in runs) or not same_images(runs):
        return False
    return all(np.array_equal(clusters[0], other) for other in clusters[1:])


def _correct(runs: Sequence[Run]) -> NDArray[np.bool_]:
    """Return (n, N), whether each run is right on each image, by seed."""
    by_seed = sorted(runs, key=lambda run: run.seed)
    return np.stack([run.predictions.correct for run in by_seed if run.predictions is not None])


def _clusters(runs: Sequence[Run]) -> NDArray[np.int64] | None:
    """Return the clusters of the images, which one of the runs knows; None where none does."""
    known = (run.predictions.clusters for run in runs if run.predictions is not None)
    return next((clusters for clusters in known if clusters is not None), None)
