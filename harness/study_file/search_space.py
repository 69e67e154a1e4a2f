"""``[grid]``, ``[random]`` and ``[search]``: the values that a study tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from harness.errors import StudyError
from harness.schema import Strict, validate
from harness.study_file.values import Number, Seed, finite, unique


class Range(Strict):
    """Numbers from ``low`` to ``high``; integers if both are."""

    low: Number
    """The lowest value."""
    high: Number
    """The highest value."""
    log: bool = False
    """Draw uniformly in log space, as for learning rates."""

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")
        if self.log and (self.whole or self.low <= 0):
            raise ValueError("log needs a low above 0, and numbers with a point")
        return self


def _dotted(values: Any) -> Any:
    """Make dotted keys of nested tables, down to a space to try: a list, or a range."""
    if not isinstance(values, Mapping):
        return values
    dotted: dict[str, Any] = {}
    for key, space in values.items():
        table = isinstance(space, Mapping) and not {"low", "high"} & space.keys()
        more = {f"{key}.{inner}": part for inner, part in _dotted(space).items()} if table else {key: space}
        if twice := dotted.keys() & more.keys():
            raise ValueError(f"{min(twice)} is named twice")
        dotted |= more
    return dotted


def _values(values: Any) -> Any:
    if not isinstance(values, list) or not values:
        raise ValueError(f"expected a list of values, got {values!r}")
    return unique(finite(values))


def _space(value: Any) -> Any:
    if isinstance(value, list):
        return _values(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a list of values, or a table of low and high, got {value!r}")
    try:
        return validate(Range, value, "a range")
    except StudyError as error:
        raise ValueError(str(error)) from None


Grid = Annotated[
    dict[str, Annotated[list[Any], BeforeValidator(_values)]],
    Field(max_length=50),
    BeforeValidator(_dotted),
]
Spaces = Annotated[
    dict[str, Annotated[Any, PlainValidator(_space, json_schema_input_type=list[Any] | Range)]],
    Field(min_length=1, max_length=50),
    BeforeValidator(_dotted),
]
Trials = Annotated[int, Field(ge=1, le=1000)]


class Random(Strict):
    """Random search: ``draws`` variants, each with a value for every key of ``values``.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization" (JMLR, 2012).
    """

    draws: Trials
    """Number of variants."""
    seed: Seed = 0
    """Random seed of the draws."""
    values: Spaces
    """`"schedule.lr_max" = { low = 0.01, high = 1.0, log = true }`, or a list of values, by dotted keys."""


class Search(Strict):
    """Search by Optuna's tree-structured Parzen estimator, each trial a variant; on held-out images alone.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS, 2011).
    """

    trials: Trials
    """Number of variants, in addition to the base."""
    seed: Seed = 0
    """Random seed of the sampler."""
    random_trials: Trials = 10
    """Number of first trials that are drawn at random. No trial is stopped early before they are done."""
    values: Spaces
    """As in `[random.values]`."""
