"""The schema of a study file.

Everything here is checked before torch is imported. What only a library can check (the options of a model,
the arguments of an optimizer or a transform) is checked by :mod:`harness.plan`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from harness.schema import Strict
from harness.study_file.augment import Augment
from harness.study_file.schedules import Constant, OneCycle, RangeTest, Triangle
from harness.study_file.search_space import Grid, Random, Search
from harness.study_file.values import Count, Fraction, Name, Rate, Seed, finite, unique

MAX_SEEDS = 10_000
MAX_VARIANTS = 1_000
MAX_OPTIONS_TEXT = 10_000
MAX_LOOKS = 20
MAX_COMPARED = 10_000  # comparisons at looks


class Target(Strict):
    """What a run has to reach, on its last epoch."""

    test_accuracy: Fraction
    """A fraction: 0.9 for 90 %."""


class DataConfig(Strict):
    """Where the images come from and how many of them are used."""

    source: str = Field("digits", min_length=1, max_length=200)
    """{SOURCES}, or what an installed package registers; `digits` is embedded."""
    path: str | None = Field(None, min_length=1, max_length=4096)
    """Inside the data folder, for sources that need one."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Pixels: the shorter side is resized to it and the middle square cut out."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits a channel that 16-bit images really use, such as 12; needed where all their values are low."""
    cluster: str | None = Field(None, min_length=1, max_length=1000)
    """What images of one film or patient share: for `parquet` a column; for `image_folder` a regular
    expression, whose first group is looked for in each file's path below the split. See your-own.md."""
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

    @model_validator(mode="after")
    def _cluster_is_a_rule(self) -> Self:
        if self.cluster is not None and self.source == "image_folder":
            example = "such as '^[^/]+/([^_]+)_', what stands before the first _ of a file's name"
            try:
                groups = re.compile(self.cluster).groups
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"cluster is no regular expression ({error}); {example}") from None
            if not groups:
                raise ValueError(f"cluster has no group in brackets, {example}")
        return self


class Named(BaseModel):
    """A table with a ``name`` from a registry or library and that entry's own options."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: str = Field(min_length=1, max_length=200)
    """Beside it stand this entry's own options."""

    @property
    def options(self) -> dict[str, Any]:
        """All values besides the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _options_are_plain(self) -> Self:
        if len(repr(self.options)) > MAX_OPTIONS_TEXT:  # every variant would be given a copy
            raise ValueError(f"options of more than {MAX_OPTIONS_TEXT} characters")
        finite(self.options)
        return self


class ModelConfig(Named):
    """The network; its options are those of its own class in :mod:`harness.models`."""

    name: str = Field("custom_resnet", min_length=1, max_length=200)
    """{MODELS}, or `package.module:function` of a package that is allowed."""


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


class Attribution(Strict):
    """The layers that Grad-CAM looks at, and for how many images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(unique)] = []
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

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
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
        """The range test to run: the study's, else the default one where a rate is left open, else None."""
        finds = self.schedule.finds
        settings = self.range_test or (RangeTest() if finds else None)
        return settings and settings.resolved(finds=finds)

    @property
    def each_run_finds(self) -> bool:
        """Whether each run finds its own LRMAX."""
        return self.range_test_settings is not None and self.range_test_settings.per == "seed"


class Resources(Strict):
    """What a run takes of a cluster's node; it decides where runs are executed, never their results."""

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """Cores, and by that the threads of a run where `OMP_NUM_THREADS` is not set."""
    gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    """Without it one where the device is a GPU; 0.25 lets four runs share one."""
    in_place: bool = True
    """Write into the driver's folder where a node sees it, instead of sending results to it."""


Looks = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1, max_length=MAX_LOOKS)]


class Study(Recipe):
    """One study file, validated; its :attr:`recipes` are the variants, fully resolved.

    ``grid`` and ``random`` are read from a file and are empty afterwards: what they make are variants.
    """

    name: Name
    """Also that of its folder."""
    question: str = Field("", max_length=2000)
    """What it is to answer, for the report's head."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS), AfterValidator(unique)]
    """A run each, of every variant."""
    looks: Looks | None = None
    """After how many of the `seeds` the variants are compared, such as `[3, 5, 10]`, the last of them all;
    planned before the first run, see docs/looks.md."""
    target: Target
    """What a run has to reach."""
    baseline: str = "base"
    """The variant that the others are compared with; `base` is the file itself."""
    comparisons: Literal["baseline", "all"] = "baseline"
    """Each variant with the baseline, or all pairs."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """The largest difference of accuracies that does not matter, a fraction such as 0.002: the report says
    which variants are equivalent within it, not worse, or better by at least it."""
    resources: Resources | None = None
    """For `--launcher ray`."""
    variants: dict[Name, dict[str, Any]] = {}
    """`[variants.NAME]`: dotted keys of the recipe and their values in this variant."""
    grid: Grid = {}
    """Dotted keys and lists of values; every combination is a variant."""
    random: Random | None = None
    """Random search: variants with values drawn from ranges and lists."""
    search: Search | None = None
    """Search: variants whose values follow from how earlier ones did; see docs/sweeps.md."""
    references: Annotated[dict[Name, Reference], Field(max_length=100)] = {}
    """Published numbers that the results are held against."""
    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _looks_fit(self) -> Self:
        if self.looks is None:
            return self
        if self.search is not None:
            raise ValueError("looks: a search has none: it compares no variants; leave looks out")
        if any(later <= earlier for earlier, later in pairwise(self.looks)):
            raise ValueError(f"looks: {self.looks} do not rise; write each number of seeds once, in order")
        if self.looks[-1] != len(self.seeds):
            raise ValueError(
                f"looks: the last is after {self.looks[-1]} seeds, and seeds has {len(self.seeds)}; "
                "make them equal"
            )
        return self

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Variant name -> its recipe, in the study's order; ``base`` is the file itself and comes first."""
        return self._recipes

    def to_toml(self) -> str:
        """Return the resolved study as TOML; reading it gives the same study."""
        import tomli_w

        tables = self.model_dump(exclude_none=True)
        empty = [key for key in ("variants", "grid", "references") if not tables[key]]
        return tomli_w.dumps({key: value for key, value in tables.items() if key not in empty})
