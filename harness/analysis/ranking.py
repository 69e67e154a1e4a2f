"""Three variants or more by the target's metric, and which of them may be the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from harness.analysis.comparisons import VariantComparison, flagged_seeds
from harness.analysis.evidence import signs_among
from harness.analysis.results import Results
from harness.analysis.runs import same_images
from harness.metrics import ACCURACY, METRICS, Metric
from harness.statistics.best import Place, rank_recipes, rivals_of_each

FEWEST = 3  # variants: two are only compared with each other
MOST_NAMED = 8  # possible winners that a line names


@dataclass(frozen=True)
class Ranked:
    """A variant among the others.

    Attributes:
        place: by the target's metric, turned so that higher is better; None without a finished run.
        failed, runs: how many failed, of those that finished or failed.
        by_recipe: whether a run failed by its recipe, and not by a fault of the machine.
        worse_than: the variants that are shown to be better than it.
        changes: what it changes of the study, by dotted key.
        metric: the target's, which ranks them.
    """

    rank: int
    variant: str
    place: Place | None
    failed: int
    runs: int
    by_recipe: bool
    worse_than: tuple[str, ...]
    changes: Mapping[str, Any]
    metric: Metric = METRICS[ACCURACY]

    @property
    def possible(self) -> bool | None:
        """Whether it may be the best: no other is shown to be better; None where none can say."""
        if self.place is None:
            return False if self.by_recipe else None
        return not self.worse_than

    @property
    def failed_text(self) -> str:
        """``4 of 4 failed``."""
        return f"{self.failed} of {self.runs} failed"


def rank_variants(results: Results, comparisons: Sequence[VariantComparison]) -> list[Ranked]:
    """Rank the variants, the best mean first and those without a finished run last.

    A variant that was evaluated on other images than the first has no place among the others, and one of
    which no run has ended none either.

    Returns:
        Empty for fewer than three, or where none has a finished run.
    """
    finished = {variant: runs for variant in results.variants if (runs := results.of(variant, "finished"))}
    first = next(iter(finished.values()), [])
    values = {
        variant: of_seeds
        for variant, runs in finished.items()
        if same_images([*first, *runs]) and (of_seeds := results.by_seed(runs))
    }
    compared = {
        (comparison.variant, comparison.baseline): comparison.result
        for comparison in comparisons
        if comparison.result is not None
    }
    flagged = bool(flagged_seeds(results))
    decided = {
        (one.variant, one.baseline): one.evidence.sign
        for one in comparisons
        if one.evidence is not None and one.evidence.sign is not None
    }
    known = {frozenset(pair) for pair in compared}
    others = [pair for pair in combinations(values, 2) if frozenset(pair) not in known]
    signs = signs_among(results, others, rivals_of_each(values))
    signs |= {pair: sign for pair, sign in decided.items() if set(pair) <= set(values)}
    compared = {pair: result for pair, result in compared.items() if pair not in decided}  # no p decides
    places = {
        place.name: place for place in rank_recipes(values, compared, flagged=flagged, sequential=signs)
    }
    failed = {variant: runs for variant in results.variants if (runs := results.of(variant, "failed"))}
    last = [variant for variant in failed if variant not in finished]
    if not places or len(places) + len(last) < FEWEST:
        return []
    worse = _worse(comparisons)
    ranked = []
    for variant in [*places, *last]:
        place, lost = places.get(variant), failed.get(variant, [])
        ranked.append(
            Ranked(
                len(places) + 1 if place is None else place.rank,
                variant,
                place,
                len(lost),
                len(lost) + len(finished.get(variant, [])),
                any(run.failed_by_recipe for run in lost),
                tuple(worse.get(variant, [])) if place is None else place.worse_than,
                results.study.variants.get(variant, {}),
                results.metric,
            )
        )
    return ranked


def _worse(comparisons: Sequence[VariantComparison]) -> dict[str, list[str]]:
    """Map a variant to those that a comparison has shown it to be worse than."""
    worse: dict[str, list[str]] = {}
    for comparison in comparisons:
        if comparison.verdict == "worse":
            worse.setdefault(comparison.variant, []).append(comparison.baseline)
        elif comparison.verdict == "better":
            worse.setdefault(comparison.baseline, []).append(comparison.variant)
    return worse


def sentence(ranking: Sequence[Ranked], metric: Metric) -> str:
    """Say in a line which variants may be the best, by which rule, and which have no finished run."""
    best = "highest" if metric.higher_is_better else "lowest"
    possible = [_with_failures(ranked) for ranked in ranking if ranked.possible]
    places = [ranked.place for ranked in ranking if ranked.place is not None]
    everyone = len(ranking)
    if len(places) == 1:
        text = f"of {everyone} variants {places[0].name} alone has a finished run"
    elif not possible:  # they were compared on different seeds
        text = f"of each of {everyone} variants another is shown to be better, on other seeds each"
    elif len(possible) == 1:
        text = (
            f"{possible[0]} alone of {everyone} variants may be the best: of the others a better one is shown"
        )
    elif len(possible) == len(places):
        fewest, most = min(place.n for place in places), max(place.n for place in places)
        seeds = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
        why = "one seed each has no spread" if most == 1 else f"{seeds} does not tell them apart"
        first = [place.name for place in places if place.rank == 1]
        names = f"{_listed(first)} {'has' if len(first) == 1 else 'share'}"
        text = f"{len(possible)} of {everyone} variants may be the best; {names} the {best} mean, and {why}"
    else:
        text = (
            f"{len(possible)} of {everyone} variants may be the best: {_listed(possible)} "
            "(no other is shown to be better)"
        )
    gone = [_with_failures(ranked) for ranked in ranking if ranked.place is None]
    return f"{text}; no finished run: {_listed(gone)}" if gone else text


def _with_failures(ranked: Ranked) -> str:
    return f"{ranked.variant} ({ranked.failed_text})" if ranked.failed else ranked.variant


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
