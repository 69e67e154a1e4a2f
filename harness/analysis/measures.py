"""The metrics of runs on disk: as their records have them, else computed from predictions.npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import RunError
from harness.imports import source_digests
from harness.metrics import METRICS, Metric, measure, metric_of
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.study_file.config import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]


def study_metrics(study: Study) -> list[Metric]:
    """Return the metrics that every run has, and the study's own.

    Raises:
        StudyError: one of these is not allowed, or cannot be imported.
    """
    return [*METRICS.values(), *map(metric_of, study.own_metrics)]


def lacking(record: RunRecord, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that a record does not have, or has by other code than there is now."""
    own = [metric.name for metric in metrics if metric.name not in METRICS]
    sources, recorded = source_digests(own), record.provenance.get("metrics") or {}
    changed = {name for name in own if recorded.get(name) != sources[name]}
    return [metric for metric in metrics if metric.name in changed or record.number(metric.name) is None]


def number_of(folder: RunFolder, record: RunRecord, metric: Metric) -> float | None:
    """Return a metric of a finished run; None where it is not defined or a user's own failed.

    Raises:
        RunError: it has to be computed, and the predictions are damaged.
    """
    if not lacking(record, [metric]):
        return record.number(metric.name)
    logits, labels, _ = read_arrays(folder.path / "predictions.npz", len(record.classes))
    return measure(logits, labels, [metric])[0].get(metric.name)


def read_arrays(path: Path, classes: int) -> Arrays:
    """Return logits (N, C), labels (N,) and clusters (N,), if there are any, of a run's predictions.

    Raises:
        RunError: they do not fit each other.
    """
    with np.load(path, allow_pickle=False) as arrays:
        logits, labels = arrays["logits"], arrays["labels"]
        clusters = arrays["clusters"].astype(np.int64) if "clusters" in arrays else None
    if logits.ndim != 2 or logits.shape != (len(labels), classes) or len(labels) == 0:
        raise RunError(
            f"{path}: logits {logits.shape} and labels {labels.shape} of {classes} classes do not fit"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise RunError(f"{path}: labels outside 0 to {classes - 1}")
    if clusters is not None and clusters.shape != labels.shape:
        raise RunError(f"{path}: clusters {clusters.shape} and labels {labels.shape} do not fit")
    return logits.astype(np.float32, copy=False), labels.astype(np.int64, copy=False), clusters
