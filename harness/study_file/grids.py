"""``[grid]`` and ``[random]``: the variants that they make, named after the values that they change."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from harness.errors import StudyError
from harness.study_file.config import MAX_VARIANTS, Study
from harness.study_file.search_space import Random, Range
from harness.study_file.values import NAME_PATTERN

Changes = dict[str, Any]


def expand(study: Study, where: str) -> dict[str, Changes]:
    """Return name -> changes (by dotted key) of every cell of the grid, in order, and of every draw.

    Raises:
        StudyError: more cells than a study may have variants.
    """
    cells = _cells(study.grid, where) if study.grid else {}
    return {**cells, **(_draws(study.random) if study.random else {})}


def tried_keys(study: Study) -> Iterator[tuple[str, str]]:
    """Yield every dotted key that ``grid``, ``random`` and ``search`` set, after the table's name."""
    yield from (("grid", key) for key in study.grid)
    yield from (("random", key) for key in (study.random.values if study.random else {}))
    yield from (("search", key) for key in (study.search.values if study.search else {}))


def numbered(word: str, at: int) -> str:
    """Return a variant's name with its number; it does not depend on how many variants there are."""
    return f"{word}-{at:03d}"


def short_keys(keys: Iterable[str]) -> list[str]:
    """Return the last part of each dotted key, or the whole key where several end alike."""
    dotted = list(keys)
    lasts = [key.rpartition(".")[2] for key in dotted]
    return [last if lasts.count(last) == 1 else key for last, key in zip(lasts, dotted, strict=True)]


def _cells(grid: Mapping[str, list[Any]], where: str) -> dict[str, Changes]:
    count = math.prod(len(values) for values in grid.values())
    if count > MAX_VARIANTS:
        raise StudyError(f"{where}: grid: {count} cells; {MAX_VARIANTS} is the most a study may have")
    labels = [
        [f"{word}-{_label(value, at)}" for at, value in enumerate(values)]
        for word, values in zip(short_keys(grid), grid.values(), strict=True)
    ]
    names = ["_".join(parts) for parts in product(*labels)]
    valid = all(re.fullmatch(NAME_PATTERN, name) for name in names)
    if not valid or len({name.lower() for name in names}) < len(names):
        names = [numbered("cell", at) for at in range(count)]
    changes = (dict(zip(grid, values, strict=True)) for values in product(*grid.values()))
    return dict(zip(names, changes, strict=True))


def _label(value: Any, at: int) -> str:
    """Return a value's part of a variant's name: the value, a table's own name, or its index in the list."""
    if isinstance(value, dict):
        value = value.get("name", value.get("kind", at))
    elif isinstance(value, list):
        value = at
    return str(value).lower() if isinstance(value, bool) else str(value)


def _draws(draws: Random) -> dict[str, Changes]:
    """Draw one uniform number for every key, in order, so that more draws begin with the same ones."""
    generator = random.Random(draws.seed)
    return {
        numbered("draw", at): {key: _value(space, generator.random()) for key, space in draws.values.items()}
        for at in range(draws.draws)
    }


def _value(space: list[Any] | Range, share: float) -> Any:
    """Return the value of a space at a fraction in [0, 1) of it."""
    if isinstance(space, list):
        return space[int(share * len(space))]
    low, high = space.low, space.high
    if space.whole:
        return low + int(share * (high - low + 1))
    return rounded(low * (high / low) ** share if space.log else low + share * (high - low), space)


def rounded(value: float, space: Range) -> float:
    """Round to four digits, within the space; more digits would only make tables wider."""
    return min(max(float(f"{value:.4g}"), space.low), space.high)


def ends(space: list[Any] | Range) -> list[Any]:
    """Return the values of a space to check: all values of a list, both ends of a range."""
    return [space.low, space.high] if isinstance(space, Range) else space
