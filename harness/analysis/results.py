"""Read a study's folder once; files are trusted only where their checksums are right."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.measures import lacking, read_arrays, study_metrics
from harness.analysis.runs import Predictions, RangeTestResult, Row, Run, RunStatus, by_seed, read_columns
from harness.errors import RunError
from harness.messages import one_line
from harness.metrics import Metric, measure, metric_of
from harness.statistics.classification import brier_score, count_ties, log_softmax
from harness.statistics.ensemble import ensemble_predictions
from harness.store.atomic import sha256_file
from harness.store.folders import RunFolder, StudyFolder
from harness.store.published import read_records
from harness.store.records import RunRecord
from harness.store.run_files import HISTORY, LATER_HISTORY, OLD_HISTORY, RANGE_TEST
from harness.store.sealed import read_sealed
from harness.study_file.config import Study
from harness.study_file.values import NAME_PATTERN

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Results:
    """A study's runs, by variant in its order and then by seed, and its range tests.

    Attributes:
        ensembles: for a variant with several finished runs on the same images, the classes (N,) that their
            averaged probabilities predict.
    """

    study: Study
    runs: tuple[Run, ...]
    range_tests: dict[str, RangeTestResult]
    ensembles: dict[str, NDArray[np.int64]]

    @cached_property
    def variants(self) -> list[str]:
        """Variants that have a run, planned or on disk."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str, status: RunStatus | None = None) -> list[Run]:
        """Return the runs of a variant, all or those of one status."""
        return [run for run in self.runs if run.variant == variant and status in (None, run.status)]

    def with_weights(self, variant: str) -> list[Run]:
        """Return the finished runs of a variant whose weights are on disk."""
        return [run for run in self.of(variant, "finished") if run.has_weights]

    def range_tests_of(self, variant: str) -> list[RangeTestResult]:
        """Return the range test of a variant, or those of its runs where each finds its own LRMAX."""
        own = [run.range_test for run in self.of(variant) if run.range_test is not None]
        shared = self.range_tests.get(variant)
        return own if shared is None else [shared, *own]

    @cached_property
    def all_range_tests(self) -> list[RangeTestResult]:
        """Every range test on disk, by variant and then by seed."""
        names = dict.fromkeys([*self.range_tests, *self.variants])
        order = {name: place for place, name in enumerate(self.study.recipes)}
        ordered = sorted(names, key=lambda name: order.get(name, len(order)))
        return [test for name in ordered for test in self.range_tests_of(name)]

    @cached_property
    def metric(self) -> Metric:
        """The target's metric, which decides every comparison."""
        return metric_of(self.study.target.of)

    @cached_property
    def metrics(self) -> list[Metric]:
        """The metrics that every run has, and the study's own."""
        return study_metrics(self.study)

    def by_seed(self, runs: Iterable[Run]) -> dict[int, float]:
        """Return the target's metric of finished runs: seed -> value, turned so that higher is better."""
        return by_seed(runs, self.metric)

    @property
    def finished(self) -> list[Run]:
        """All finished runs."""
        return [run for run in self.runs if run.status == "finished"]


def read_results(study: Study, folder: StudyFolder, seeds: Iterable[int], variants: Iterable[str]) -> Results:
    """Read the planned runs and every run folder on disk, each file once.

    A run with damaged files counts as failed, with an error that begins with ``damaged:``.

    Raises:
        StudyError: a metric of the study's own is not allowed, or cannot be imported.
    """
    planned = {(variant, seed) for variant in variants for seed in seeds}
    on_disk = {(run.variant, run.seed) for run in folder.runs() if re.fullmatch(NAME_PATTERN, run.variant)}
    order = {name: place for place, name in enumerate(study.recipes)}
    cells = sorted(planned | on_disk, key=lambda cell: (order.get(cell[0], len(order)), *cell))
    metrics = study_metrics(study)
    runs: list[Run] = []
    ensembles: dict[str, NDArray[np.int64]] = {}
    for variant, group in itertools.groupby(cells, key=lambda cell: cell[0]):
        of_variant, predicted = read_variant(folder, variant, [seed for _, seed in group], metrics)
        runs += of_variant
        if predicted is not None:
            ensembles[variant] = predicted
    names = dict.fromkeys([*study.recipes, *(run.variant for run in runs)])
    range_tests = {
        name: range_test for name in names if (range_test := _read_range_test(folder, name)) is not None
    }
    return Results(study, tuple(runs), range_tests, ensembles)


def read_variant(
    folder: StudyFolder, variant: str, seeds: Iterable[int], metrics: Sequence[Metric]
) -> tuple[list[Run], NDArray[np.int64] | None]:
    """Read the runs of a variant with these seeds; and the classes (N,) that their ensemble predicts."""
    votes = _Votes()
    runs = [_read_run(folder.run(variant, seed), votes, metrics) for seed in seeds]
    return runs, votes.predicted()


def read_published(folder: StudyFolder, variant: str) -> list[Run]:
    """Read the published records of a variant's runs, which have neither history nor predictions.

    Raises:
        RunError: the file of records is damaged.
    """
    file = folder.path / "runs" / f"{variant}.json"
    try:
        records = [RunRecord.from_json(record) for record in read_records(file)]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: damaged: {type(error).__name__}: {one_line(error)}") from None
    statuses: dict[str, RunStatus] = {"finished": "finished", "failed": "failed"}
    return [
        Run(
            folder.run(variant, record.seed),
            statuses.get(record.status, "missing"),
            _cause(record) if record.status == "failed" else "",
            record,
        )
        for record in records
    ]


class _Votes:
    """Sums a variant's probabilities while its runs are read, so that memory holds one array for all runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.labels: NDArray[np.int64] | None = None
        self.holdout: int | None = None
        self.total: NDArray[np.float64] | None = None

    def add(self, labels: NDArray[np.int64], holdout: int, probabilities: NDArray[np.float64]) -> None:
        """Add a run's probabilities; there is no ensemble where its images are not the first run's.

        Args:
            holdout: which hold-out it was evaluated on; two may have the same labels in the same order.
        """
        self.runs += 1
        if self.labels is None:
            self.labels, self.holdout, self.total = labels, holdout, probabilities
        elif self.total is not None and holdout == self.holdout and np.array_equal(labels, self.labels):
            self.total += probabilities
        else:
            self.total = None

    def predicted(self) -> NDArray[np.int64] | None:
        """Return the classes that the ensemble predicts; None for fewer than two runs."""
        return ensemble_predictions(self.total) if self.runs > 1 and self.total is not None else None


def _read_run(folder: RunFolder, votes: _Votes, metrics: Sequence[Metric]) -> Run:
    try:
        status = folder.status()
        if status in ("missing", "partial"):
            return Run(folder, "missing")
        record = folder.verify() if status == "finished" else folder.record()
        if record is None:  # another process has removed it meanwhile
            return Run(folder, "missing")
        range_test = _read_range_test(folder.study, folder.variant, folder.seed)
        if status == "failed":
            history = _failed_history(folder, record)
            return Run(folder, "failed", _cause(record), record, history, range_test=range_test)
        _check_record(record)
        history = read_columns(folder.path / "history.csv", HISTORY, LATER_HISTORY, OLD_HISTORY)
        logits, labels, clusters = read_arrays(folder.path / "predictions.npz", len(record.classes))
        predictions, probabilities = _predictions(logits, labels, clusters)
        computed, failed = measure(logits, labels, lacking(record, metrics))
        run = Run(folder, "finished", "", record, history, predictions, range_test, computed, tuple(failed))
        votes.add(predictions.labels, run.seeds.holdout, probabilities)
        return run
    except (RunError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return Run(folder, "failed", _damage(folder.path, error))


def _check_record(record: RunRecord) -> None:
    for table in ("classes", "timings", "provenance", "recipe"):
        if not getattr(record, table):
            raise RunError(f"run.json: {table} is missing")
    for key in ("accuracy", "loss"):
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
    """Return the epochs before the failure, where the file has the checksum in the record."""
    path, recorded = folder.path / "history.csv", record.files.get("history.csv")
    try:
        if recorded is not None and sha256_file(path) != recorded:
            return ()
        return read_columns(path, HISTORY, LATER_HISTORY, OLD_HISTORY)
    except (RunError, OSError, ValueError):
        return ()


def _predictions(
    logits: NDArray[np.float32], labels: NDArray[np.int64], clusters: NDArray[np.int64] | None
) -> tuple[Predictions, NDArray[np.float64]]:
    """Return the predictions; and the probabilities (N, C), which are too large to keep for every run."""
    probabilities = np.exp(log_softmax(logits))
    predicted = logits.argmax(axis=1).astype(np.int64)
    confidence = probabilities[np.arange(len(labels)), predicted]
    predictions = Predictions(
        labels,
        predicted,
        confidence,
        brier_score(probabilities, labels),
        count_ties(logits),
        clusters,
    )
    return predictions, probabilities


def _read_range_test(folder: StudyFolder, variant: str, seed: int | None = None) -> RangeTestResult | None:
    path, table = folder.range_test_json(variant, seed), folder.range_test_csv(variant, seed)
    try:
        record = read_sealed(path)
        if record is None:
            return None
        if sha256_file(table) != record["csv_sha256"]:
            raise RunError(f"{table.name}: damaged (its checksum does not match)")
        if "repeats" in record:
            return RangeTestResult(variant, read_columns(table, RANGE_TEST), record, seed=seed)
        columns = [name for name in RANGE_TEST if name != "repeat"]  # version 0.2: one sweep
        rows = tuple({**row, "repeat": 1} for row in read_columns(table, columns))
        return RangeTestResult(variant, rows, record, seed=seed)
    except (RunError, OSError, KeyError, ValueError) as error:
        return RangeTestResult(variant, error=_damage(path.parent, error), seed=seed)
