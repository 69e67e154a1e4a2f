"""What a variant's seeds say beside their mean: target, spread, calibration, and the images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.report.results import Arrival, Results, Run
from harness.statistics.distribution import (
    BOOTSTRAP_FROM,
    Distribution,
    bootstrap_interval,
    describe,
    mean_of,
)
from harness.statistics.ensemble import always_missed, error_consistency, most_voted
from harness.statistics.target import Share, TimeToTarget, p_above, share, time_to_target
from harness.statistics.variance import SeedVariance, sampling_std, seed_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Missed:
    """An image that every seed misses: its place in the split, and what most seeds take it for."""

    index: int
    label: int
    predicted: int
    votes: int


@dataclass(frozen=True)
class Evidence:
    """A variant's numbers over its finished runs, of which there is at least one.

    Attributes:
        reached: runs that reached the target on their last epoch, of the finished and failed ones.
        p_above: of "the mean is not above the target"; None where it cannot be tested.
        bootstrap: BCa interval of the mean, from ``BOOTSTRAP_FROM`` runs on, else None.
        epochs, steps, seconds: to the first epoch that reached the target.
        images: the evaluation split's size.
        sampling_std: of one network's accuracy over new test sets of that size.
        spread: where it comes from. This and the next three: None for one run, and where the runs were not
            evaluated on the same images.
        ensemble_accuracy: of the runs' averaged probabilities.
        error_consistency: Cohen's kappa of being right, over all pairs of runs.
        missed: the images that every run misses, those first on whose class most runs agree.
        ece, brier: expected calibration error and Brier score, one a run.
    """

    reached: Share
    p_above: float | None
    bootstrap: tuple[float, float] | None
    epochs: TimeToTarget
    steps: TimeToTarget
    seconds: TimeToTarget
    images: int
    sampling_std: float
    spread: SeedVariance | None
    ensemble_accuracy: float | None
    error_consistency: float | None
    missed: tuple[Missed, ...] | None
    ece: Distribution
    brier: Distribution


def gather(results: Results, variant: str) -> Evidence | None:
    """The evidence of a variant; None without a finished run."""
    runs = results.of(variant, "finished")
    found = [run.predictions for run in runs if run.predictions is not None]
    accuracies = [value for run in runs if (value := run.number("test_accuracy")) is not None]
    ece = describe([one.reliability.ece for one in found])
    brier = describe([one.brier for one in found])
    if ece is None or brier is None:
        return None
    failed = len(results.of(variant, "failed"))
    target, images = results.study.target.test_accuracy, len(found[0].labels)
    correct, ensemble = correctness(runs), results.ensembles.get(variant)
    arrivals = [run.arrival(target) for run in runs]
    several = correct is not None and len(correct) > 1
    return Evidence(
        reached=share(sum(value >= target for value in accuracies), len(runs) + failed),
        p_above=p_above(accuracies, target),
        bootstrap=_bootstrap(accuracies),
        epochs=_time(arrivals, failed, "epochs"),
        steps=_time(arrivals, failed, "steps"),
        seconds=_time(arrivals, failed, "seconds"),
        images=images,
        sampling_std=sampling_std(mean_of(accuracies), images),
        spread=seed_variance(correct) if correct is not None else None,
        ensemble_accuracy=None if ensemble is None else float(np.mean(ensemble == found[0].labels)),
        error_consistency=error_consistency(correct) if correct is not None else None,
        missed=_missed(runs, correct) if correct is not None and several else None,
        ece=ece,
        brier=brier,
    )


def correctness(runs: Sequence[Run]) -> NDArray[np.bool_] | None:
    """(n, N): whether each finished run is right on each image; None where they saw different images."""
    found = [run.predictions for run in runs if run.predictions is not None]
    if not found or any(not np.array_equal(one.labels, found[0].labels) for one in found[1:]):
        return None
    return np.stack([one.correct for one in found])


def _bootstrap(values: Sequence[float]) -> tuple[float, float] | None:
    return bootstrap_interval(values) if len(values) >= BOOTSTRAP_FROM else None


def _time(arrivals: Sequence[Arrival | None], failed: int, unit: str) -> TimeToTarget:
    """Of the finished runs and of those that failed, which never will."""
    times = [None if arrival is None else getattr(arrival, unit) for arrival in arrivals]
    reached = [time for time in times if time is not None]
    return time_to_target(reached, len(times) - len(reached) + failed)


def _missed(runs: Sequence[Run], correct: NDArray[np.bool_]) -> tuple[Missed, ...]:
    places = always_missed(correct)
    found = [run.predictions for run in runs if run.predictions is not None]
    predicted = np.stack([one.predicted[places] for one in found])
    winners, votes = most_voted(predicted, max(len(run.classes) for run in runs))
    labels = found[0].labels[places]
    order = np.lexsort((places, -votes))
    return tuple(Missed(int(places[at]), int(labels[at]), int(winners[at]), int(votes[at])) for at in order)
