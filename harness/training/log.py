"""The log of a run: a row an epoch, the rate of every step, and the tables and numbers made from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch.optim import Optimizer

from harness.device import synchronize
from harness.optimizers import rate_of
from harness.plan import Variant
from harness.store.run_files import (
    HISTORY,
    LEARNING_RATES,
    OLD_HISTORY,
    csv_text,
    with_new_names,
    with_old_names,
)


@dataclass(frozen=True)
class Epoch:
    """A row of ``history.csv``.

    Attributes:
        lr: the rate of the epoch's first step.
        raw_loss, raw_accuracy: of the weights as trained, where their average was evaluated; else None.
    """

    variant: str
    seed: int
    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    eval_loss: float
    eval_accuracy: float
    train_seconds: float
    eval_seconds: float
    images_per_second: float
    raw_loss: float | None = None
    raw_accuracy: float | None = None


class Log:
    """The measurements of a run so far; a part of its checkpoint.

    Its methods ``start_clock``, ``stop_clock``, ``note_rate`` and ``end_epoch`` are handlers of the trainer.

    Attributes:
        epochs: the finished ones.
        rates: the learning rate of every step.
        runs_at_once: runs on the device at the end of each epoch, where that is known.
        count_runs: counts the runs on the device now.
        origin: code, versions, threads and machine of this process.
        earlier_origins: origins of earlier, killed processes that differ from this one's.
        doubts: why the results may mislead; not in a checkpoint, as each process finds them itself.
    """

    def __init__(self, variant: Variant, seed: int) -> None:
        self.variant, self.seed = variant, seed
        self.epochs: list[Epoch] = []
        self.rates: list[float] = []
        self.runs_at_once: list[int] = []
        self.count_runs: Callable[[], int | None] = lambda: None
        self.origin: dict[str, Any] = {}
        self.earlier_origins: list[dict[str, Any]] = []
        self.doubts = [variant.doubt] if variant.doubt else []
        self._started = 0.0

    def start_clock(self) -> None:
        """Store the time at which the epoch's training starts."""
        self._started = time.perf_counter()

    def stop_clock(self, engine: Engine) -> None:
        """Store how long the epoch's training took."""
        synchronize(self.variant.device)
        engine.state.metrics["train_seconds"] = time.perf_counter() - self._started

    def note_rate(self, optimizer: Optimizer) -> None:
        """Store the learning rate of a step, before any parameter group's factor."""
        self.rates.append(rate_of(optimizer))

    def end_epoch(self, engine: Engine) -> None:
        """Add the epoch's row, and show it in ``engine.state.metrics``, which trackers read."""
        measured = engine.state.metrics
        row = Epoch(
            variant=self.variant.name,
            seed=self.seed,
            epoch=engine.state.epoch,
            lr=self.rates[(engine.state.epoch - 1) * self.variant.steps_per_epoch],
            train_loss=float(measured["loss"]),
            train_accuracy=float(measured["accuracy"]),
            eval_loss=measured["eval_loss"],
            eval_accuracy=measured["eval_accuracy"],
            train_seconds=measured["train_seconds"],
            eval_seconds=measured["eval_seconds"],
            images_per_second=self.variant.images_an_epoch / measured["train_seconds"],
            raw_loss=measured.get("raw_loss"),
            raw_accuracy=measured.get("raw_accuracy"),
        )
        self.epochs.append(row)
        if (runs := self.count_runs()) is not None:
            self.runs_at_once.append(runs)
        engine.state.metrics |= with_old_names(asdict(row), OLD_HISTORY)
        if row.raw_accuracy is None:  # then what was evaluated is the weights as trained
            engine.state.metrics |= {"raw_loss": row.eval_loss, "raw_accuracy": row.eval_accuracy}

    def state_dict(self) -> dict[str, Any]:
        """Return the log as plain data, for a checkpoint."""
        return {
            "rows": [asdict(row) for row in self.epochs],
            "rates": list(self.rates),
            "runs_at_once": list(self.runs_at_once),
            "origins": [*self.earlier_origins, self.origin],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the log with a checkpoint's."""
        names = [part.name for part in fields(Epoch)]
        rows = (with_new_names(row, OLD_HISTORY) for row in state["rows"])  # version 0.2 has the old ones
        self.epochs, self.rates = (
            [Epoch(**{name: row[name] for name in names if name in row}) for row in rows],
            list(state["rates"]),
        )
        self.runs_at_once = list(state.get("runs_at_once", ()))
        self.earlier_origins = [origin for origin in state["origins"] if origin != self.origin]

    def history(self) -> str:
        """Return ``history.csv``."""
        rows = (
            with_old_names({name: getattr(row, name) for name in HISTORY}, OLD_HISTORY) for row in self.epochs
        )
        return csv_text((*HISTORY, *OLD_HISTORY.values()), (list(row.values()) for row in rows))

    def learning_rates(self) -> str:
        """Return ``learning_rates.csv``."""
        steps, name = self.variant.steps_per_epoch, self.variant.name
        rows = ((name, step + 1, step // steps + 1, rate) for step, rate in enumerate(self.rates))
        return csv_text(LEARNING_RATES, rows)

    def timings(self) -> dict[str, Any]:
        """Return seconds over all processes that worked on the run, and the fewest and most runs at once."""
        train = math.fsum(row.train_seconds for row in self.epochs)
        evaluation = math.fsum(row.eval_seconds for row in self.epochs)
        timings: dict[str, Any] = {
            "seconds": train + evaluation,
            "train_seconds": train,
            "eval_seconds": evaluation,
        }
        if self.runs_at_once and len(self.runs_at_once) == len(self.epochs):
            timings["runs_at_once"] = [min(self.runs_at_once), max(self.runs_at_once)]
        if self.epochs:
            timings["images_per_second"] = float(np.median([row.images_per_second for row in self.epochs]))
        return timings
