"""Values that several tables of a study file share, and the checks of free-form ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$"


def rate_or(word: str) -> BeforeValidator:
    """Return a validator that accepts a finite rate, or the word."""

    def check(value: Any) -> Any:
        if value == word:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'expected a rate >= 0 or "{word}", got {value!r}')
        if not 0 <= value <= 1e6:
            raise ValueError(f"expected a finite rate from 0 to 1e6, got {value!r}")
        return float(value)

    return BeforeValidator(check)


def finite(value: Any) -> Any:
    """Refuse NaN, infinity and dates anywhere in free-form values."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected finite numbers, got {value!r}")
    if isinstance(value, Mapping):
        finite(list(value.values()))
    elif isinstance(value, list):
        for part in value:
            finite(part)
    elif not isinstance(value, str | int | float | bool):
        raise ValueError(f"expected text, numbers, booleans, lists or tables, got {type(value).__name__}")
    return value


def unique(values: list[Any]) -> list[Any]:
    """Refuse a value that is named twice; 1 and 1.0 are different values."""
    seen = set()
    for value in values:
        if repr(value) in seen:
            raise ValueError(f"{value!r} is named twice")
        seen.add(repr(value))
    return values


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return value


def _no_percent(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        raise ValueError(f"expected a fraction such as {value / 100:.10g}, got {value!r}")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]
Rate = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_percent)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
