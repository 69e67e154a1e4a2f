"""The CSV files of a run and of a range test: their columns, and how they are written.

The names are a contract: others' scripts read them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

HISTORY = (
    "variant", "seed", "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
    "train_seconds", "eval_seconds", "images_per_second", "raw_loss", "raw_accuracy",
)  # fmt: skip
LATER = {"raw_loss", "raw_accuracy"}  # columns of HISTORY that files of earlier versions do not have
LEARNING_RATES = ("variant", "iteration", "epoch", "lr")
RANGE_TEST = ("iteration", "lr", "loss", "smoothed_loss", "accuracy", "smoothed_accuracy", "repeat")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV: an unknown value is an empty cell, numbers are not rounded.

    csv writes a float as the shortest text that reads back as the same number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
