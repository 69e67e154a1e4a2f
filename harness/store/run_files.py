"""The CSV files of a run and of a range test: their columns, and how they are written.

The names are a contract: others' scripts read them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HISTORY = (
    "variant", "seed", "epoch", "lr", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy",
    "train_seconds", "eval_seconds", "images_per_second", "raw_loss", "raw_accuracy",
)  # fmt: skip
LATER_HISTORY = {"raw_loss", "raw_accuracy"}  # columns that files of earlier versions do not have
# The names until version 0.2, of the test split or the hold-out alike; written beside the new ones until 0.4.
OLD_HISTORY = {"eval_loss": "test_loss", "eval_accuracy": "test_accuracy"}
OLD_METRICS = {
    "accuracy": "test_accuracy",
    "loss": "test_loss",
    "ties": "test_ties",
    "best_accuracy": "best_test_accuracy",
}
LEARNING_RATES = ("variant", "iteration", "epoch", "lr")
RANGE_TEST = ("iteration", "lr", "loss", "smoothed_loss", "accuracy", "smoothed_accuracy", "repeat")


def with_old_names(values: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, Any]:
    """Return the values, and at the end those that have an old name under it too."""
    return {**values, **{name: values[new] for new, name in old.items() if new in values}}


def with_new_names(values: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, Any]:
    """Return values that an earlier version wrote, and those under an old name under the new one too."""
    return {**{new: values[name] for new, name in old.items() if name in values}, **values}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV: an unknown value is an empty cell, numbers are not rounded.

    csv writes a float as the shortest text that reads back as the same number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
