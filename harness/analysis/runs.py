"""A study's runs and range tests as they were read from disk."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.data.arrays import count_steps
from harness.errors import RunError
from harness.metrics import Metric
from harness.seeding import RunSeeds
from harness.statistics.classification import Reliability, confusion, reliability
from harness.store.atomic import open_regular
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.store.run_files import LEARNING_RATES
from harness.study_file.vary import recorded_seeds, varies

if TYPE_CHECKING:
    from numpy.typing import NDArray

RunStatus = Literal["finished", "failed", "missing", "not needed"]
Row = dict[str, float | None]

TEXTS = {"variant", "seed"}  # columns that are not read: the folder's path gives them
WHOLE_NUMBERS = {"epoch", "iteration", "repeat"}


@dataclass(frozen=True, eq=False)
class Predictions:
    """The last epoch's predictions for the N evaluation images: all arrays (N,), in the split's order.

    Attributes:
        ties: images whose largest logit is that of several classes.
        clusters: of the images, equal numbers for one cluster; None where the run has none.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    brier: float
    ties: int
    clusters: NDArray[np.int64] | None = None

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the predicted class of each image is its label."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    @cached_property
    def reliability(self) -> Reliability:
        """Confidence against accuracy, in bins."""
        return reliability(self.confidence, self.correct)

    @property
    def wrong(self) -> NDArray[np.intp]:
        """Indices of the images whose predicted class is not their label."""
        return np.flatnonzero(~self.correct)


@dataclass(frozen=True)
class Arrival:
    """Epochs, steps and seconds of training to the end of the first epoch that reached the target."""

    epochs: int
    steps: int | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Run:
    """A run, planned or on disk; finished and failed runs have a record, finished ones also predictions.

    Attributes:
        range_test: its own, where each run finds its LRMAX.
        computed: metrics that its record lacks, computed from its predictions.
        unmeasured: a line for each of the study's own metrics that failed.
        label: its variant's name among results of other folders; empty for the folder's own name.
    """

    folder: RunFolder
    status: RunStatus
    error: str = ""
    record: RunRecord | None = None
    history: tuple[Row, ...] = ()
    predictions: Predictions | None = None
    range_test: RangeTestResult | None = None
    computed: Mapping[str, float] = field(default_factory=dict)
    unmeasured: tuple[str, ...] = ()
    label: str = ""

    @property
    def variant(self) -> str:
        """The variant's name."""
        return self.label or self.folder.variant

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.folder.seed

    @property
    def name(self) -> str:
        """``base/seed-0``."""
        return f"{self.variant}/seed-{self.seed}"

    @property
    def failed_by_recipe(self) -> bool:
        """Whether it failed by its recipe: it diverged, or its network raised an error."""
        return self.record is not None and self.record.failed_by_recipe

    @property
    def threads(self) -> int:
        """Threads it was trained with, as far as this machine has them; its report computes with as many.

        So a report depends on its runs alone: more threads than they had would change its last digits.
        """
        from harness.device import threads_for, usable_cores

        recorded = self.record and self.record.threads
        return min(recorded, usable_cores()) if recorded else threads_for(1)

    @property
    def has_weights(self) -> bool:
        """Whether its weights are on disk; results may be kept or published without them."""
        return self.folder.weights_file.is_file()

    @property
    def classes(self) -> list[str]:
        """Class names, by label."""
        return [str(name) for name in self.record.classes] if self.record else []

    @property
    def recipe(self) -> dict[str, Any]:
        """The variant as it was resolved when this run was made."""
        return self.record.recipe if self.record else {}

    @cached_property
    def seeds(self) -> RunSeeds:
        """The seed of each source of randomness, as its recipe has it."""
        return recorded_seeds(self.recipe, self.seed)

    @property
    def own_holdout(self) -> bool:
        """Whether the hold-out differs between the runs of its variant."""
        data = self.recipe.get("data") or {}
        return varies(self.recipe.get("vary"), data.get("holdout_draws"), "holdout")

    @property
    def own_rates(self) -> bool:
        """Whether each run of its variant finds its own rates, where the study leaves one open."""
        per = (self.recipe.get("range_test") or {}).get("per")
        return per == "seed" or "range_test" in (self.recipe.get("vary") or ())

    @property
    def independent(self) -> bool:
        """Whether the runs of its variant are independent: no crossed design, and one hold-out for all."""
        return not self.own_holdout and not isinstance(self.recipe.get("vary"), dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W) as the network sees it; zeros where it is unknown."""
        channels, height, width = (self.record and self.record.image_shape) or (0, 0, 0)
        return channels, height, width

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its result, except for the seed; empty where nothing is known."""
        return self.record.identity if self.record else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Code, versions, hardware, precision and data; empty where nothing is known."""
        return self.record.provenance if self.record else {}

    @property
    def data(self) -> dict[str, Any]:
        """The data's entry in its provenance."""
        return self.record.data if self.record else {}

    def number(self, key: str, table: Literal["metrics", "timings"] = "metrics") -> float | None:
        """Return a metric or timing; None where it is unknown."""
        if table == "metrics" and key in self.computed:
            return self.computed[key]
        return None if self.record is None else self.record.number(key, table)

    def arrival(self, metric: Metric, level: float) -> Arrival | None:
        """Return when a metric first was at the level.

        Returns:
            None where it never was, where the run did not finish, and where no epoch has the metric.
        """
        if self.status != "finished" or metric.history is None:
            return None
        values = [row[metric.history] for row in self.history]
        reached = (
            at for at, value in enumerate(values, 1) if value is not None and metric.reaches(value, level)
        )
        if (epoch := next(reached, None)) is None:
            return None
        images = self.data.get("train_images")
        data = self.recipe.get("data") or {}
        batch, drop_last = data.get("batch_size"), data.get("drop_last", False)
        steps = epoch * count_steps(images, batch, drop_last) if images and batch else None
        return Arrival(epoch, steps, math.fsum(row["train_seconds"] or 0.0 for row in self.history[:epoch]))

    @cached_property
    def rates(self) -> tuple[Row, ...]:
        """Every step's learning rate, from ``learning_rates.csv``; empty where the run is not finished."""
        if self.status != "finished":
            return ()
        return read_columns(self.folder.path / "learning_rates.csv", LEARNING_RATES)

    @property
    def highest_rate(self) -> tuple[float, int] | None:
        """The highest learning rate of a step, and the first such step, from 1; None if unknown."""
        rates = [(row["lr"], -int(row["iteration"] or 0)) for row in self.rates if row["lr"] is not None]
        rate, step = max(rates, default=(None, 0))
        return None if rate is None else (rate, -step)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(C, C) counts of a finished run's evaluation: rows are labels, columns predictions."""
        assert self.predictions is not None
        return confusion(self.predictions.predicted, self.predictions.labels, len(self.classes))


@dataclass(frozen=True, eq=False)
class RangeTestResult:
    """A range test: what it measured and what was chosen; ``error`` where it cannot be trusted.

    Attributes:
        seed: of the run that found its own rates; None for the range test of a variant.
    """

    variant: str
    rows: tuple[Row, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    seed: int | None = None

    @property
    def name(self) -> str:
        """``base``, or ``base/seed-0`` of a run's own."""
        return self.variant if self.seed is None else f"{self.variant}/seed-{self.seed}"

    @property
    def repeats(self) -> int:
        """The number of its sweeps; 1 where the record, of an earlier version, does not say."""
        return int(self.record.get("repeats", 1))

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest LRMAX of its sweeps; None for one sweep."""
        low, high = self.record.get("lr_max_low"), self.record.get("lr_max_high")
        return None if low is None or high is None or self.repeats < 2 else (low, high)

    @cached_property
    def sweeps(self) -> tuple[tuple[Row, ...], ...]:
        """The rows of each sweep."""
        rows: dict[float, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row["repeat"] or 1, []).append(row)
        return tuple(tuple(steps) for steps in rows.values())


def read_columns(
    path: Path, columns: Sequence[str], later: Collection[str] = (), old: Mapping[str, str] | None = None
) -> tuple[Row, ...]:
    """Read rows of numbers from a CSV file, by column name but for ``TEXTS``; an empty cell is None.

    Args:
        later: columns that may be missing, as files of earlier versions do not have them; then they are None.
        old: names that columns had in earlier versions, by the new name.

    Raises:
        RunError: a column is missing or a cell is no number.
    """
    with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        names = [name for name in columns if name not in TEXTS]
        for new, name in (old or {}).items():
            if new not in header and name in header:
                header[header.index(name)] = new
        absent = [name for name in names if name not in header]
        if missing := [name for name in absent if name not in later]:
            raise RunError(f"{path}: no column {missing[0]}")
        names = [name for name in names if name in header]
        places = [(name, header.index(name), int if name in WHOLE_NUMBERS else float) for name in names]
        try:
            return tuple(
                dict.fromkeys(absent)
                | {name: kind(row[at]) if row[at] else None for name, at, kind in places}
                for row in reader
            )
        except (ValueError, IndexError):
            raise RunError(f"{path}: line {reader.line_num}: not numbers") from None


def same_images(runs: Sequence[Run]) -> bool:
    """Return whether split and labels are the same; the images may be scaled or normalised anew.

    Where the hold-out varies from run to run, it must do so in all runs, and runs of one seed must share one.
    Where a run lacks its predictions, as published ones do, the data must be the same.
    """
    if any(run.predictions is None for run in runs) and len({run.data.get("sha256") for run in runs}) != 1:
        return False
    kinds = {(run.data.get("evaluated_on"), run.own_holdout) for run in runs}
    holdouts: dict[int, set[int]] = {}  # seed -> hold-outs
    labels: dict[int, list[NDArray[np.int64]]] = {}  # hold-out -> labels of each run
    for run in runs:
        holdouts.setdefault(run.seed, set()).add(run.seeds.holdout)
        if run.predictions is not None:
            labels.setdefault(run.seeds.holdout, []).append(run.predictions.labels)
    return (
        len(kinds) == 1
        and all(len(drawn) == 1 for drawn in holdouts.values())
        and all(np.array_equal(group[0], other) for group in labels.values() for other in group[1:])
    )


def by_seed(runs: Iterable[Run], metric: Metric) -> dict[int, float]:
    """Return a metric of finished runs: seed -> value, turned so that higher is better."""
    return {
        run.seed: metric.oriented(value) for run in runs if (value := run.number(metric.name)) is not None
    }
