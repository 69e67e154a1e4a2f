"""The numbers of a plan: std and time from the runs on disk, seeds by the tests' power."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.looks import compared_pairs
from harness.analysis.measures import number_of
from harness.errors import StudyError
from harness.metrics import ACCURACY, Metric, metric_of
from harness.planning import Question
from harness.planning.forecast import run_times
from harness.planning.states import Preview, finished_records, variant_states
from harness.statistics.comparison import ALPHA
from harness.statistics.power import (
    Correlation,
    correlation_of,
    paired_std,
    pooled_std,
    seeds_for,
    seeds_for_margin,
    smallest_difference,
    smallest_margin,
    std_upper,
)
from harness.store.records import RunRecord
from harness.study_file.config import Study


@dataclass(frozen=True)
class Spread:
    """The std over seeds that a plan uses.

    Attributes:
        std: the one that is used: as given, or the upper bound of the estimate.
        estimate: of finished runs; None where the std was given.
        runs: the finished runs that it is from.
        freedom: its degrees of freedom.
    """

    std: float
    estimate: float | None = None
    runs: int = 0
    freedom: int = 0


@dataclass(frozen=True)
class Need:
    """A row of the plan: a test, and the seeds that it needs.

    Attributes:
        test: ``paired t``, ``Welch t`` or ``equivalence``.
        correlation: of two recipes' values over seeds, as assumed; None for Welch's test.
        seeds: of each variant; None above ``MOST_SEEDS``.
        runs: of all variants together.
        hours: on this machine; None where they are not known.
        shown: the smallest difference, or margin, that the study's own seeds detect with a power of 80 %.
    """

    test: str
    correlation: float | None
    seeds: int | None
    runs: int | None
    hours: float | None
    shown: float | None


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Attributes:
        comparisons: that the study makes; at least 1: a single variant counts as one comparison.
        planned: seeds of the study, each of ``variants`` variants.
        margin: of equivalence; None where the study has none.
        correlation: measured; None where it is not known from finished runs.
        seconds: mean of a run; None where it is not known, and ``time_from`` says why.
        looks: the study's planned looks; empty without.
        shown_at_last_look: as ``shown`` of the paired test without correlation, at the last look.
        independent: whether the runs are independent, as all numbers assume.
        metric: the target's, of which ``difference``, ``margin`` and std are.
    """

    name: str
    difference: float
    comparisons: int
    variants: int
    planned: int
    margin: float | None
    spread: Spread
    correlation: Correlation | None
    seconds: float | None
    time_from: str
    needs: tuple[Need, ...]
    looks: tuple[int, ...] = ()
    shown_at_last_look: float | None = None
    independent: bool = True
    metric: str = ACCURACY


def make_plans(previews: Sequence[Preview], question: Question) -> list[StudyPlan]:
    """Plan each study; nothing is trained or downloaded.

    Raises:
        StudyError: a study is wrong, or its std is neither given nor known from finished runs.
        DataError: its data is damaged or cannot be used.
    """
    return [_plan(preview, question) for preview in previews]


def _plan(preview: Preview, question: Question) -> StudyPlan:
    study, states = preview.study, variant_states(preview)
    records = {state.name: finished_records(preview, state) for state in states}
    metric = metric_of(study.target.of)
    for name, value in (("--difference", question.difference), ("--std", question.std)):
        if metric.share and value is not None and value >= 0.5:
            raise StudyError(f"{name} {value:g}: expected a fraction below 0.5; 0.003 is 0.3 points")
    values = {name: _values(preview, found, metric) for name, found in records.items()}
    spread = _spread(study, values, question.std)
    names = list(records)
    comparisons, variants = _count(study, names)
    times = run_times(preview, states)
    looks = tuple(study.looks or ())
    plan = StudyPlan(
        name=study.name,
        difference=question.difference,
        comparisons=comparisons,
        variants=variants,
        planned=len(study.seeds),
        margin=study.margin,
        spread=spread,
        correlation=correlation_of(_shared(study, values)),
        seconds=statistics.fmean(times.seconds.values()) if times.seconds else None,
        time_from=times.source,
        needs=(),
        looks=looks,
        independent=all(state.recipe.independent for state in states),
        metric=metric.name,
    )
    at_last = _shown(plan, looks[-1], 0.0) if looks else None
    return replace(plan, needs=tuple(_needs(plan)), shown_at_last_look=at_last)


# ---- runs on disk ------------------------------------------------------------------------------------------


def _values(preview: Preview, records: Sequence[RunRecord], metric: Metric) -> dict[int, float]:
    runs = ((record, preview.folder.run(record.variant, record.seed)) for record in records)
    return {
        record.seed: value for record, run in runs if (value := number_of(run, record, metric)) is not None
    }


def _spread(study: Study, values: Mapping[str, Mapping[int, float]], given: float | None) -> Spread:
    if given is not None:
        return Spread(given)
    groups = [list(found.values()) for found in values.values() if len(found) > 1]
    pooled = pooled_std(groups)
    if pooled is None:
        raise StudyError(
            f"--plan: {study.name}: the std over seeds needs two finished runs of a variant; "
            "give it, such as --std 0.0017, or run some seeds first"
        )
    std, freedom = pooled
    return Spread(std_upper(std, freedom + 1), std, sum(map(len, groups)), freedom)


def _shared(study: Study, values: Mapping[str, Mapping[int, float]]) -> list[tuple[list[float], list[float]]]:
    """Return the values of every compared pair at the seeds that both have."""
    found = []
    for first, second in compared_pairs(study, values):
        one, two = values[first], values.get(second, {})
        seeds = sorted(one.keys() & two.keys())
        found.append(([one[seed] for seed in seeds], [two[seed] for seed in seeds]))
    return found


def _count(study: Study, names: Sequence[str]) -> tuple[int, int]:
    """Return how many comparisons and variants there are, a search's trials included."""
    trials = 0 if study.search is None else study.search.trials
    counted = [*names, *(f"trial {at}" for at in range(trials))]
    return max(1, len(compared_pairs(study, counted))), len(counted)


# ---- the needs --------------------------------------------------------------------------------------------


def _needs(plan: StudyPlan) -> list[Need]:
    alpha, std = ALPHA / plan.comparisons, plan.spread.std
    correlations = [0.0, *([plan.correlation.low] if plan.correlation is not None else [])]
    needs = []
    for correlation in correlations:
        of_differences = paired_std(std, correlation)
        seeds = seeds_for(plan.difference, of_differences, paired=True, alpha=alpha)
        needs.append(_need(plan, "paired t", correlation, seeds, _shown(plan, plan.planned, correlation)))
    seeds = seeds_for(plan.difference, std, paired=False, alpha=alpha)
    shown = smallest_difference(std, plan.planned, paired=False, alpha=alpha)
    needs.append(_need(plan, "Welch t", None, seeds, shown))
    if plan.margin is not None:
        for correlation in correlations:
            seeds = seeds_for_margin(plan.margin, std, correlation=correlation, alpha=alpha)
            shown = smallest_margin(std, plan.planned, correlation=correlation, alpha=alpha)
            needs.append(_need(plan, "equivalence", correlation, seeds, shown))
    return needs


def _shown(plan: StudyPlan, seeds: int, correlation: float) -> float | None:
    of_differences = paired_std(plan.spread.std, correlation)
    return smallest_difference(of_differences, seeds, paired=True, alpha=ALPHA / plan.comparisons)


def _need(
    plan: StudyPlan, test: str, correlation: float | None, seeds: int | None, shown: float | None
) -> Need:
    runs = None if seeds is None else seeds * plan.variants
    hours = None if runs is None or plan.seconds is None else runs * plan.seconds / 3600
    return Need(test, correlation, seeds, runs, hours, shown)
