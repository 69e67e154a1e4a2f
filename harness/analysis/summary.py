"""A variant's numbers over its seeds: metrics, target, variance, calibration, images that all seeds miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.designs import corrected_mean
from harness.analysis.noise import noise_of_variant
from harness.analysis.results import Results
from harness.analysis.runs import Arrival, Run, by_seed
from harness.analysis.units import Units
from harness.metrics import ACCURACY, Metric
from harness.statistics.bad_seeds import flagged_seed
from harness.statistics.corrected import CorrectedMean
from harness.statistics.distribution import (
    BOOTSTRAP_FROM,
    Distribution,
    bootstrap_interval,
    cut_shares,
    describe,
    mean_of,
)
from harness.statistics.ensemble import always_missed, error_consistency, most_voted
from harness.statistics.noise import Noise
from harness.statistics.target import Share, TimeToTarget, p_above, share, time_to_target
from harness.statistics.variance import SeedVariance, sampling_std, seed_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_NAMED = 6  # variants in a sentence


@dataclass(frozen=True)
class Missed:
    """An image that every seed misclassifies: its index, and the class that most seeds predict."""

    index: int
    label: int
    predicted: int
    votes: int


@dataclass(frozen=True)
class VariantEvidence:
    """A variant's further numbers over its finished runs, of which there is at least one.

    Attributes:
        p_above: of "the mean of the target's metric is not better than the target"; None where it cannot be
            tested.
        bootstrap: BCa interval of that mean, from ``BOOTSTRAP_FROM`` independent runs on, else None.
        epochs, steps, seconds: to the first epoch that reached the target; None where no epoch has its
            metric.
        images: the evaluation split's size.
        sampling_std: of one network's accuracy over new test sets of that size.
        noise: of the mean accuracy over other seeds and other images; None where the runs were not evaluated
            on the same images.
        variance: its parts. This and the next three: None for one run, and where the runs were not
            evaluated on the same images.
        ensemble_accuracy: of the runs' averaged probabilities.
        error_consistency: Cohen's kappa of being right, over all pairs of runs.
        missed: the images that every run misses, those first on whose class most runs agree.
        ece, brier: expected calibration error and Brier score, one a run.
    """

    p_above: float | None
    bootstrap: tuple[float, float] | None
    epochs: TimeToTarget | None
    steps: TimeToTarget | None
    seconds: TimeToTarget | None
    images: int
    sampling_std: float
    noise: Noise | None
    variance: SeedVariance | None
    ensemble_accuracy: float | None
    error_consistency: float | None
    missed: tuple[Missed, ...] | None
    ece: Distribution
    brier: Distribution


@dataclass(frozen=True)
class FoundRate:
    """How a variant's LRMAX was found, and how far it is known.

    Attributes:
        per: ``variant``: one for all its runs; ``seed``: each run found its own.
        count: the sweeps of the variant's range test, or its finished runs.
        low, high: the lowest and the highest LRMAX of these; None for one sweep.
    """

    per: Literal["variant", "seed"]
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class VariantSummary:
    """The numbers of a variant over its seeds; distributions are over the finished runs, None without one.

    Attributes:
        failed: runs that failed or are damaged; they count as runs that did not reach the target.
        missing: planned, not finished and not failed.
        reached: finished runs whose last epoch is at the target or better.
        reached_share: of the finished and failed runs; None without any.
        metric, target: what the target is of, and its number.
        values: metric -> its values in the finished runs, by seed.
        metrics: metric -> their distribution, of every metric; None where no finished run has it.
        evidence: None without a finished run.
        flagged: the outlier seed.
        corrected: the mean, where the runs are not independent: standard error and interval are then its own.
        found: None where the study gives its rates, and without a finished run.
    """

    variant: str
    evaluated_on: str
    finished: int
    failed: int
    missing: int
    reached: int
    reached_share: Share | None
    metric: Metric
    target: float
    values: Mapping[str, tuple[float, ...]]
    metrics: Mapping[str, Distribution | None]
    loss: Distribution | None
    train_accuracy: Distribution | None
    seconds: Distribution | None
    parameters: int | None
    evidence: VariantEvidence | None
    flagged: int | None = None
    corrected: CorrectedMean | None = None
    found: FoundRate | None = None

    @property
    def runs(self) -> int:
        """Runs that came to an end: finished and failed."""
        return self.finished + self.failed

    @property
    def scores(self) -> tuple[float, ...]:
        """The target's metric in the finished runs, by seed."""
        return self.values[self.metric.name]

    @property
    def score(self) -> Distribution | None:
        """The distribution of the target's metric."""
        return self.metrics[self.metric.name]

    @property
    def accuracy(self) -> Distribution | None:
        """The distribution of the accuracy."""
        return self.metrics[ACCURACY]

    @property
    def units(self) -> Units:
        """The unit of the target's metric."""
        return Units(self.metric)

    @property
    def split(self) -> str:
        """``test`` or ``hold-out``, for people."""
        return "hold-out" if self.evaluated_on == "holdout" else "test"


def summarise(results: Results) -> list[VariantSummary]:
    """Return a summary of every variant that has a run, in the study's order."""
    return [_summarise_variant(results, variant) for variant in results.variants]


def _summarise_variant(results: Results, variant: str) -> VariantSummary:
    finished = results.of(variant, "finished")
    failed = len(results.of(variant, "failed"))
    metric, target = results.metric, results.study.target.level
    values = {each.name: tuple(_values(finished, each.name)) for each in results.metrics}
    parameters = _values(results.of(variant), "parameters")
    corrected = corrected_mean(finished, results.by_seed(finished))
    reached = sum(metric.reaches(value, target) for value in values[metric.name])
    runs = len(finished) + failed
    return VariantSummary(
        variant=variant,
        evaluated_on=_evaluated_on(results, variant),
        finished=len(finished),
        failed=failed,
        missing=len(results.of(variant, "missing")),
        reached=reached,
        reached_share=share(reached, runs) if runs else None,
        metric=metric,
        target=target,
        values=values,
        metrics={each.name: _described(finished, each) for each in results.metrics},
        loss=describe(_values(finished, "loss")),
        train_accuracy=describe(_values(finished, "train_accuracy"), shares=True),
        seconds=describe(_values(finished, "seconds", "timings")),
        parameters=int(parameters[0]) if parameters else None,
        evidence=_evidence(results, variant, failed, corrected) if finished else None,
        flagged=flagged_seed(results.by_seed(finished)),
        corrected=corrected,
        found=_found(results, variant),
    )


def _described(finished: list[Run], metric: Metric) -> Distribution | None:
    """Return the distribution of a metric; where the runs are not independent, with the mean's own error."""
    described = describe(_values(finished, metric.name), shares=metric.share)
    corrected = corrected_mean(finished, by_seed(finished, metric))
    if described is None or corrected is None:
        return described
    low, high = (None, None) if corrected.interval is None else metric.measured(*corrected.interval)
    if low is not None and high is not None and metric.share:
        low, high = cut_shares(low, high)
    return replace(described, sem=corrected.sem, ci_low=low, ci_high=high)


def _found(results: Results, variant: str) -> FoundRate | None:
    """Return how LRMAX was found, as the first finished run recorded it."""
    finished = results.of(variant, "finished")
    recipe = finished[0].recipe if finished else {}
    if "find" not in recipe.get("schedule", {}).values():
        return None
    if finished[0].own_rates:
        peaks = _values(finished, "lr_max")
        return FoundRate("seed", len(peaks), min(peaks, default=None), max(peaks, default=None))
    test = results.range_tests.get(variant)
    if test is None or test.spread is None:
        return FoundRate("variant", 1)
    return FoundRate("variant", test.repeats, *test.spread)


def found_rate_sentence(summaries: Sequence[VariantSummary]) -> str:
    """Say whether the ± over seeds includes the range test; empty where no rate was found."""
    texts = {
        "variant": "one LRMAX was found for all seeds, so the ± does not include the range test",
        "seed": "each seed has its own LRMAX, so the ± includes the range test",
    }
    groups = {
        per: [summary.variant for summary in summaries if summary.found and summary.found.per == per]
        for per in texts
    }
    lines = []
    for per, names in groups.items():
        if len(names) == len(summaries):
            lines.append(f"{texts[per][0].upper()}{texts[per][1:]}.")
        elif names:
            shown = ", ".join(names[:MOST_NAMED]) + f" and {len(names) - MOST_NAMED} more" * (
                len(names) > MOST_NAMED
            )
            lines.append(f"For {shown} {texts[per]}.")
    return " ".join(lines)


def _values(runs: list[Run], key: str, table: Literal["metrics", "timings"] = "metrics") -> list[float]:
    return [value for run in runs if (value := run.number(key, table)) is not None]


def _evaluated_on(results: Results, variant: str) -> str:
    """Return ``test`` or ``holdout``: what the runs recorded, else what the study asks for."""
    for run in results.of(variant, "finished"):
        if recorded := run.data.get("evaluated_on"):
            return str(recorded)
    recipe = results.study.recipes.get(variant)
    return "holdout" if recipe is not None and recipe.data.holdout is not None else "test"


def _evidence(
    results: Results,
    variant: str,
    failed: int,
    corrected: CorrectedMean | None,
) -> VariantEvidence | None:
    runs = results.of(variant, "finished")
    predictions = [run.predictions for run in runs if run.predictions is not None]
    ece = describe([prediction.reliability.ece for prediction in predictions])
    brier = describe([prediction.brier for prediction in predictions])
    if ece is None or brier is None:
        return None
    metric, target, labels = results.metric, results.study.target.level, predictions[0].labels
    scores, accuracies = _values(runs, metric.name), _values(runs, ACCURACY)
    ensemble = results.ensembles.get(variant)
    # None where the runs saw different images
    same_images = len({run.seeds.holdout for run in runs}) == 1 and all(
        np.array_equal(prediction.labels, labels) for prediction in predictions[1:]
    )
    correct = np.stack([prediction.correct for prediction in predictions]) if same_images else None
    arrivals = [run.arrival(metric, target) for run in runs]
    turned, goal = list(results.by_seed(runs).values()), metric.oriented(target)
    return VariantEvidence(
        p_above=p_above(turned, goal) if corrected is None else corrected.p_above(goal),
        bootstrap=bootstrap_interval(scores) if len(scores) >= BOOTSTRAP_FROM and corrected is None else None,
        epochs=_time(arrivals, failed, "epochs") if metric.history else None,
        steps=_time(arrivals, failed, "steps") if metric.history else None,
        seconds=_time(arrivals, failed, "seconds") if metric.history else None,
        images=len(labels),
        sampling_std=sampling_std(mean_of(accuracies), len(labels)),
        noise=noise_of_variant(runs),
        variance=None if correct is None else seed_variance(correct),
        ensemble_accuracy=None if ensemble is None else float(np.mean(ensemble == labels)),
        error_consistency=None if correct is None else error_consistency(correct),
        missed=_missed(runs, correct) if correct is not None and len(correct) > 1 else None,
        ece=ece,
        brier=brier,
    )


def _time(
    arrivals: Sequence[Arrival | None], failed: int, unit: Literal["epochs", "steps", "seconds"]
) -> TimeToTarget:
    """Return the time of the finished runs and of the failed ones, which never reach the target."""
    times = [None if arrival is None else getattr(arrival, unit) for arrival in arrivals]
    reached = [time for time in times if time is not None]
    return time_to_target(reached, len(times) - len(reached) + failed)


def _missed(runs: Sequence[Run], correct: NDArray[np.bool_]) -> tuple[Missed, ...]:
    places = always_missed(correct)
    predictions = [run.predictions for run in runs if run.predictions is not None]
    predicted = np.stack([prediction.predicted[places] for prediction in predictions])
    winners, votes = most_voted(predicted, max(len(run.classes) for run in runs))
    labels = predictions[0].labels[places]
    order = np.lexsort((places, -votes))
    return tuple(Missed(int(places[at]), int(labels[at]), int(winners[at]), int(votes[at])) for at in order)
