"""What lies in a study's folder, read once and trusted only where every checksum holds."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.errors import RunError
from harness.messages import one_line
from harness.schedule import count_steps
from harness.statistics.classification import Reliability, brier_score, count_ties, log_softmax, reliability
from harness.statistics.ensemble import ensemble_predictions
from harness.store.atomic import open_regular, sha256_file
from harness.store.folders import RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.store.run_files import HISTORY, LEARNING_RATES, RANGE_TEST
from harness.store.sealed import read_sealed
from harness.study_file.config import Study
from harness.study_file.values import NAME_PATTERN

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outcome = Literal["finished", "failed", "missing"]
Row = dict[str, float | None]

WHOLE_NUMBERS = {"epoch", "iteration"}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the last epoch's logits said of the N evaluation images: all arrays (N,), in the split's order.

    Attributes:
        ties: images whose largest logit is that of several classes.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    brier: float
    ties: int

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image's predicted class is its label."""
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
    """One run, planned or found; finished and failed ones have a record, finished ones predictions."""

    folder: RunFolder
    status: Outcome
    error: str = ""
    record: RunRecord | None = None
    history: tuple[Row, ...] = ()
    predictions: Predictions | None = None

    @property
    def variant(self) -> str:
        """The variant's name."""
        return self.folder.variant

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.folder.seed

    @property
    def failed_by_recipe(self) -> bool:
        """Whether it failed by its recipe: it diverged, or its network raised an error."""
        return self.record is not None and self.record.failed_by_recipe

    @property
    def threads(self) -> int:
        """Threads it was trained with, as far as this machine has them; its report computes with as many.

        So a report depends on its runs alone, and a busy machine's one thread is not made two again.
        """
        from harness.device import threads_for, usable_cores

        recorded = self.record and self.record.threads
        return min(recorded, usable_cores()) if recorded else threads_for(1)

    @property
    def has_weights(self) -> bool:
        """Whether its network can be looked into; results may be kept or published without weights."""
        return self.folder.weights_file.is_file()

    @property
    def classes(self) -> list[str]:
        """Class names, by label."""
        return [str(name) for name in self.record.classes] if self.record else []

    @property
    def recipe(self) -> dict[str, Any]:
        """The variant as it was resolved when this run was made."""
        return self.record.recipe if self.record else {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W) as the network sees it; zeros where it is unknown."""
        channels, height, width = self.record.image_shape if self.record else (0, 0, 0)
        return channels, height, width

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides its result but the seed; empty where nothing is known."""
        return self.record.identity if self.record else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Code, versions, hardware, precision and data; empty where nothing is known."""
        return self.record.provenance if self.record else {}

    @property
    def data(self) -> dict[str, Any]:
        """What its provenance says of the data."""
        return self.record.data if self.record else {}

    def number(self, key: str, table: Literal["metrics", "timings"] = "metrics") -> float | None:
        """A metric or timing of the record; None where it is unknown."""
        return None if self.record is None else self.record.number(key, table)

    def arrival(self, target: float) -> Arrival | None:
        """When it first reached the target, from its history; None where it never did, or did not finish."""
        if self.status != "finished":
            return None
        accuracies = [row["test_accuracy"] for row in self.history]
        reached = (at for at, value in enumerate(accuracies, 1) if value is not None and value >= target)
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
        return read_columns(self.folder.path / "learning_rates.csv", LEARNING_RATES[1:])


@dataclass(frozen=True, eq=False)
class Sweep:
    """A variant's range test: what it measured and what was chosen; ``error`` where it cannot be trusted."""

    variant: str
    rows: tuple[Row, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, eq=False)
class Results:
    """A study's runs, by variant in its order and then by seed, and its range tests.

    Attributes:
        ensembles: for a variant with several finished runs on the same images, the classes (N,) that their
            averaged probabilities predict.
    """

    study: Study
    runs: tuple[Run, ...]
    sweeps: dict[str, Sweep]
    ensembles: dict[str, NDArray[np.int64]]

    @cached_property
    def variants(self) -> list[str]:
        """Variants that have a run, planned or on disk."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str, status: Outcome | None = None) -> list[Run]:
        """The runs of a variant, all or those of one status."""
        return [run for run in self.runs if run.variant == variant and status in (None, run.status)]

    def with_weights(self, variant: str) -> list[Run]:
        """The finished runs of a variant whose networks can be looked into."""
        return [run for run in self.of(variant, "finished") if run.has_weights]

    @property
    def finished(self) -> list[Run]:
        """All finished runs."""
        return [run for run in self.runs if run.status == "finished"]


def read_results(study: Study, folder: StudyFolder, seeds: Iterable[int], variants: Iterable[str]) -> Results:
    """Everything a report is made of: the planned runs and every run folder on disk, each file read once.

    A run whose files are not what was written counts as failed, with an error that begins with ``damaged:``.
    """
    planned = {(variant, seed) for variant in variants for seed in seeds}
    found = {(run.variant, run.seed) for run in folder.runs() if re.fullmatch(NAME_PATTERN, run.variant)}
    order = {name: place for place, name in enumerate(study.recipes)}
    cells = sorted(planned | found, key=lambda cell: (order.get(cell[0], len(order)), *cell))
    runs: list[Run] = []
    ensembles: dict[str, NDArray[np.int64]] = {}
    for variant, group in itertools.groupby(cells, key=lambda cell: cell[0]):
        votes = _Votes()
        runs += [_read_run(folder.run(*cell), votes) for cell in group]
        if (predicted := votes.predicted()) is not None:
            ensembles[variant] = predicted
    names = dict.fromkeys([*study.recipes, *(run.variant for run in runs)])
    sweeps = {name: sweep for name in names if (sweep := _read_sweep(folder, name)) is not None}
    return Results(study, tuple(runs), sweeps, ensembles)


class _Votes:
    """A variant's probabilities, added up while its runs are read: one array, however many runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.labels: NDArray[np.int64] | None = None
        self.total: NDArray[np.float64] | None = None

    def add(self, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> None:
        """Runs on other images than the first one's leave no ensemble."""
        self.runs += 1
        if self.labels is None:
            self.labels, self.total = labels, probabilities
        elif self.total is not None and np.array_equal(labels, self.labels):
            self.total += probabilities
        else:
            self.total = None

    def predicted(self) -> NDArray[np.int64] | None:
        """The ensemble's classes; None of one run."""
        return ensemble_predictions(self.total) if self.runs > 1 and self.total is not None else None


def _read_run(folder: RunFolder, votes: _Votes) -> Run:
    try:
        status = folder.status()
        if status in ("missing", "partial"):
            return Run(folder, "missing")
        record = folder.verify() if status == "finished" else folder.record()
        if record is None:  # it went away this moment
            return Run(folder, "missing")
        if status == "failed":
            return Run(folder, "failed", _cause(record), record, _failed_history(folder, record))
        _check_record(record)
        history = read_columns(folder.path / "history.csv", HISTORY[2:])
        found, probabilities = _read_predictions(folder, len(record.classes))
        votes.add(found.labels, probabilities)
        return Run(folder, "finished", "", record, history, found)
    except (RunError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return Run(folder, "failed", _damage(folder.path, error))


def _check_record(record: RunRecord) -> None:
    for table in ("classes", "timings", "provenance", "recipe"):
        if not getattr(record, table):
            raise RunError(f"run.json: {table} is missing")
    for key in ("test_accuracy", "test_loss"):
        if record.number(key) is None:
            raise RunError(f"run.json: metrics.{key} is not a number")


def _damage(path: Path, error: Exception) -> str:
    text = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
    # The folder's own path would make the tables depend on where they are built.
    text = one_line(text.replace(f"{path}/", "").replace(f"{path}: ", ""))
    return "damaged: " + text.replace(": damaged (", " (", 1)


def _cause(record: RunRecord) -> str:
    error = record.error or {}
    kind, text = error.get("kind", "failed"), str(error.get("message", "no cause recorded"))
    if not text.startswith(f"{kind}: "):
        text = f"{kind}: {text}"
    iteration = error.get("iteration")
    if iteration is not None and f"iteration {iteration}" not in text:
        text += f" (iteration {iteration})"
    return one_line(text)


def _failed_history(folder: RunFolder, record: RunRecord) -> tuple[Row, ...]:
    """The epochs before the failure, where the file is what the record vouches for."""
    path, recorded = folder.path / "history.csv", record.files.get("history.csv")
    try:
        if recorded is not None and sha256_file(path) != recorded:
            return ()
        return read_columns(path, HISTORY[2:])
    except (RunError, OSError, ValueError):
        return ()


def _read_predictions(folder: RunFolder, classes: int) -> tuple[Predictions, NDArray[np.float64]]:
    """And the probabilities (N, C), which are too large to be kept for every run."""
    path = folder.path / "predictions.npz"
    with np.load(path, allow_pickle=False) as arrays:
        logits, labels = arrays["logits"], arrays["labels"]
    if logits.ndim != 2 or logits.shape != (len(labels), classes) or len(labels) == 0:
        raise RunError(
            f"{path}: logits {logits.shape} and labels {labels.shape} of {classes} classes do not fit"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise RunError(f"{path}: labels outside 0 to {classes - 1}")
    probabilities = np.exp(log_softmax(logits))
    predicted = logits.argmax(axis=1).astype(np.int64)
    confidence = probabilities[np.arange(len(labels)), predicted]
    brier = brier_score(probabilities, labels)
    ties = count_ties(logits)
    return Predictions(labels.astype(np.int64), predicted, confidence, brier, ties), probabilities


def _read_sweep(folder: StudyFolder, variant: str) -> Sweep | None:
    path, table = folder.range_test_json(variant), folder.range_test_csv(variant)
    try:
        record = read_sealed(path)
        if record is None:
            return None
        if sha256_file(table) != record["csv_sha256"]:
            raise RunError(f"{table.name}: damaged (its checksum does not match)")
        return Sweep(variant, read_columns(table, RANGE_TEST), record)
    except (RunError, OSError, KeyError, ValueError) as error:
        return Sweep(variant, error=_damage(path.parent, error))


def read_columns(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    """Rows of numbers from a CSV file, by column name; an empty cell is None.

    Raises:
        RunError: a column is missing or a cell is no number.
    """
    with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise RunError(f"{path}: no column {missing[0]}")
        places = [(name, header.index(name), int if name in WHOLE_NUMBERS else float) for name in columns]
        try:
            return tuple(
                {name: kind(row[at]) if row[at] else None for name, at, kind in places} for row in reader
            )
        except (ValueError, IndexError):
            raise RunError(f"{path}: line {reader.line_num}: not numbers") from None
