"""Name what is unusual about a report: a trial, limited images, a hold-out, seeds that were added later."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.analysis.numbers import several
from harness.analysis.results import Results
from harness.analysis.starts import planned_later
from harness.messages import listed
from harness.study_file.config import Recipe
from harness.study_file.seeds import seeds_text

MOST_NAMED = 4  # variants in a sentence


def unusual(results: Results) -> list[str]:
    """Return a sentence for everything that a reader has to know before the numbers."""
    trial = results.study.trial
    return [*([trial.note] if trial is not None else []), *_images(results), *_added(results)]


def _images(results: Results) -> Iterator[str]:
    """Name the limits of the images, and the hold-out."""
    yield from _of_variants(results, _limits)
    yield from _of_variants(results, _holdout)


def _limits(recipe: Recipe) -> str:
    data = recipe.data
    test_limit = data.test_limit if data.holdout is None else None
    parts = [
        f"{what} on {several(limit, 'image')} only (data.{name})"
        for what, name, limit in (
            ("trained", "train_limit", data.train_limit),
            ("evaluated", "test_limit", test_limit),
        )
        if limit is not None
    ]
    return f"{' and '.join(parts)}; results on all images differ" if parts else ""


def _holdout(recipe: Recipe) -> str:
    count = recipe.data.holdout
    if count is None:
        return ""
    return f"evaluated on {several(count, 'image')} held out of the train split; the test split was not used"


def _of_variants(results: Results, text_of: Callable[[Recipe], str]) -> Iterator[str]:
    """Yield each text once, with the names of its variants where they are not all."""
    groups: dict[str, list[str]] = {}
    variants = [name for name in results.variants if name in results.study.recipes]
    for name in variants:
        if text := text_of(results.study.recipes[name]):
            groups.setdefault(text, []).append(name)
    for text, names in groups.items():
        if len(names) == len(variants):
            yield f"{text[0].upper()}{text[1:]}."
        else:
            yield f"{listed(names, MOST_NAMED)}: {text}."


def _added(results: Results) -> Iterator[str]:
    """Name the seeds that were planned when earlier ones had results."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for variant in results.variants:
        if later := planned_later(results.of(variant)):
            groups.setdefault(later, []).append(variant)
    for seeds, names in groups.items():
        of = "" if len(names) == len(results.variants) else f" of {listed(names, MOST_NAMED)}"
        word = "Seed" if len(seeds) == 1 else "Seeds"
        was = "was" if len(seeds) == 1 else "were"
        yield f"{word} {seeds_text(list(seeds))}{of} {was} added after results of earlier seeds were known."
