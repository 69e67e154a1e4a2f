"""A variant's numbers over its seeds: accuracy, target, variance, calibration, images that all seeds miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.designs import corrected_mean
from harness.analysis.noise import noise_of_variant
from harness.analysis.results import Results
from harness.analysis.runs import Arrival, Run, by_seed
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
        p_above: of "the mean is not above the target"; None where it cannot be tested.
        bootstrap: BCa interval of the mean, from ``BOOTSTRAP_FROM`` independent runs on, else None.
        epochs, steps, seconds: to the first epoch that reached the target.
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
    epochs: TimeToTarget
    steps: TimeToTarget
    seconds: TimeToTarget
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
        reached: finished runs whose last epoch's accuracy is at least the target.
        reached_share: of the finished and failed runs; None without any.
        accuracies: of the finished runs, by seed.
        evidence: None without a finished run.
        flagged: the seed that lies apart from the others.
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
    accuracies: tuple[float, ...]
    target: float
    test_accuracy: Distribution | None
    test_loss: Distribution | None
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


def summarise(results: Results) -> list[VariantSummary]:
    """Return a summary of every variant that has a run, in the study's order."""
    return [_summarise_variant(results, variant) for variant in results.variants]


def _summarise_variant(results: Results, variant: str) -> VariantSummary:
    finished = results.of(variant, "finished")
    failed = len(results.of(variant, "failed"))
    accuracies = _values(finished, "test_accuracy")
    target = results.study.target.test_accuracy
    parameters = _values(results.of(variant), "parameters")
    corrected = corrected_mean(finished, by_seed(finished))
    described = describe(accuracies, shares=True)
    if described is not None and corrected is not None:
        low, high = (None, None) if corrected.interval is None else cut_shares(*corrected.interval)
        described = replace(described, sem=corrected.sem, ci_low=low, ci_high=high)
    reached, runs = sum(value >= target for value in accuracies), len(finished) + failed
    return VariantSummary(
        variant=variant,
        evaluated_on=_evaluated_on(results, variant),
        finished=len(finished),
        failed=failed,
        missing=len(results.of(variant, "missing")),
        reached=reached,
        reached_share=share(reached, runs) if runs else None,
        accuracies=tuple(accuracies),
        target=target,
        test_accuracy=described,
        test_loss=describe(_values(finished, "test_loss")),
        train_accuracy=describe(_values(finished, "train_accuracy"), shares=True),
        seconds=describe(_values(finished, "seconds", "timings")),
        parameters=int(parameters[0]) if parameters else None,
        evidence=_evidence(results, variant, accuracies, failed, corrected) if finished else None,
        flagged=flagged_seed(by_seed(finished)),
        corrected=corrected,
        found=_found(results, variant),
    )


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
    accuracies: Sequence[float],
    failed: int,
    corrected: CorrectedMean | None,
) -> VariantEvidence | None:
    runs = results.of(variant, "finished")
    predictions = [run.predictions for run in runs if run.predictions is not None]
    ece = describe([prediction.reliability.ece for prediction in predictions])
    brier = describe([prediction.brier for prediction in predictions])
    if ece is None or brier is None:
        return None
    target, labels = results.study.target.test_accuracy, predictions[0].labels
    ensemble = results.ensembles.get(variant)
    # None where the runs saw different images
    same_images = len({run.seeds.holdout for run in runs}) == 1 and all(
        np.array_equal(prediction.labels, labels) for prediction in predictions[1:]
    )
    correct = np.stack([prediction.correct for prediction in predictions]) if same_images else None
    arrivals = [run.arrival(target) for run in runs]
    return VariantEvidence(
        p_above=p_above(accuracies, target) if corrected is None else corrected.p_above(target),
        bootstrap=bootstrap_interval(accuracies)
        if len(accuracies) >= BOOTSTRAP_FROM and corrected is None
        else None,
        epochs=_time(arrivals, failed, "epochs"),
        steps=_time(arrivals, failed, "steps"),
        seconds=_time(arrivals, failed, "seconds"),
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
