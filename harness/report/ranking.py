"""Three variants or more by their accuracy, and which of them may be the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.messages import one_line
from harness.report.blocks import Block, explained
from harness.report.comparisons import VariantComparison, compare_variants, p_text, same_images
from harness.report.numbers import decimals_of, spread_text
from harness.report.results import Results
from harness.statistics.games_howell import Place, rank_recipes
from harness.store.sealed import canonical
from harness.study_file.config import Study
from harness.study_file.grids import short_keys

FEWEST = 3  # two are compared with one another
MOST_NAMED = 8  # of the possible winners, in a line
MOST_ROWS = 60


@dataclass(frozen=True)
class Ranked:
    """A variant among the others.

    Attributes:
        place: by its accuracy; None without a finished run.
        failed, runs: how many failed, of those that finished or failed.
        by_recipe: whether a run failed by its recipe, and not by a fault of the machine.
        worse_than: the variants that a comparison has shown it to be worse than.
    """

    rank: int
    name: str
    place: Place | None
    failed: int
    runs: int
    by_recipe: bool
    worse_than: tuple[str, ...] = ()

    @property
    def possible(self) -> bool | None:
        """Whether it may be the best: no test has shown another to be better; None where none can say."""
        if self.place is None:
            return False if self.by_recipe else None
        return self.place.possible and not self.worse_than


def rank_variants(results: Results) -> list[Ranked]:
    """Rank the variants, the highest mean accuracy first and those without a finished run last.

    A variant that was evaluated on other images than the first has no place among the others, and one of
    which no run has ended none either.

    Returns:
        Empty for fewer than three, or where none has a finished run.
    """
    finished = {variant: runs for variant in results.variants if (runs := results.of(variant, "finished"))}
    first = next(iter(finished.values()), [])
    values = {
        variant: [value for run in runs if (value := run.number("test_accuracy")) is not None]
        for variant, runs in finished.items()
        if same_images([*first, *runs])
    }
    values = {variant: each for variant, each in values.items() if each}
    places = {place.name: place for place in rank_recipes(values)} if values else {}
    failed = {variant: runs for variant in results.variants if (runs := results.of(variant, "failed"))}
    last = [variant for variant in failed if variant not in finished]
    if not places or len(places) + len(last) < FEWEST:
        return []
    worse = _worse(compare_variants(results))
    ranked = []
    for name in [*places, *last]:
        place, lost = places.get(name), failed.get(name, [])
        ranked.append(
            Ranked(
                len(places) + 1 if place is None else place.rank,
                name,
                place,
                len(lost),
                len(lost) + len(finished.get(name, [])),
                any(run.failed_by_recipe for run in lost),
                tuple(worse.get(name, [])),
            )
        )
    return ranked


def _worse(compared: Sequence[VariantComparison]) -> dict[str, list[str]]:
    """Map a variant to those that it was shown to be worse than."""
    worse: dict[str, list[str]] = {}
    for one in compared:
        verdict = "cannot tell" if one.found is None else one.found.verdict
        if verdict == "worse":
            worse.setdefault(one.variant, []).append(one.baseline)
        elif verdict == "better":
            worse.setdefault(one.baseline, []).append(one.variant)
    return worse


def changes_text(study: Study, variant: str) -> str:
    """What a variant changes: ``lr_max 0.2, momentum 0.9``."""
    changes = study.variants.get(variant, {})
    return ", ".join(
        f"{word} {value if isinstance(value, str) else canonical(value)}"
        for word, value in zip(short_keys(changes), changes.values(), strict=True)
    )


def sentence(ranked: list[Ranked]) -> str:
    """Say in a line which variants may be the best, by which rule, and which have no finished run."""
    possible = [one.name for one in ranked if one.possible]
    places = [one.place for one in ranked if one.place is not None]
    everyone, rule = len(ranked), "Games-Howell, p > 0.05"
    if any(one.worse_than for one in ranked if one.place is not None and one.place.possible):
        rule += ", and not shown to be worse by a comparison"
    if len(places) == 1:
        text = f"of {everyone} variants {places[0].name} alone has a finished run"
    elif len(possible) == 1:
        text = f"{possible[0]} alone of {everyone} variants may be the best ({rule})"
    elif len(possible) == len(places):
        fewest, most = min(place.n for place in places), max(place.n for place in places)
        seeds = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
        why = "one seed each has no spread" if most == 1 else f"{seeds} does not tell them apart"
        first = [place.name for place in places if place.rank == 1]
        more = f" and {len(first) - MOST_NAMED} more" if len(first) > MOST_NAMED else ""
        names = f"{', '.join(first[:MOST_NAMED])}{more} {'has' if len(first) == 1 else 'share'}"
        text = f"{len(possible)} of {everyone} variants may be the best; {names} the highest mean, and {why}"
    else:
        text = f"{len(possible)} of {everyone} variants may be the best: {_listed(possible)} ({rule})"
    gone = [f"{one.name} ({failed_text(one)})" for one in ranked if one.place is None]
    return f"{text}; no finished run: {_listed(gone)}" if gone else text


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED]) or 'none'}{more}"


def failed_text(one: Ranked) -> str:
    """Write ``4 of 4 failed``."""
    return f"{one.failed} of {one.runs} failed"


def blocks(results: Results) -> list[Block]:
    """The table of the page, with what a reader has to know of it."""
    ranked = rank_variants(results)
    if not ranked:
        return []
    header = (
        "rank", "variant", "what it changes", "mean accuracy, %", "std, %", "n", "failed",
        "behind the highest, points", "p (all pairs)", "may be the best",
    )  # fmt: skip
    rows = [
        [
            str(one.rank),
            one.name,
            one_line(changes_text(results.study, one.name), 120) or "–",
            *_numbers(one),
            _possible(one),
        ]
        for one in ranked[:MOST_ROWS]
    ]
    text = (
        "May be the best: every variant that neither of two rules excludes. One is Games and Howell's test "
        "with Tukey's correction for all pairs: p of at most 0.05 against the highest mean. The other is the "
        "comparison above: a variant that it calls worse than another is not the best. The first takes the "
        "spread of all seeds, the second, where variants share seeds, that of their differences, so one can "
        "exclude what the other does not. Each excludes the best recipe in about 1 of 20 studies at most, so "
        "both together in 1 of 10. More seeds make the list shorter. A variant with one run has no spread of "
        "its own and is judged by the one that all variants have in common. A variant without a finished run "
        "stands last: it is not the best where its recipe made runs fail, and unknown where the machine did."
    )
    found = [
        Block("text", f"{sentence(ranked)}."),
        Block(
            "table", header=header, rows=rows, numeric=frozenset({0, 3, 4, 5, 6, 7, 8}),
            files=["tables/ranking.csv"],
        ),
        explained(text),
    ]  # fmt: skip
    recipe = results.study.recipes.get(ranked[0].name)
    if recipe is not None and recipe.data.holdout is None:
        text = (
            "These are test images: the winner's own accuracy is the highest of several draws, and so on "
            "average too high. To choose a recipe, set data.holdout, and run the chosen one on the test "
            "split once."
        )
        found.append(Block("text", text))
    return found


def _numbers(one: Ranked) -> list[str]:
    """Return mean, std, n, failed runs, distance from the highest and p."""
    place, failed = one.place, failed_text(one) if one.failed else "–"
    if place is None:
        return [failed, "–", "0", failed, "–", "–"]
    std = 100 * (place.std or 0.0)
    return [
        f"{100 * place.mean:.{decimals_of(std, 2)}f}",
        "–" if place.std is None else spread_text(std, 2),
        str(place.n),
        failed,
        f"{100 * place.behind:.2f}",
        p_text(place.p),
    ]


def _possible(one: Ranked) -> str:
    if one.place is None:
        return "unknown" if one.possible is None else "no: none finished"
    if one.place.possible and one.worse_than:
        return f"no: worse than {', '.join(one.worse_than[:MOST_NAMED])}"
    return "yes" if one.possible else "no"
