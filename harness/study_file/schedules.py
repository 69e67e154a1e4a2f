"""``[schedule]`` and ``[range_test]``: the learning rate of every step, and the search for it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.schema import Strict
from harness.study_file.values import Count, Rate, Seed, finite, rate_or

Epochs = Annotated[int, Field(ge=1, le=100_000)]
FoundRate = Annotated[float | Literal["find"], rate_or("find")]
FinalRate = Annotated[float | Literal["lr_min"], rate_or("lr_min")]
PositiveRate = Annotated[float, Field(gt=0, le=1e6)]
SWEEPS = 3  # of a range test whose rate is used, where the study does not say how many
WARMUP_START = 0.1
Divisor = Annotated[float, Field(ge=1e-6, le=1e12)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Points = Annotated[
    list[Annotated[list[Rate], Field(min_length=2, max_length=2)]], Field(min_length=1, max_length=10_000)
]


class Schedule(Strict):
    """The base of all kinds of schedules."""

    @property
    def finds(self) -> bool:
        """Whether a rate is left to the range test."""
        return "find" in (getattr(self, name, None) for name in ("lr", "lr_max", "lr_min"))


class Triangle(Schedule):
    """One cycle with straight legs: lr_min to lr_max at ``peak_epoch``, to ``final`` on the last step."""

    kind: Literal["triangle"] = "triangle"
    """Kind of the schedule; the default is `triangle`."""
    epochs: Epochs
    """Number of epochs."""
    peak_epoch: float
    """The epoch with the highest learning rate, between 0 and `epochs`."""
    lr_max: FoundRate = "find"
    """The highest learning rate, or `"find"`: chosen by the range test."""
    lr_min: FoundRate = "find"
    """The first learning rate, or `"find"`: the found `lr_max` divided by `range_test.lr_min_divisor`."""
    final: FinalRate = "lr_min"
    """The last learning rate. With `"lr_min"` the learning rate ends at `lr_min`, not at 0 ("no
    annihilation")."""

    @model_validator(mode="after")
    def _peak_inside(self) -> Self:
        if not 0 < self.peak_epoch < self.epochs:
            raise ValueError(
                f"peak_epoch must lie between 0 and epochs, got {self.peak_epoch:g} of {self.epochs}; "
                "set schedule.peak_epoch too"
            )
        return self


class OneCycle(Schedule):
    """The form of torch's ``OneCycleLR`` with linear annealing, in steps of a batch or of an epoch."""

    kind: Literal["one_cycle_lr"]
    """Kind of the schedule."""
    epochs: Epochs
    """Number of epochs."""
    lr_max: FoundRate
    """The highest learning rate, or `"find"`."""
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    """The share of the steps before the highest learning rate."""
    div_factor: Divisor = 25.0
    """`lr_max` divided by the first learning rate."""
    final_div_factor: Divisor = 1e4
    """The first learning rate divided by the last."""
    step: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    """When the scheduler steps, as in the published recipe."""
    total_steps: Count | None = None
    """Length of the cycle in steps of the scheduler; by default epochs times batches."""
    cycle_momentum: Annotated[list[Momentum], Field(min_length=2, max_length=2)] | None = None
    """`[lowest, highest]` momentum (or beta1); it falls while the learning rate rises."""


class Constant(Schedule):
    """The same rate at every step."""

    kind: Literal["constant"]
    """Kind of the schedule."""
    epochs: Epochs
    """Number of epochs."""
    lr: FoundRate
    """The learning rate, or `"find"`."""


class Piecewise(Schedule):
    """Straight lines between any corners: warm-up, zig-zag, flat tails and jumps.

    If a corner lies between two steps, no step has exactly its value. The last step has the value of a corner
    at `epochs`.
    """

    kind: Literal["piecewise"]
    """Kind of the schedule."""
    epochs: Epochs
    """Number of epochs."""
    points: Points
    """Corners of epoch (fractions are allowed) and learning rate, such as `[[0, 0.0], [5, 0.4], [22, 0.04]]`.
    The learning rate is constant before the first and after the last corner. Two corners at the same epoch
    are a jump."""
    lr_max: FoundRate | None = None
    """A learning rate, or `"find"`. The values in `points` are then factors of it, such as
    `[[0, 0], [5, 1], [22, 0.1]]`. Without `lr_max` they are learning rates."""
    momentum_points: (
        Annotated[
            list[Annotated[list[float], Field(min_length=2, max_length=2)]],
            Field(min_length=1, max_length=10_000),
        ]
        | None
    ) = None
    """The same for momentum (or beta1)."""

    @model_validator(mode="after")
    def _corners_rise(self) -> Self:
        for name in ("points", "momentum_points"):
            points = getattr(self, name) or []
            for (before, _), (after, _) in pairwise(points):
                if after < before:
                    raise ValueError(f"{name}: the epochs must rise, got {after:g} after {before:g}")
            for epoch, value in points:
                if not 0 <= epoch <= self.epochs:
                    raise ValueError(
                        f"{name}: a corner at epoch {epoch:g} of {self.epochs}; set schedule.{name} too"
                    )
                if name == "momentum_points" and not 0 <= value < 1:
                    raise ValueError(f"{name}: a momentum must be in [0, 1), got {value:g}")
        return self


class Cosine(Schedule):
    """Half a cosine from lr_max to `final`, as torch's ``CosineAnnealingLR`` steps it every batch.

    The step after the last would have `final`. With `cycle_epochs` it begins again and again, as torch's
    ``CosineAnnealingWarmRestarts``: Loshchilov and Hutter, "SGDR" (2017).
    """

    kind: Literal["cosine"]
    """Kind of the schedule."""
    epochs: Epochs
    """Number of epochs."""
    lr_max: FoundRate = "find"
    """The highest learning rate, or `"find"`: chosen by the range test."""
    final: Rate = 0.0
    """The final learning rate of the cosine."""
    warmup_epochs: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    """Number of epochs of linear warm-up to `lr_max`, before the cosine."""
    warmup_start: Annotated[float, Field(ge=0, le=1)] = WARMUP_START
    """The first learning rate of the warm-up, as a factor of `lr_max`."""
    cycle_epochs: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Number of epochs of the first cycle; by default one cycle takes all epochs."""
    cycle_mult: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Length of each further cycle, as a multiple of the previous one."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs, got {self.warmup_epochs:g} of {self.epochs}; "
                "set schedule.warmup_epochs too"
            )
        if self.warmup_start != WARMUP_START and not self.warmup_epochs:
            raise ValueError("warmup_start goes with warmup_epochs: set it too")
        if self.cycle_mult != 1 and self.cycle_epochs is None:
            raise ValueError("cycle_mult goes with cycle_epochs: set it too")
        return self


class Step(Schedule):
    """A rate that falls at some epochs, as torch's ``MultiStepLR`` and ``StepLR`` have it."""

    kind: Literal["step"]
    """Kind of the schedule."""
    epochs: Epochs
    """Number of epochs."""
    lr_max: FoundRate = "find"
    """The first learning rate, or `"find"`: chosen by the range test."""
    milestones: Annotated[list[Annotated[float, Field(gt=0)]], Field(max_length=10_000)] | None = None
    """Epochs (fractions are allowed) after which the learning rate is multiplied by `gamma`: `[12, 18]`."""
    every: Annotated[float, Field(gt=0)] | None = None
    """Number of epochs between these multiplications, instead of `milestones`."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor."""

    @property
    def falls(self) -> list[float]:
        """Return the epochs after which the rate falls."""
        if self.milestones is not None:
            return self.milestones
        every = self.every or self.epochs
        falls = (at * every for at in range(1, math.ceil(self.epochs / every)))
        return [epoch for epoch in falls if not math.isclose(epoch, self.epochs)]

    @model_validator(mode="after")
    def _falls_in_order(self) -> Self:
        if (self.milestones is None) == (self.every is None):
            raise ValueError("expected milestones, such as [12, 18], or every, such as 10; one of them")
        if self.every is not None and self.epochs / self.every > 10_000:
            raise ValueError(f"every: falls {self.epochs / self.every:.0f} times; 10000 is the most")
        for before, after in pairwise(self.milestones or []):
            if after <= before:
                raise ValueError(f"milestones: the epochs must rise, got {after:g} after {before:g}")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(
                f"milestones: epoch {self.milestones[-1]:g} of {self.epochs}; set schedule.milestones too"
            )
        return self


class OwnSchedule(Schedule):
    """A function of your own, or one of torch's schedulers, by import path; see your-own.md."""

    kind: Annotated[str, Field(pattern=r"^[^:]+:[^:]+$", max_length=200)]
    """`package.module:function` of a package that is allowed, called as `(step, steps_per_epoch, epochs,
    lr_max, **options)` for every step from 0; or a scheduler class, such as
    `torch.optim.lr_scheduler:ExponentialLR`."""
    epochs: Epochs
    """Number of epochs."""
    lr_max: FoundRate = "find"
    """The `lr_max` that it receives, or `"find"`: chosen by the range test."""
    step: Literal["batch", "epoch"] = "batch"
    """When a scheduler class steps."""
    options: Annotated[dict[str, Any], BeforeValidator(finite)] = {}
    """Additional arguments, by their own names."""


def kind(schedule: Any) -> str:
    """Return the tag of a schedule's kind; of what is no table a tag whose schema says so."""
    usual = "triangle"
    named = schedule.get("kind", usual) if isinstance(schedule, dict) else getattr(schedule, "kind", usual)
    return "module:function" if isinstance(named, str) and ":" in named else str(named)


AnySchedule = Annotated[
    Annotated[Triangle, Tag("triangle")]
    | Annotated[OneCycle, Tag("one_cycle_lr")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Piecewise, Tag("piecewise")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Step, Tag("step")]
    | Annotated[OwnSchedule, Tag("module:function")],
    Discriminator(kind),
]


class RangeTest(Strict):
    """The learning-rate range test; see :mod:`harness.training.range_test`."""

    start_lr: PositiveRate = 1e-4
    """The learning rate of the first step."""
    end_lr: PositiveRate = 1.0
    """The learning rate of the last step."""
    iterations: Annotated[int, Field(ge=5, le=100_000)] = 196
    """Number of steps, each with a higher learning rate."""
    mode: Literal["exponential", "linear"] = "exponential"
    """How the learning rate rises."""
    criterion: Literal["accuracy", "steepest", "valley", "minimum", "valley_minimum"] = "accuracy"
    """How LRMAX is chosen: the peak of the smoothed accuracy, the steepest fall of the smoothed loss,
    the point two thirds along its longest fall (`valley`), its minimum, or the geometric mean of the last two
    (`valley_minimum`). docs/range-test.md compares them."""
    lr_min_divisor: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """LRMAX divided by LRMIN."""
    seed: Seed = 0
    """Random seed of its initialisation and batches; with `per = "seed"` each run uses its own seed."""
    repeats: Annotated[int, Field(ge=1, le=20)] | None = None
    """Number of sweeps, each with its own initialisation and batches; LRMAX is the median of their choices.
    By default 3 if the schedule has a rate `"find"`, else 1."""
    per: Literal["variant", "seed"] | None = None
    """`variant`: all runs of a variant share one LRMAX. `seed`: each run finds its own, so that the ± over
    seeds includes the search, as if `vary` named `range_test`. The default follows `vary`: `variant`."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.start_lr < self.end_lr:
            raise ValueError(f"start_lr must be below end_lr, got {self.start_lr:g} and {self.end_lr:g}")
        return self

    @model_validator(mode="after")
    def _one_seed(self) -> Self:
        if self.per == "seed" and self.seed != 0:
            raise ValueError('per = "seed" takes each run\'s own seed; leave out seed')
        return self

    def resolved(self, *, finds: bool, own: bool = False) -> RangeTest:
        """Return the settings with ``repeats`` and ``per``.

        Args:
            finds: whether the schedule leaves a rate open.
            own: whether each run finds its own.
        """
        sweeps = self.repeats or (SWEEPS if finds else 1)
        per = "seed" if finds and (own or self.per == "seed") else "variant"
        return self.model_copy(update={"repeats": sweeps, "per": per})

    def deciding(self, *, finds: bool) -> dict[str, Any]:
        """Return what decides its result; defaults of later versions are left out, so that digests stay."""
        settings = self.resolved(finds=finds, own=self.per == "seed")
        usual = RangeTest().resolved(finds=finds)
        later = {key for key in ("repeats", "per") if getattr(settings, key) == getattr(usual, key)}
        return settings.model_dump(mode="json", exclude=later)

    @property
    def sweeps(self) -> int:
        """The number of sweeps; call it on resolved settings."""
        return self.repeats or 1
