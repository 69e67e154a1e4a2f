"""Finished runs to CSV: pure functions of what was read, byte for byte the same on every rebuild."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.report.results import HISTORY, RATES, SWEEP, Results, Run
from harness.report.statistics import Distribution, confusion
from harness.report.summary import VariantSummary
from harness.store import canonical

Cells = Iterable[Sequence[Any]]

RUNS = (
    "variant", "seed", "status", "epochs", "test_accuracy", "test_loss", "train_accuracy",
    "best_test_accuracy", "best_epoch", "epochs_to_target", "seconds_to_target", "parameters", "lr_min",
    "lr_max", "seconds", "error",
)  # fmt: skip
SPREAD = ("mean", "std", "sem", "ci_low", "ci_high", "minimum", "maximum")
SUMMARY = (
    "variant", "evaluated_on", "runs", "failed", "test_accuracy_mean", "test_accuracy_std",
    "test_accuracy_sem", "test_accuracy_ci_low", "test_accuracy_ci_high", "test_accuracy_min",
    "test_accuracy_max", "target", "reached", "test_loss_mean", "test_loss_std", "train_accuracy_mean",
    "train_accuracy_std", "parameters", "seconds_mean", "seconds_std",
)  # fmt: skip
COMPARISONS = (
    "variant", "baseline", "test", "n", "difference", "ci_low", "ci_high", "p", "p_holm", "effect_size",
    "verdict",
)  # fmt: skip
PER_CLASS = ("variant", "seed", "class", "images", "correct", "accuracy")
MISCLASSIFIED = ("variant", "seed", "index", "label", "predicted", "confidence")
MODEL = ("variant", "layer", "output_shape", "parameters", "bytes")


def build_tables(results: Results, summaries: list[VariantSummary]) -> dict[str, str]:
    """Name -> CSV text of every table; numbers are unrounded, unknown ones are empty cells."""
    return {
        "runs": _csv(RUNS, _runs(results)),
        "history": _csv(("variant", "seed", *HISTORY), _history(results)),
        "summary": _csv(SUMMARY, map(_summary, summaries)),
        "comparisons": _csv(COMPARISONS, ()),
        "per_class": _csv(PER_CLASS, _per_class(results)),
        "misclassified": _csv(MISCLASSIFIED, _misclassified(results)),
        "range_test": _csv(("variant", *SWEEP), _range_test(results)),
        "learning_rates": _csv(("variant", *RATES), _learning_rates(results)),
        "model": _csv(MODEL, model_rows(results)),
    }


def _csv(columns: Sequence[str], rows: Cells) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # csv writes floats by repr: the shortest text that reads back as the same number
    writer.writerows(rows)
    return text.getvalue()


def _runs(results: Results) -> Iterator[list[Any]]:
    for run in results.runs:
        row: dict[str, Any] = {column: run.number(column) for column in RUNS[3:-2]}
        yield [run.variant, run.seed, run.status, *row.values(), run.number("seconds", "timings"), run.error]


def _history(results: Results) -> Iterator[list[Any]]:
    for run in results.runs:
        for row in run.history:
            yield [run.variant, run.seed, *row.values()]


def _summary(summary: VariantSummary) -> list[Any]:
    return [
        summary.variant,
        summary.evaluated_on,
        summary.runs,
        summary.failed,
        *_spread(summary.test_accuracy, *SPREAD),
        summary.target,
        summary.reached,
        *_spread(summary.test_loss, "mean", "std"),
        *_spread(summary.train_accuracy, "mean", "std"),
        summary.parameters,
        *_spread(summary.seconds, "mean", "std"),
    ]


def _spread(distribution: Distribution | None, *names: str) -> list[float | None]:
    return [None if distribution is None else getattr(distribution, name) for name in names]


def _per_class(results: Results) -> Iterator[list[Any]]:
    for run in results.finished:
        matrix = run_confusion(run)
        for name, row, correct in zip(run.classes, matrix, matrix.diagonal(), strict=True):
            images = int(row.sum())
            yield [
                run.variant,
                run.seed,
                name,
                images,
                int(correct),
                int(correct) / images if images else None,
            ]


def run_confusion(run: Run) -> np.ndarray:
    """The (C, C) counts of a finished run's evaluation: rows are labels, columns predictions."""
    assert run.predictions is not None
    return confusion(run.predictions.predicted, run.predictions.labels, len(run.classes))


def _misclassified(results: Results) -> Iterator[tuple[Any, ...]]:
    """Every error of every finished run; ``index`` is the image's place in the evaluation split, from 0."""
    for run in results.finished:
        assert run.predictions is not None
        wrong = run.predictions.wrong
        columns = (run.predictions.labels, run.predictions.predicted, run.predictions.confidence)
        for row in zip(wrong.tolist(), *(column[wrong].tolist() for column in columns), strict=True):
            yield run.variant, run.seed, *row


def _range_test(results: Results) -> Iterator[list[Any]]:
    for variant, sweep in results.sweeps.items():
        for row in sweep.rows:
            yield [variant, *row.values()]


def _learning_rates(results: Results) -> Iterator[list[Any]]:
    """Of a variant's first finished run: the rate of a step does not depend on the seed."""
    for variant in results.variants:
        for run in results.of(variant, "finished")[:1]:
            for row in run.rates:
                yield [variant, *row.values()]


def model_rows(results: Results) -> list[list[Any]]:
    """The parameter summary of every variant whose network a run recorded; equal networks are built once."""
    built: dict[str, list[list[Any]]] = {}
    rows = []
    for variant in results.variants:
        for run in [run for run in results.of(variant) if run.classes and run.recipe.get("model")][:1]:
            key = canonical([run.recipe["model"], len(run.classes), run.record["image_shape"]])
            if key not in built:
                built[key] = _summarise_model(run)
            rows += [[variant, *row] for row in built[key]]
    return rows


def _summarise_model(run: Run) -> list[list[Any]]:
    import torch

    from harness.models import build_model
    from harness.models.summary import summarise

    options = dict(run.recipe["model"])
    try:
        with torch.device("meta"):  # shapes only: no time, no memory and no random numbers
            model = build_model(options.pop("name"), options, len(run.classes))
            layers = summarise(model, tuple(run.record["image_shape"]))
    except HarnessError:  # a network of someone's package that is not installed here
        return []
    return [[row.layer, "x".join(map(str, row.output_shape)), row.parameters, row.bytes] for row in layers]
