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
from harness.study_file.trial import Trial
from harness.study_file.values import Name, Seed, unique
from harness.study_file.vary import DEFAULT, SOURCES, Source, Vary, run_seeds, varies

MAX_SEEDS = 10_000
MAX_VARIANTS = 1_000
MAX_LOOKS = 20
MAX_COMPARED = 10_000  # comparisons at looks


class Recipe(Strict):
    """A variant: everything that a run needs except its seed."""

    vary: Vary = list(DEFAULT)
    """The sources of randomness that use a run's seed: `initialisation`, `order`, `augmentation`, `dropout`,
    `range_test`, `holdout`. The others use seed 0. Or a table of levels, such as
    `{ initialisation = 4, order = 4 }`: a crossed design, whose combinations are the seeds 0 to 15. See
    `variance.md`."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` chooses the fastest precision: on a CPU bfloat16 or float32, by timing both; on a GPU bfloat16,
    or float16 if the GPU has no bfloat16."""
    compile: bool | Literal["auto"] = "auto"
    """Train and evaluate with `torch.compile`. `auto` compiles only on a GPU, and only if the planned runs
    save more time than compiling takes."""
    data: DataConfig = DataConfig()
    """The images."""
    augment: Augment = Augment()
    """Augmentation of the images."""
    model: ModelConfig = ModelConfig()
    """The network."""
    optimizer: OptimizerConfig
    """A class of `torch.optim`, by its own name and arguments."""
    loss: Loss = Loss()
    """Cross-entropy by default, and additional terms."""
    schedule: AnySchedule
    """The learning rate schedule."""
    averaging: Annotated[Averages, Field(discriminator="kind")] = NoAveraging()
    """Averaging of the weights during training; the average is evaluated and saved."""
    range_test: RangeTest | None = None
    """The learning-rate range test. It runs if the schedule has a rate `"find"`, or if this table exists."""
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
    """The resources of a run on a cluster's node; they do not change its results."""

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """CPU cores of a run; also its number of threads, unless `OMP_NUM_THREADS` is set."""
    gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    """GPUs of a run; 1 by default if the device is a GPU. With 0.25, four runs share one GPU."""
    in_place: bool = True
    """Write results directly to the driver's folder if the node can see it; else send them."""


class Extended(Strict):
    """What a resolved study has in place of its base's name: it is complete without the base."""

    study: str = Field(min_length=1, max_length=4096)
    """The base: a built-in study's name or a path."""
    changes: list[str] = []
    """The changes against it, of recipe, target and variants."""

    def in_words(self) -> str:
        """Return base and changes as one sentence."""
        return f"extends {self.study}; changes: {', '.join(self.changes) or 'none'}"


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
    """Name of the study, and of its folder."""
    question: str = Field("", max_length=2000)
    """The question that the study answers; the report shows it."""
    extends: str | Extended | None = None
    """The base study that this file changes: a built-in study's name, or a path relative to this file. All
    keys are inherited but `name`, `question` and `references`; `looks` is inherited only if this file does
    not set `seeds`. The keys of this file are changes, and merge as those of a variant do. `target`, `vary`,
    `grid`, `random` and `search` are replaced whole. `[variants.NAME]` adds a variant, or changes the base's.
    `false` removes a variant, a table, a list, a value of `[data]`, or an optional key of the study itself.
    `data.path` and `model.pretrained` mean the same as in the base. A resolved study has a table here, which
    only says what was changed."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS), AfterValidator(unique)]
    """Random seeds: one run of each variant per seed."""
    looks: Looks | None = None
    """Planned comparisons: after how many of the `seeds` the variants are compared, such as `[3, 5, 10]`. The
    last number is that of all seeds. Plan them before the first run: docs/looks.md."""
    target: Target
    """The target that each run should reach."""
    metrics: Annotated[list[MetricPath], Field(max_length=20), AfterValidator(unique)] = []
    """Additional metrics of your own, each `package.module:name` of an allowed package (docs/your-own.md).
    They do not influence training."""
    baseline: str = "base"
    """The variant that the others are compared with; `base` is the study without changes."""
    comparisons: Literal["baseline", "all"] = "baseline"
    """Compare each variant with the baseline, or all pairs."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """The largest difference of the target's metric that does not matter, such as 0.002 (0.2 points of
    accuracy). The report says which variants are equivalent within this margin, not worse by more, or better
    by at least as much."""
    resources: Resources | None = None
    """Resources of a run with `--launcher ray`."""
    variants: dict[Name, dict[str, Any]] = {}
    """`[variants.NAME]`: the keys of the recipe that this variant changes, and their values."""
    grid: Grid = {}
    """Keys and lists of values; each combination is a variant."""
    random: Random | None = None
    """Random search: each variant draws its values from ranges and lists."""
    search: Search | None = None
    """Search with Optuna: the results of earlier variants guide the next; see docs/sweeps.md."""
    references: Annotated[dict[Name, Reference], Field(max_length=100)] = {}
    """Published results to compare with."""
    trial: Trial | None = None
    """What `--set` has changed of the study file; the harness writes it into a resolved study."""
    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)
    _notes: list[str] = PrivateAttr(default_factory=list)

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
    def notes(self) -> list[str]:
        """How the overrides were understood, a sentence each."""
        return self._notes

    @property
    def title(self) -> str:
        """Its name, and of a trial what was changed: ``onecycle (trial: schedule.epochs = 2)``."""
        return self.name if self.trial is None else self.trial.title(self.name)

    def renamed(self, name: str) -> Self:
        """Return the study under another name."""
        study = self.model_copy(update={"name": name})
        study._recipes = self._recipes
        study._notes = self._notes
        return study

    @property
    def asked(self) -> str:
        """The question; that of a trial says that it is the question of the study file."""
        if self.trial is None or not self.question:
            return self.question
        return f"Question of the study file, which this trial has changed: {self.question}"

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
