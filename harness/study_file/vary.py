"""``vary``: the sources of randomness that use a run's seed; the others use seed 0."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from harness.messages import one_line, suggest
from harness.seeding import RunSeeds

Source = Literal["initialisation", "order", "augmentation", "dropout", "range_test", "holdout"]
MOST_LEVELS = 1_000
Levels = Annotated[int, Field(ge=2, le=MOST_LEVELS)]
SOURCES: tuple[Source, ...] = get_args(Source)
DEFAULT: tuple[Source, ...] = SOURCES[:4]
MOST_RUNS = 100_000


def _named(value: Any) -> Any:
    """Refuse an unknown source, and an empty list or table, in a line."""
    if not isinstance(value, list | Mapping):
        return value
    if not value:
        raise ValueError(f"name at least one source: {', '.join(SOURCES)}")
    for name in value:
        if name not in SOURCES:
            raise ValueError(f"{one_line(repr(name), 80)} is not a source{suggest(str(name), SOURCES)}")
    for name, levels in value.items() if isinstance(value, Mapping) else ():
        if type(levels) is not int or not 2 <= levels <= MOST_LEVELS:
            given = one_line(repr(levels), 80)
            raise ValueError(
                f"{name}: expected a whole number of levels from 2 to {MOST_LEVELS}, got {given}"
            )
    return value


def _ordered(value: list[Source] | dict[Source, int]) -> list[Source] | dict[Source, int]:
    """Sort a list, whose order means nothing; two tables are equal only in the same order."""
    if isinstance(value, dict):
        if (runs := math.prod(value.values())) > MOST_RUNS:
            raise ValueError(f"{runs:,} combinations of levels; {MOST_RUNS:,} are the most")
        return OrderedDict(value)
    if len(set(value)) < len(value):
        twice = next(name for name in value if value.count(name) > 1)
        raise ValueError(f"{twice!r} is named twice")
    return sorted(value, key=SOURCES.index)


Vary = Annotated[list[Source] | dict[Source, Levels], BeforeValidator(_named), AfterValidator(_ordered)]


def run_seeds(
    vary: Sequence[Any] | Mapping[Any, int], seed: int, holdout_draws: int | None = None
) -> RunSeeds:
    """Return the seed of each source in the run with this seed.

    A source in a list takes the run's seed. A table gives each source a number of levels, and the run's seed
    counts through all combinations in mixed radix: the source named first changes fastest, so the seeds 0 to
    (product of the levels) - 1 are the full factorial design. What is not named has seed 0.

    Args:
        holdout_draws: ``data.holdout_draws``: run i takes the hold-out i modulo this number.
    """
    found = {} if holdout_draws is None else {"holdout": seed % holdout_draws}
    if isinstance(vary, Mapping):
        rest = seed
        for name, levels in vary.items():
            rest, found[name] = divmod(rest, levels)
    else:
        found |= dict.fromkeys(vary, seed)
    return RunSeeds(**found)


def count_runs(vary: list[Any] | Mapping[Any, int]) -> int | None:
    """Return how many seeds a crossed design has, the product of its levels; None for a list."""
    return math.prod(vary.values()) if isinstance(vary, Mapping) else None


def recorded_seeds(recipe: Mapping[str, Any], seed: int) -> RunSeeds:
    """Return the seeds of a run on disk, by the recipe in its record; of an earlier version without vary."""
    data = recipe.get("data") or {}
    return run_seeds(recipe.get("vary") or DEFAULT, seed, data.get("holdout_draws"))


def varies(vary: Any, holdout_draws: Any, source: Source) -> bool:
    """Tell whether a source differs between the runs of a variant."""
    return source in (vary or DEFAULT) or (source == "holdout" and holdout_draws is not None)
