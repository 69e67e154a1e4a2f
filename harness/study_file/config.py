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

from harness.errors import StudyError
from harness.schema import Strict, validate
from harness.study_file.bounds import bounded

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$"
MAX_SEEDS = 10_000
MAX_VARIANTS = 1_000
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
        table = isinstance(space, Mapping) and not {"low", "high"} & space.keys()
        more = {f"{key}.{inner}": part for inner, part in _dotted(space).items()} if table else {key: space}
        if twice := found.keys() & more.keys():
            raise ValueError(f"{min(twice)} is named twice")
        found |= more
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
    """A fraction: 0.9 for 90 %."""


class DataConfig(Strict):
    """Where the images come from and how many of them are used."""

    source: str = Field("digits", min_length=1, max_length=200)
    """`digits` (embedded), `cifar10`, `image_folder`, `parquet`, or what an installed package registers."""
    path: str | None = Field(None, min_length=1, max_length=4096)
    """Inside the data folder, for sources that need one."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Pixels: the shorter side is resized to it and the middle square cut out."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits a channel that 16-bit images really use, such as 12; needed where all their values are low."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 512
    """Images a step; an epoch's last batch may be smaller."""
    drop_last: bool = False
    """Leave out an epoch's last batch where it is smaller; in each epoch that is other images."""
    holdout: Count | None = None
    """Train images set aside and evaluated on instead of the test split, which then stays closed."""
    train_limit: Count | None = None
    """So many train images only, as equally over the classes as can be, after the hold-out is taken."""
    test_limit: Count | None = None
    """The same of the images evaluated on."""


class Augment(Strict):
    """Albumentations pipelines, by its own names and arguments; see :mod:`harness.data.augment`."""

    train: Pipeline = []
    """`{ transform = "RandomCrop", height = 32, width = 32 }`, one after another; Normalize is added."""
    test: Pipeline = []
    """The same for the images evaluated on."""


class Named(BaseModel):
    """A table with a ``name`` from a registry or library and that entry's own options."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: str = Field(min_length=1, max_length=200)
    """Beside it stand this entry's own options."""

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
    """`custom_resnet`, `resnet18`, or `package.module:function` of a package that is allowed."""


class OptimizerConfig(Named):
    """Any class of ``torch.optim`` with its own argument names; the rate comes from the schedule."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        options = self.options
        if "lr" in options:
            raise ValueError(
                "lr is set by [schedule] (lr_max, or lr where its kind is constant); remove it here"
            )
        for key in ("momentum", "betas", "dampening", "weight_decay"):
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
    """As torch's `cross_entropy` has it."""
    l1: Rate = 0.0
    """Times the sum of all absolute parameter values, added to the loss."""


class Triangle(Strict):
    """One cycle with straight legs: lr_min to lr_max at ``peak_epoch``, to ``final`` on the last step."""

    kind: Literal["triangle"] = "triangle"
    """Of the schedule; `triangle` where none is named."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the train images."""
    peak_epoch: float
    """Epochs until the rate is highest, between 0 and `epochs`."""
    lr_max: FoundRate = "find"
    """The highest rate, or `"find"`: by the range test, once for all seeds of a variant."""
    lr_min: FoundRate = "find"
    """The first rate, or `"find"`: the found `lr_max` divided by `range_test.lr_min_divisor`."""
    final: FinalRate = "lr_min"
    """The last step's rate; `"lr_min"` is "no annihilation", 0.0 ends at nothing."""

    @model_validator(mode="after")
    def _peak_inside(self) -> Self:
        if not 0 < self.peak_epoch < self.epochs:
            raise ValueError(
                f"peak_epoch must lie between 0 and epochs, got {self.peak_epoch:g} of {self.epochs}; "
                "set schedule.peak_epoch too"
            )
        return self

    @property
    def finds(self) -> bool:
        """Whether a rate is left to the range test."""
        return "find" in (self.lr_max, self.lr_min)


class OneCycle(Strict):
    """The form of torch's ``OneCycleLR`` with linear annealing, in steps of a batch or of an epoch."""

    kind: Literal["one_cycle_lr"]
    """Of the schedule."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the train images."""
    lr_max: FoundRate
    """The highest rate, or `"find"`."""
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    """The share of the steps until then."""
    div_factor: Annotated[float, Field(ge=1e-6, le=1e12)] = 25.0
    """`lr_max` divided by the first rate."""
    final_div_factor: Annotated[float, Field(ge=1e-6, le=1e12)] = 1e4
    """The first rate divided by the last."""
    step: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    """When the published recipe called the scheduler."""
    total_steps: Count | None = None
    """Length of the cycle in its own steps; the recipe's, where that was not epochs times batches."""
    cycle_momentum: (
        Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None
    ) = None
    """`[lowest, highest]` of momentum (or beta1), which moves against the rate."""

    @property
    def finds(self) -> bool:
        """Whether the rate is left to the range test."""
        return self.lr_max == "find"


class Constant(Strict):
    """The same rate at every step."""

    kind: Literal["constant"]
    """Of the schedule."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the train images."""
    lr: FoundRate
    """The rate, or `"find"`."""

    @property
    def finds(self) -> bool:
        """Whether the rate is left to the range test."""
        return self.lr == "find"


class RangeTest(Strict):
    """The learning-rate range test; see :mod:`harness.training.range_test`."""

    start_lr: Annotated[float, Field(gt=0, le=1e6)] = 1e-4
    """The first step's rate."""
    end_lr: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """The last step's."""
    iterations: Annotated[int, Field(ge=5, le=100_000)] = 196
    """Steps, each with a higher rate."""
    mode: Literal["exponential", "linear"] = "exponential"
    """How the rate rises."""
    criterion: Literal["accuracy", "steepest", "valley", "minimum"] = "accuracy"
    """What of the sweep is LRMAX: the peak of the smoothed accuracy, the steepest fall of the smoothed loss,
    the point two thirds along its longest fall (`valley`), or its minimum."""
    lr_min_divisor: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """LRMAX divided by LRMIN."""
    seed: Seed = 0
    """Of its initialisation and batches; one sweep serves all seeds of a variant."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.start_lr < self.end_lr:
            raise ValueError(f"start_lr must be below end_lr, got {self.start_lr:g} and {self.end_lr:g}")
        return self


class Attribution(Strict):
    """The layers that Grad-CAM looks at, and for how many images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(_unique)] = []
    """Names of the network's modules, as its `named_modules` has them."""
    images: Annotated[int, Field(ge=1, le=100)] = 25
    """Misclassified ones that are drawn, and of the evaluation split's first ones that are measured."""


class Reference(Strict):
    """What was published elsewhere for the same recipe: an accuracy, a share of runs, or both."""

    test_accuracy: Fraction | None = None
    """A fraction."""
    statistic: Literal["mean", "median"] = "mean"
    """What the accuracy is of the runs."""
    at_least: Fraction | None = None
    """An accuracy that `count` of the runs reached."""
    count: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How many of the runs reached `at_least`."""
    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How many runs were published."""
    variant: Name | None = None
    """The variant whose recipe it is; without it, all variants are compared with it."""
    source: str = Field("", max_length=2000)
    """Who published it, and where."""

    def is_of(self, variant: str) -> bool:
        """Tell whether it was published of this variant's recipe."""
        return self.variant in (None, variant)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.at_least is None) != (self.count is None):
            given, lacking = ("at_least", "count") if self.count is None else ("count", "at_least")
            raise ValueError(f"{given} goes with {lacking}: `at_least = 0.94, count = 35, runs = 50`")
        if self.test_accuracy is None and self.at_least is None:
            raise ValueError("expected test_accuracy, or at_least and count")
        if self.test_accuracy is None and self.statistic != "mean":
            raise ValueError("statistic says what test_accuracy is: give test_accuracy too")
        if "runs" not in self.model_fields_set and (self.count is not None or self.statistic != "mean"):
            raise ValueError("give runs too: how many were published")
        if self.count is not None and self.count > self.runs:
            raise ValueError(f"count is {self.count} of only {self.runs} runs")
        if self.statistic == "median" and self.at_least is not None and self.count is not None:
            half, reached = self.runs / 2, (self.test_accuracy or 0) >= self.at_least
            if (reached and self.count < half) or (not reached and self.count > half):
                side = "at least" if reached else "below"
                raise ValueError(
                    f"a median {side} {self.at_least:g} cannot be with {self.count} of {self.runs} runs at it"
                )
        return self


class Recipe(Strict):
    """What a variant is: everything that a run needs beside its seed."""

    precision: Precision = "auto"
    """`auto` is the fastest here: on a CPU bfloat16 or float32, by timing both; on a GPU bfloat16, or float16
    where it has no bfloat16."""
    compile: bool | Literal["auto"] = "auto"
    """Train and evaluate through `torch.compile`; `auto`: on a GPU where the planned runs earn back what
    compiling costs, nowhere else."""
    data: DataConfig = DataConfig()
    """The images."""
    augment: Augment = Augment()
    """What is done to them."""
    model: ModelConfig = ModelConfig()
    """The network."""
    optimizer: OptimizerConfig
    """Any class of `torch.optim`, by its own name and arguments."""
    loss: Loss = Loss()
    """Cross-entropy, and what is added to it."""
    schedule: Annotated[Triangle | OneCycle | Constant, Field(discriminator="kind")]
    """The learning rate of every step."""
    range_test: RangeTest | None = None
    """The search for LRMAX and LRMIN; run where the schedule leaves a rate open, or where this table is."""
    attribution: Attribution = Attribution()
    """Grad-CAM."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _default_kind(cls, value: Any) -> Any:
        return {"kind": "triangle", **value} if isinstance(value, dict) else value

    @property
    def range_test_settings(self) -> RangeTest | None:
        """The range test to run: the study's, the default one where a rate is to be found, else none."""
        return self.range_test or (RangeTest() if self.schedule.finds else None)


class Range(Strict):
    """Numbers from ``low`` to ``high``; whole ones where both are."""

    low: Number
    """The lowest."""
    high: Number
    """The highest."""
    log: bool = False
    """Evenly over orders of magnitude, as for rates."""

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")
        if self.log and (self.whole or self.low <= 0):
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
    """How many variants."""
    seed: Seed = 0
    """Of the draws."""
    values: Spaces
    """`"schedule.lr_max" = { low = 0.01, high = 1.0, log = true }`, or a list of values, by dotted keys."""


class Search(Strict):
    """Search by Optuna's tree-structured Parzen estimator, each trial a variant; on held-out images alone.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS, 2011).
    """

    trials: Annotated[int, Field(ge=1, le=1000)]
    """How many variants beside the file itself."""
    seed: Seed = 0
    """Of the sampler."""
    random_trials: Annotated[int, Field(ge=1, le=1000)] = 10
    """The first so many are drawn at random, and none is cut short before that many are done."""
    values: Spaces
    """As in `[random.values]`."""


class Resources(Strict):
    """What a run takes of a cluster's node; it decides where runs are executed, never their results."""

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """Cores, and by that the threads of a run where `OMP_NUM_THREADS` is not set."""
    gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    """Without it one where the device is a GPU; 0.25 lets four runs share one."""
    in_place: bool = True
    """Write into the driver's folder where a node sees it, instead of sending results to it."""


class Study(Recipe):
    """One study file, validated; its :attr:`recipes` are the variants, fully resolved.

    ``grid`` and ``random`` are read from a file and are empty afterwards: what they make are variants.
    """

    name: Name
    """Also that of its folder."""
    question: str = Field("", max_length=2000)
    """What it is to answer, for the report's head."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS), AfterValidator(_unique)]
    """A run each, of every variant."""
    target: Target
    """What a run has to reach."""
    baseline: str = "base"
    """The variant that the others are compared with; `base` is the file itself."""
    comparisons: Literal["baseline", "all"] = "baseline"
    """Each variant with the baseline, or all pairs."""
    resources: Resources | None = None
    """For `--launcher ray`."""
    variants: dict[Name, dict[str, Any]] = {}
    """`[variants.NAME]`: dotted keys of the recipe and their values in this variant."""
    grid: Annotated[
        dict[str, Annotated[list[Any], BeforeValidator(_values)]],
        Field(max_length=50),
        BeforeValidator(_dotted),
    ] = {}
    """Dotted keys and lists of values; every combination is a variant."""
    random: Random | None = None
    """Random search: variants with values drawn from ranges and lists."""
    search: Search | None = None
    """Search: variants whose values follow from how earlier ones did; see docs/sweeps.md."""
    references: Annotated[dict[Name, Reference], Field(max_length=100)] = {}
    """Published numbers that the results are held against."""
    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Variant name -> its recipe, in the study's order; ``base`` is the file itself and comes first."""
        return self._recipes

    def to_toml(self) -> str:
        """The study as resolved: reading it again gives the same study."""
        import tomli_w

        whole = self.model_dump(exclude_none=True)
        empty = [key for key in ("variants", "grid", "references") if not whole[key]]
        return tomli_w.dumps({key: value for key, value in whole.items() if key not in empty})
