"""The progress of a run: a line an epoch, and a bar on a terminal or in a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar

from harness.bar import Bar
from harness.console import give_up
from harness.training.log import Epoch

Say = Callable[[str], None]


def say(line: str) -> None:
    """Write a line to stderr, above a bar if there is one; a closed stderr is no reason to fail."""
    from tqdm import tqdm

    try:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


def silent(line: str) -> None:
    """Say nothing."""


def attach_bar(engine: Engine, description: str, speak: Say) -> None:
    """Show a bar of an epoch's batches with the running loss, on a terminal or in a notebook."""
    notebook = type(sys.stderr).__module__.startswith("ipykernel")
    if speak is say and (sys.stderr.isatty() or notebook):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns in a notebook without widgets, and draws text
            import tqdm.auto  # noqa: F401
        bar = ProgressBar(desc=description, persist=False, file=sys.stderr)
        if not notebook:
            bar.pbar_cls = Bar
        # Reading the loss waits for the device, so do it rarely.
        bar.attach(engine, event_name=Events.ITERATION_COMPLETED(every=10))

        # an epoch that the range test ends early never completes
        engine.add_event_handler(Events.TERMINATE | Events.TERMINATE_SINGLE_EPOCH, _close, bar)


def _close(*arguments: Any) -> None:
    bar = arguments[-1]
    if bar.pbar is not None:
        bar.pbar.close()
        bar.pbar = None


def epoch_line(name: str, epochs: int, row: Epoch, split: str = "test") -> str:
    """Write an epoch's numbers in a line, with the remaining time at this speed.

    Args:
        split: what it was evaluated on: ``test`` or ``hold-out``.
    """
    left = (epochs - row.epoch) * (row.train_seconds + row.eval_seconds)
    return (
        f"{name}  epoch {row.epoch:>{len(str(epochs))}}/{epochs}  lr {row.lr:.4g}  "
        f"train {row.train_loss:.4f} {row.train_accuracy:.2%}  "
        f"{split} {row.eval_loss:.4f} {row.eval_accuracy:.2%}  "
        + (f"raw {row.raw_accuracy:.2%}  " if row.raw_accuracy is not None else "")
        + f"{row.images_per_second:.0f} images/s"
        + (f"  {duration(left)} left" if left else "")
    )


def duration(seconds: float) -> str:
    """Write ``40 s``, ``12 min`` or ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
