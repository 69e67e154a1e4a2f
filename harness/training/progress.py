"""The progress of a run or a range test: a line an epoch, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ignite.engine import Engine, Events

from harness.console import fitted, give_up
from harness.messages import duration
from harness.training.log import Epoch

Say = Callable[[str], None]

PAUSE = 0.5  # seconds between two reports within an epoch


@dataclass(frozen=True)
class Progress:
    """How far a run or a range test is.

    Attributes:
        share: of its steps, in [0, 1].
        place: where it is, such as ``epoch 3 of 8``.
        line: the numbers of an epoch that has ended; empty within one.
        steps, seconds: what was measured: steps that have ended, and how long they took, evaluation included;
            0 where nothing was.
        sweep: whether this is a range test, which may also be the first part of a run.
    """

    share: float
    place: str
    line: str = ""
    steps: int = 0
    seconds: float = 0.0
    sweep: bool = False


@runtime_checkable
class Listener(Protocol):
    """A function that says lines, and hears of progress as well."""

    def __call__(self, line: str) -> None:
        """Show a line that stays."""

    def hear(self, progress: Progress) -> None:
        """Take in how far the task is."""


def say(line: str) -> None:
    """Write a line to stderr, a closed stderr is no reason to fail."""
    try:
        print(fitted(line, sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def silent(line: str) -> None:
    """Say nothing."""


def report(speak: Say, name: str, progress: Progress) -> None:
    """Tell a listener of progress; any other function is given the line of an epoch, with the run's name."""
    if isinstance(speak, Listener):
        speak.hear(progress)
    elif progress.line:
        speak(f"{name}  {progress.line}")


def watch(trainer: Engine, speak: Say, progress: Callable[[Engine], Progress]) -> None:
    """Tell a listener of the steps within an epoch, some times a second."""
    if not isinstance(speak, Listener):
        return
    last = time.monotonic()

    def tell(engine: Engine) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            speak.hear(progress(engine))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, tell)


def within_run(engine: Engine) -> Progress:
    """Return how far a run is, from its trainer within an epoch."""
    epochs = engine.state.max_epochs or 1
    steps = epochs * (engine.state.epoch_length or 1)
    return Progress(engine.state.iteration / steps, f"epoch {engine.state.epoch} of {epochs}")


def after_epoch(epochs: int, steps: int, row: Epoch, split: str = "test") -> Progress:
    """Return how far a run is after an epoch, with a line of the epoch's numbers.

    Args:
        epochs: of the run.
        steps: of an epoch.
        split: what was evaluated: ``test`` or ``hold-out``.
    """
    place = f"epoch {row.epoch:>{len(str(epochs))}} of {epochs}"
    seconds = row.train_seconds + row.eval_seconds
    accuracy = f"{'' if split == 'test' else f'{split} '}accuracy {_percent(row.eval_accuracy)}"
    if row.raw_accuracy is not None:
        accuracy += f" (not averaged {_percent(row.raw_accuracy)})"
    loss = f"{row.train_loss:.3f}" if row.train_loss < 1000 else f"{row.train_loss:.1e}"
    line = f"{place}  train loss {loss}  {accuracy}  lr {row.lr:<7.2g} {duration(seconds)}"
    return Progress(row.epoch / epochs, place, line, steps, seconds)


def _percent(share: float) -> str:
    """Write ``96.2 %``, `` 9.1 %`` or `` 100 %``, all of one width."""
    return f"{100 * share:4.1f} %" if share < 0.9995 else " 100 %"
