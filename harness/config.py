"""The schema of a study file.

Everything here is checked before torch is imported; what only a library can judge (a model's options, an
optimizer's arguments, a transform's) is checked by :mod:`harness.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    field_validator,
    model_validator,
)

from harness.bounds import bounded
from harness.errors import StudyError
from harness.schema import Strict, validate

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$"
MAX_SEEDS = 10_000
MAX_OPTIONS_TEXT = 10_000


def _rate_or(word: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value == word:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'expected a rate >= 0 or "{word}", got {value!r}')
        if not 0 <= value <= 1e6:
            raise ValueError(f"expected a finite rate from 0 to 1e6, got {value!r}")
        return float(value)

    return BeforeValidator(check)


def _finite(value: Any) -> Any:
    """Refuse NaN and infinity anywhere in free-form values."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected finite numbers, got {value!r}")
    if isinstance(value, Mapping):
        for part in value.values():
            _finite(part)
    elif isinstance(value, list):
        for part in value:
            _finite(part)
    elif not isinstance(value, str | int | float | bool):
        raise ValueError(f"expected text, numbers, booleans, lists or tables, got {type(value).__name__}")
    return value


def _dotted(values: Any) -> Any:
    """Tables in tables -> dotted keys, down to what can be tried: a list, or a range."""
    if not isinstance(values, Mapping):
        return values
    found: dict[str, Any] = {}
    for key, space in values.items():
        if isinstance(space, Mapping) and not {"low", "high"} & space.keys():
            found |= {f"{key}.{inner}": value for inner, value in _dotted(space).items()}
        else:
            found[key] = space
    return found


def _values(values: Any) -> Any:
    """Something to try, and nothing twice."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"expected a list of values, got {values!r}")
    for at, value in enumerate(_finite(values)):
        if any(type(value) is type(other) and value == other for other in values[:at]):
            raise ValueError(f"{value!r} is named twice")
    return values


def _unique(values: list[Any]) -> list[Any]:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} is named twice")
        seen.add(value)
    return values


Rate = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FoundRate = Annotated[float | Literal["find"], _rate_or("find")]
FinalRate = Annotated[float | Literal["lr_min"], _rate_or("lr_min")]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Pipeline = Annotated[
    list[dict[str, Any]], AfterValidator(bounded), AfterValidator(_finite), Field(max_length=50)
]


class Target(Strict):
    """What a run has to reach, on its last epoch."""

    test_accuracy: Fraction


class DataConfig(Strict):
    """Where the images come from and how many of them are used."""

    source: str = Field("digits", min_length=1, max_length=200)
    path: str | None = Field(None, min_length=1, max_length=4096)
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 512
    holdout: Count | None = None
    train_limit: Count | None = None
    test_limit: Count | None = None


class Augment(Strict):
    """Albumentations pipelines, by its own names and arguments; see :mod:`harness.data.augment`."""

    train: Pipeline = []
    test: Pipeline = []


class Named(BaseModel):
    """A table with a ``name`` from a registry or library and that entry's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=200)

    @property
    def options(self) -> dict[str, Any]:
        """Everything beside the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _options_are_plain(self) -> Self:
        if len(repr(self.options)) > MAX_OPTIONS_TEXT:  # every variant would be given a copy
            raise ValueError(f"options of more than {MAX_OPTIONS_TEXT} characters")
        _finite(self.options)
        return self


class ModelConfig(Named):
    """The network; its options are those of its own class in :mod:`harness.models`."""

    name: str = Field("custom_resnet", min_length=1, max_length=200)


class OptimizerConfig(Named):
    """Any class of ``torch.optim`` with its own argument names; the rate comes from the schedule."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        options = self.options
        if "lr" in options:
            raise ValueError("lr is set by [schedule] (lr_max, lr_min); remove it here")
        for key in ("momentum", "betas", "weight_decay"):
            values = options.get(key, [])
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ValueError(f"{key} must be a number, got {value!r}")
                if key == "weight_decay" and value < 0:
                    raise ValueError(f"weight_decay must be >= 0, got {value!r}")
                if key != "weight_decay" and not 0 <= value < 1:
                    raise ValueError(f"{key} must be in [0, 1), got {value!r}")
        return self


class Loss(Strict):
    """Cross-entropy on logits, with what the recipes add to it."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    l1: Rate = 0.0


class Triangle(Strict):
    """One cycle with straight legs: lr_min to lr_max at ``peak_epoch``, to ``final`` on the last step."""

    kind: Literal["triangle"] = "triangle"
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    peak_epoch: float
    lr_max: FoundRate = "find"
    lr_min: FoundRate = "find"
    final: FinalRate = "lr_min"

    @model_validator(mode="after")
    def _peak_inside(self) -> Self:
        if not 0 < self.peak_epoch < self.epochs:
            raise ValueError(
                f"peak_epoch must lie between 0 and epochs, got {self.peak_epoch:g} of {self.epochs}"
            )
        return self

    @property
    def finds(self) -> bool:
        """Whether a rate is left to the range test."""
        return "find" in (self.lr_max, self.lr_min)


class OneCycle(Strict):
    """The form of torch's ``OneCycleLR`` with linear annealing, in steps of a batch or of an epoch."""

    kind: Literal["one_cycle_lr"]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    lr_max: FoundRate
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    div_factor: Annotated[float, Field(ge=1e-6, le=1e12)] = 25.0
    final_div_factor: Annotated[float, Field(ge=1e-6, le=1e12)] = 1e4
    step: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    total_steps: Count | None = None
    cycle_momentum: (
        Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None
    ) = None

    @property
    def finds(self) -> bool:
        """Whether the rate is left to the range test."""
        return self.lr_max == "find"


class Constant(Strict):
    """The same rate at every step."""

    kind: Literal["constant"]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    lr: FoundRate

    @property
    def finds(self) -> bool:
        """Whether the rate is left to the range test."""
        return self.lr == "find"


class RangeTest(Strict):
    """The learning-rate range test; see :mod:`harness.training.lr_range`."""

    start_lr: Annotated[float, Field(gt=0, le=1e6)] = 1e-4
    end_lr: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    iterations: Annotated[int, Field(ge=5, le=100_000)] = 196
    mode: Literal["exponential", "linear"] = "exponential"
    criterion: Literal["accuracy", "steepest", "valley", "minimum"] = "accuracy"
    lr_min_divisor: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.start_lr < self.end_lr:
            raise ValueError(f"start_lr must be below end_lr, got {self.start_lr:g} and {self.end_lr:g}")
        return self


class Attribution(Strict):
    """The layers that Grad-CAM looks at, and for how many images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(_unique)] = []
    images: Annotated[int, Field(ge=1, le=100)] = 25


class Reference(Strict):
    """A number published elsewhere for the same recipe."""

    test_accuracy: Fraction
    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    source: str = Field("", max_length=2000)


class Recipe(Strict):
    """What a variant is: everything that a run needs beside its seed.

    Attributes:
        compile: train and evaluate through ``torch.compile``; no gain was seen on a CPU.
    """

    precision: Precision = "auto"
    compile: bool = False
    data: DataConfig = DataConfig()
    augment: Augment = Augment()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig
    loss: Loss = Loss()
    schedule: Annotated[Triangle | OneCycle | Constant, Field(discriminator="kind")]
    range_test: RangeTest | None = None
    attribution: Attribution = Attribution()

    @field_validator("schedule", mode="before")
    @classmethod
    def _default_kind(cls, value: Any) -> Any:
        return {"kind": "triangle", **value} if isinstance(value, dict) else value

    @property
    def range_test_settings(self) -> RangeTest | None:
        """The range test to run: the study's, the default one where a rate is to be found, else none."""
        return self.range_test or (RangeTest() if self.schedule.finds else None)


class Range(Strict):
    """Numbers from ``low`` to ``high``; whole ones where both are.

    Args:
        log: evenly over orders of magnitude, as for rates.
    """

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if self.log and (whole or self.low <= 0):
            raise ValueError("log needs a low above 0, and numbers with a point")
        return self


def _space(value: Any) -> Any:
    if isinstance(value, list):
        return _values(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a list of values, or a table of low and high, got {value!r}")
    try:
        return validate(Range, value, "a range")
    except StudyError as error:
        raise ValueError(str(error)) from None


Spaces = Annotated[
    dict[str, Annotated[Any, PlainValidator(_space, json_schema_input_type=list[Any] | Range)]],
    Field(min_length=1, max_length=50),
    BeforeValidator(_dotted),
]


class Random(Strict):
    """Random search: ``draws`` variants, each with a value for every key of ``values``.

    Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization" (JMLR, 2012).
    """

    draws: Annotated[int, Field(ge=1, le=1000)]
    seed: Seed = 0
    values: Spaces


class Resources(Strict):
    """What a run takes of a cluster's node; it decides where runs are executed, never their results.

    Args:
        cpus: cores, and by that the threads of a run where ``OMP_NUM_THREADS`` is not set.
        gpus: None is one where the device is a GPU; 0.25 lets four runs share one.
        in_place: write into the driver's folder where a node sees it, instead of sending results to it.
    """

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    in_place: bool = True


class Study(Recipe):
    """One study file, validated; its :attr:`recipes` are the variants, fully resolved.

    ``grid`` and ``random`` are read from a file and are empty afterwards: what they make are variants.
    """

    name: Name
    question: str = Field("", max_length=2000)
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS), AfterValidator(_unique)]
    target: Target
    baseline: str = "base"
    comparisons: Literal["baseline", "all"] = "baseline"
    resources: Resources | None = None
    variants: dict[Name, dict[str, Any]] = {}
    grid: Annotated[
        dict[str, Annotated[list[Any], BeforeValidator(_values)]],
        Field(max_length=50),
        BeforeValidator(_dotted),
    ] = {}
    random: Random | None = None
    references: Annotated[dict[Name, Reference], Field(max_length=100)] = {}
    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Variant name -> its recipe, in the study's order; ``base`` is the file itself and comes first."""
        return self._recipes

    def to_toml(self) -> str:
        """The study as resolved: reading it again gives the same study."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))
