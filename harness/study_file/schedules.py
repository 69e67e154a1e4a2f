"""``[schedule]`` and ``[range_test]``: the learning rate of every step, and the search for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.schema import Strict
from harness.study_file.values import Count, Seed, rate_or

Epochs = Annotated[int, Field(ge=1, le=100_000)]
FoundRate = Annotated[float | Literal["find"], rate_or("find")]
FinalRate = Annotated[float | Literal["lr_min"], rate_or("lr_min")]
PositiveRate = Annotated[float, Field(gt=0, le=1e6)]
SWEEPS = 3  # of a range test whose rate is used, where the study does not say how many
Divisor = Annotated[float, Field(ge=1e-6, le=1e12)]


class Schedule(Strict):
    """What every kind of schedule can be asked."""

    @property
    def finds(self) -> bool:
        """Whether a rate is left to the range test."""
        return "find" in (getattr(self, name, None) for name in ("lr", "lr_max", "lr_min"))


class Triangle(Schedule):
    """One cycle with straight legs: lr_min to lr_max at ``peak_epoch``, to ``final`` on the last step."""

    kind: Literal["triangle"] = "triangle"
    """Of the schedule; `triangle` where none is named."""
    epochs: Epochs
    """Passes over the train images."""
    peak_epoch: float
    """Epochs until the rate is highest, between 0 and `epochs`."""
    lr_max: FoundRate = "find"
    """The highest rate, or `"find"`: by the range test."""
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


class OneCycle(Schedule):
    """The form of torch's ``OneCycleLR`` with linear annealing, in steps of a batch or of an epoch."""

    kind: Literal["one_cycle_lr"]
    """Of the schedule."""
    epochs: Epochs
    """Passes over the train images."""
    lr_max: FoundRate
    """The highest rate, or `"find"`."""
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    """The share of the steps until then."""
    div_factor: Divisor = 25.0
    """`lr_max` divided by the first rate."""
    final_div_factor: Divisor = 1e4
    """The first rate divided by the last."""
    step: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    """When the published recipe called the scheduler."""
    total_steps: Count | None = None
    """Length of the cycle in its own steps; the recipe's, where that was not epochs times batches."""
    cycle_momentum: (
        Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None
    ) = None
    """`[lowest, highest]` of momentum (or beta1), which moves against the rate."""


class Constant(Schedule):
    """The same rate at every step."""

    kind: Literal["constant"]
    """Of the schedule."""
    epochs: Epochs
    """Passes over the train images."""
    lr: FoundRate
    """The rate, or `"find"`."""


class RangeTest(Strict):
    """The learning-rate range test; see :mod:`harness.training.range_test`."""

    start_lr: PositiveRate = 1e-4
    """The first step's rate."""
    end_lr: PositiveRate = 1.0
    """The last step's."""
    iterations: Annotated[int, Field(ge=5, le=100_000)] = 196
    """Steps, each with a higher rate."""
    mode: Literal["exponential", "linear"] = "exponential"
    """How the rate rises."""
    criterion: Literal["accuracy", "steepest", "valley", "minimum", "valley_minimum"] = "accuracy"
    """What of the sweep is LRMAX: the peak of the smoothed accuracy, the steepest fall of the smoothed loss,
    the point two thirds along its longest fall (`valley`), its minimum, or the geometric mean of the last two
    (`valley_minimum`). docs/range-test.md compares them."""
    lr_min_divisor: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """LRMAX divided by LRMIN."""
    seed: Seed = 0
    """Of its initialisation and batches; with `per = "seed"` each run's own seed takes its place."""
    repeats: Annotated[int, Field(ge=1, le=20)] | None = None
    """Sweeps, each with its own initialisation and batches; LRMAX is the median of their choices. Without it
    3 where a rate is to be found, else 1."""
    per: Literal["variant", "seed"] | None = None
    """`variant`: all runs of a variant share one LRMAX; `seed`: each run finds its own, so the ± over seeds
    includes the search, as if `vary` named `range_test`. Without it as `vary` says: `variant` by default."""

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
