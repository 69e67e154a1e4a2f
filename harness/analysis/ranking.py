"""Rank the variants by the target's metric, and name those that are not significantly below any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from harness.analysis.comparisons import VariantComparison, flagged_seeds
from harness.analysis.evidence import signs_among
from harness.analysis.results import Results
from harness.analysis.runs import same_images
from harness.messages import listed
from harness.metrics import ACCURACY, METRICS, Metric
from harness.statistics.best import Place, rank_recipes, rivals_of_each

FEWEST = 3  # variants that make a line of the console and rows of ranking.csv: two are compared as a pair
MOST_NAMED = 8  # variants that a line names


@dataclass(frozen=True)
class Ranked:
    """A variant among the others.

    Attributes:
        place: by the target's metric, turned so that higher is better; None without a finished run.
        failed, runs: how many failed, of those that finished or failed.
        by_recipe: whether a run failed because of its recipe, and not because of the machine.
        worse_than: the variants that are significantly better.
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
        """Whether no other is significantly better; None where the machine made its runs fail."""
        if self.place is None:
            return False if self.by_recipe else None
        return not self.worse_than

    @property
    def failed_text(self) -> str:
        """``4 of 4 failed``."""
        return f"{self.failed} of {self.runs} failed"


def rank_variants(results: Results, comparisons: Sequence[VariantComparison]) -> list[Ranked]:
    """Rank the variants, the best mean first and those without a finished run last.

    A variant is left out if no run of it has ended, or if it was evaluated on other images than the first.

    Returns:
        Empty if no variant has a finished run.
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
    if not places:
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
    """Map a variant to those that a comparison has shown to be better."""
    worse: dict[str, list[str]] = {}
    for comparison in comparisons:
        if comparison.verdict == "worse":
            worse.setdefault(comparison.variant, []).append(comparison.baseline)
        elif comparison.verdict == "better":
            worse.setdefault(comparison.baseline, []).append(comparison.variant)
    return worse


def sentence(ranking: Sequence[Ranked], metric: Metric) -> str:
    """Name the variants that are not significantly below any other, and those without a finished run."""
    best = "highest" if metric.higher_is_better else "lowest"
    possible = [_with_failures(ranked) for ranked in ranking if ranked.possible]
    places = [ranked.place for ranked in ranking if ranked.place is not None]
    everyone = len(ranking)
    if len(places) == 1:
        text = f"only {places[0].name} of {everyone} variants has a finished run"
    elif not possible:  # they were compared on different seeds
        text = f"each of {everyone} variants is significantly below another one, each on other seeds"
    elif len(possible) == 1:
        text = f"{possible[0]} is the only one of {everyone} variants that is not significantly below another"
    elif len(possible) == len(places):
        fewest, most = min(place.n for place in places), max(place.n for place in places)
        seeds = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
        why = "not tested with one seed each" if most == 1 else f"no significant difference ({seeds})"
        first = [place.name for place in places if place.rank == 1]
        names = f"{listed(first, MOST_NAMED)} {'has' if len(first) == 1 else 'share'}"
        text = f"{names} the {best} mean of {everyone} variants; {why}"
    else:
        count = f"{len(possible)} of {everyone} variants"
        text = f"{count} are not significantly below any other: {listed(possible, MOST_NAMED)}"
    gone = [_with_failures(ranked) for ranked in ranking if ranked.place is None]
    return f"{text}; no finished run: {listed(gone, MOST_NAMED)}" if gone else text


def _with_failures(ranked: Ranked) -> str:
    return f"{ranked.variant} ({ranked.failed_text})" if ranked.failed else ranked.variant
