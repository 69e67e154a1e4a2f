"""The schema of a study file.

Everything here is checked before torch is imported. What only a library can check (the options of a model,
the arguments of an optimizer or a transform) is checked by :mod:`harness.plan`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from harness.schema import Strict, validate
from harness.seeding import RunSeeds
from harness.study_file.augment import Augment
from harness.study_file.averaging import Averages, NoAveraging
from harness.study_file.parts import Attribution, DataConfig, Loss, ModelConfig, OptimizerConfig, model_table
from harness.study_file.schedules import AnySchedule, RangeTest
from harness.study_file.search_space import Grid, Random, Search
from harness.study_file.targets import MetricPath, Reference, Target
from harness.study_file.values import Name, Seed, unique
from harness.study_file.vary import DEFAULT, SOURCES, Source, Vary, run_seeds, varies

MAX_SEEDS = 10_000
MAX_VARIANTS = 1_000
MAX_LOOKS = 20
MAX_COMPARED = 10_000  # comparisons at looks


class Recipe(Strict):
    """What a variant is: everything that a run needs beside its seed."""

    vary: Vary = list(DEFAULT)
    """The sources of randomness that take a run's seed: `initialisation`, `order`, `augmentation`, `dropout`,
    `range_test`, `holdout`. The others are held at seed 0. Or a table of levels, such as
    `{ initialisation = 4, order = 4 }`: a crossed design, whose combinations are the seeds 0 to 15. See
    `variance.md`."""

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
    schedule: AnySchedule
    """The learning rate of every step."""
    averaging: Annotated[Averages, Field(discriminator="kind")] = NoAveraging()
    """An average of the weights over the training, which is then what is evaluated and saved."""
    range_test: RangeTest | None = None
    """The search for LRMAX and LRMIN; run where the schedule leaves a rate open, or where this table is."""
    attribution: Attribution = Attribution()
    """Grad-CAM."""

    _draw: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _averaging_begins(self) -> Self:
        first, epochs = getattr(self.averaging, "start_epoch", 1), self.schedule.epochs
        if first > epochs:
            raise ValueError(
                f"averaging.start_epoch is {first} of only {epochs} epochs: no average would begin; lower it"
            )
        return self

    @model_validator(mode="after")
    def _holdout_is_there(self) -> Self:
        if self.data.holdout is None:
            if "holdout" in self.vary:
                raise ValueError("vary names holdout: set data.holdout, the number of images to hold out")
            if self.data.holdout_draws is not None:
                raise ValueError("data.holdout_draws: set data.holdout too, the number of images to hold out")
        elif self.data.holdout_draws is not None and isinstance(self.vary, dict):
            raise ValueError("data.holdout_draws: write holdout into the table vary instead")
        elif self.data.holdout_draws is not None and "holdout" in self.vary:
            raise ValueError("vary names holdout, a draw for each seed: remove it, or data.holdout_draws")
        self._check_range_test()
        if self.varies("holdout") and self.schedule.finds and not self.varies("range_test"):
            raise ValueError(
                "the hold-out varies and one range test would see the images that other runs hold out: "
                'set range_test.per = "seed", or give the rate as a number'
            )
        return self

    def _check_range_test(self) -> None:
        named, per = "range_test" in self.vary, self.range_test and self.range_test.per
        if named and not self.schedule.finds:
            raise ValueError("vary names range_test, and the schedule leaves no rate to find: remove it")
        if named and per == "variant":
            raise ValueError('vary names range_test, but range_test.per is "variant": remove one of them')
        if per == "seed" and self.schedule.finds and not named and self.vary != list(DEFAULT):
            raise ValueError('range_test.per is "seed", but vary does not name range_test: add it to vary')

    @property
    def varied(self) -> list[Source] | dict[Source, int]:
        """``vary``, in which ``range_test.per = "seed"`` names the range test."""
        per = self.range_test and self.range_test.per
        own = per == "seed" and self.schedule.finds and isinstance(self.vary, list)
        return sorted({*self.vary, "range_test"}, key=SOURCES.index) if own else self.vary

    def varies(self, source: Source) -> bool:
        """Tell whether a source of randomness differs between the runs."""
        return varies(self.varied, self.data.holdout_draws, source)

    def run_seeds(self, seed: int) -> RunSeeds:
        """Return the seed of each source of randomness in the run with this seed."""
        return run_seeds(self.varied, seed, self.data.holdout_draws)

    def of_run(self, seed: int) -> Self:
        """Return the recipe with the hold-out of the run with this seed."""
        recipe = self.model_copy()
        recipe._draw = self.run_seeds(seed).holdout
        return recipe

    @property
    def draw(self) -> int:
        """Which draw of the hold-out it has; 0 unless :meth:`of_run` has chosen another."""
        return self._draw

    @property
    def range_test_settings(self) -> RangeTest | None:
        """The range test to run: the study's, else the default one where a rate is left open, else None."""
        finds = self.schedule.finds
        settings = self.range_test or (RangeTest() if finds else None)
        return settings and settings.resolved(finds=finds, own="range_test" in self.varied)

    @property
    def each_run_finds(self) -> bool:
        """Whether each run finds its own LRMAX."""
        return self.range_test_settings is not None and self.range_test_settings.per == "seed"

    @property
    def own_sweep_steps(self) -> int:
        """The steps of the range test that each run makes for itself; 0 where it makes none."""
        settings = self.range_test_settings
        return settings.iterations * settings.sweeps if settings and settings.per == "seed" else 0

    @property
    def independent(self) -> bool:
        """Whether its runs are independent: no crossed design, and one hold-out for all."""
        return not isinstance(self.vary, dict) and not self.varies("holdout")


class Resources(Strict):
    """What a run takes of a cluster's node; it decides where runs are executed, never their results."""

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """Cores, and by that the threads of a run where `OMP_NUM_THREADS` is not set."""
    gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    """Without it one where the device is a GPU; 0.25 lets four runs share one."""
    in_place: bool = True
    """Write into the driver's folder where a node sees it, instead of sending results to it."""


Looks = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1, max_length=MAX_LOOKS)]


class _OneLine(type(BaseModel)):  # type: ignore[misc]
    """Has mistakes in a study that is written in Python end in one line, as those of a file do."""

    def __call__(cls, **fields: Any) -> Any:
        name = fields.get("name")
        return validate(cls, fields, name if isinstance(name, str) else "Study")  # type: ignore[arg-type]


class Study(Recipe, metaclass=_OneLine):
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
    metrics: Annotated[list[MetricPath], Field(max_length=20), AfterValidator(unique)] = []
    """Metrics of your own beside those that every run has, each `package.module:name` of an allowed package
    (docs/your-own.md); they decide no training."""
    baseline: str = "base"
    """The variant that the others are compared with; `base` is the file itself."""
    comparisons: Literal["baseline", "all"] = "baseline"
    """Each variant with the baseline, or all pairs."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """The largest difference of the target's metric that does not matter, such as 0.002 (0.2 points of
    accuracy): the report says which variants are equivalent within it, not worse, or better by at least
    it."""
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

    @field_validator("variants", mode="before")
    @classmethod
    def _models_of_code(cls, variants: Any) -> Any:
        """Take classes and functions as models of variants, where a study is written in Python."""
        if not isinstance(variants, dict):
            return variants
        return {
            name: {key: model_table(part) if key == "model" else part for key, part in changes.items()}
            if isinstance(changes, dict)
            else changes
            for name, changes in variants.items()
        }

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

    @property
    def own_metrics(self) -> list[str]:
        """The import paths of the users' metrics that it names anywhere."""
        named = [each.metric for each in (self.target, *self.references.values()) if each.metric]
        return list(dict.fromkeys([*self.metrics, *named]))

    def to_toml(self) -> str:
        """Return the resolved study as TOML; reading it gives the same study."""
        import tomli_w

        tables = self.model_dump(exclude_none=True)
        empty = [key for key in ("variants", "grid", "references", "metrics") if not tables[key]]
        return tomli_w.dumps({key: value for key, value in tables.items() if key not in empty})
