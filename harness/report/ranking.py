"""Three variants or more by their accuracy, and which of them may be the best one."""

from __future__ import annotations

from harness.config import Study
from harness.report import statistics
from harness.report.blocks import Block, explained
from harness.report.comparisons import p_text, same_images
from harness.report.numbers import spread_text
from harness.report.results import Results
from harness.report.statistics import Place
from harness.schema import one_line
from harness.store import canonical
from harness.sweep import short_keys

FEWEST = 3  # two are compared with one another
MOST_NAMED = 8  # of the possible winners, in a line
MOST_ROWS = 60


def rank_variants(results: Results) -> list[Place]:
    """The variants that have a finished run, the highest mean accuracy first; empty for fewer than three.

    A variant that was evaluated on other images than the first has no place among the others.
    """
    finished = {variant: runs for variant in results.variants if (runs := results.of(variant, "finished"))}
    first = next(iter(finished.values()), [])
    values = {
        variant: [value for run in runs if (value := run.number("test_accuracy")) is not None]
        for variant, runs in finished.items()
        if same_images([*first, *runs])
    }
    values = {variant: each for variant, each in values.items() if each}
    return statistics.rank_recipes(values) if len(values) >= FEWEST else []


def changes_text(study: Study, variant: str) -> str:
    """What a variant changes: ``lr_max 0.2, momentum 0.9``."""
    changes = study.variants.get(variant, {})
    return ", ".join(
        f"{word} {value if isinstance(value, str) else canonical(value)}"
        for word, value in zip(short_keys(changes), changes.values(), strict=True)
    )


def sentence(places: list[Place]) -> str:
    """Who may have won, in a line."""
    possible = [place.name for place in places if place.possible]
    best, everyone = places[0], len(places)
    if len(possible) == 1:
        return f"{best.name} is the best of {everyone} variants (Games-Howell, all others p <= 0.05)"
    if len(possible) == everyone:
        fewest, most = min(place.n for place in places), max(place.n for place in places)
        seeds = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
        why = "one seed each has no spread" if most == 1 else f"{seeds} does not tell them apart"
        return (
            f"{everyone} of {everyone} variants may be the best; {best.name} has the highest mean, and {why}"
        )
    names = ", ".join(possible[:MOST_NAMED])
    more = f" and {len(possible) - MOST_NAMED} more" if len(possible) > MOST_NAMED else ""
    return f"{len(possible)} of {everyone} variants may be the best: {names}{more} (Games-Howell, p > 0.05)"


def blocks(results: Results) -> list[Block]:
    """The table of the page, with what a reader has to know of it."""
    places = rank_variants(results)
    if not places:
        return []
    header = (
        "rank", "variant", "what it changes", "mean accuracy, %", "std, %", "n", "behind the highest, points",
        "p (all pairs)", "may be the best",
    )  # fmt: skip
    rows = [
        [
            str(place.rank),
            place.name,
            one_line(changes_text(results.study, place.name), 120) or "–",
            f"{100 * place.mean:.2f}",
            spread_text(place.std and 100 * place.std, 2),
            str(place.n),
            f"{100 * place.behind:.2f}",
            p_text(place.p),
            "yes" if place.possible else "no",
        ]
        for place in places[:MOST_ROWS]
    ]
    text = (
        "May be the best: every variant that the one with the highest mean is not told apart from, by Games "
        "and Howell's test with Tukey's correction for all pairs, p > 0.05. About 19 times in 20 the best "
        "recipe is among them, and more seeds make them fewer. A variant with one run has no spread of "
        "its own and is judged by the one that all variants have in common."
    )
    found = [
        Block("text", f"{sentence(places)}."),
        Block(
            "table", header=header, rows=rows, numeric=frozenset({0, 3, 4, 5, 6, 7}),
            files=["tables/ranking.csv"],
        ),
        explained(text),
    ]  # fmt: skip
    recipe = results.study.recipes.get(places[0].name)
    if recipe is not None and recipe.data.holdout is None:
        text = (
            "These are test images: the winner's own accuracy is the highest of several draws, and so on "
            "average too high. To choose a recipe, set data.holdout, and run the chosen one on the test "
            "split once."
        )
        found.append(Block("text", text))
    return found
