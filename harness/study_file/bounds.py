"""The most that an augmentation's numbers may be: a library allocates by them before it can be judged."""

from __future__ import annotations

import re
from typing import Any

from harness.messages import one_line

MOST_TRANSFORMS = 200
MOST_NUMBERS = 1_000
# By argument name, the first that fits: counts cost time, sizes memory, factors multiply a size.
_LIMITS = (
    (r"temperature|max_pixel_value", 100_000),
    (r"control_points", 16),
    (r"holes_number|grid", 64),
    (r"scale|percent|factor", 4),
    (r"num_|number|nb_|segments|iterations|steps|patches|radius|sigma|delta|limit", 512),
)
_ELSE = 1_024


def bounded(pipeline: list[Any]) -> list[Any]:
    """The pipeline itself.

    Raises:
        ValueError: too many transforms, or a number that no image needs.
    """
    tables, numbers = 0, 0
    pending: list[tuple[str, Any]] = [("", pipeline)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, dict):
            tables += 1
            name = value.get("transform")
            own = name if isinstance(name, str) else place
            pending += [(key if own == "" else f"{own}.{key}", part) for key, part in value.items()]
        elif isinstance(value, list):
            pending += [(place, part) for part in value]
        elif isinstance(value, int | float):
            numbers += 1
            most = _limit(place.rpartition(".")[2])
            if abs(value) > most:
                raise ValueError(f"{one_line(place, 80)}: {value:g} is too large; {most} is the most")
    if tables > MOST_TRANSFORMS or numbers > MOST_NUMBERS:
        raise ValueError(
            f"{tables} transforms with {numbers} numbers; {MOST_TRANSFORMS} with {MOST_NUMBERS} are the most"
        )
    return pipeline


def _limit(argument: str) -> int:
    return next((most for pattern, most in _LIMITS if re.search(pattern, argument)), _ELSE)
