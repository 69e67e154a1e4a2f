"""How runs fail: the non-finite stop, and the cause of a failure in words that say what to change."""

from __future__ import annotations

import errno
import math
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from harness.errors import RunError
from harness.messages import one_line
from harness.plan import Variant
from harness.store.folders import RunFolder
from harness.store.records import Failure

# What torch.save says of a full disk, as ignite's range test uses it.
_TORCH_SAVE = ("inline_container", "PytorchStreamWriter", "iostream error")


class NonFiniteLoss(RunError):
    """Training diverged; a result that is kept and not repeated."""

    def __init__(self, iteration: int, epoch: int, *, evaluated: bool = False) -> None:
        text = f"loss not finite at iteration {iteration} (epoch {epoch}); lower the learning rate"
        if evaluated:
            text = (
                f"test {text}, or look at what the network does in evaluation alone: the train loss is finite"
            )
        super().__init__(text)
        self.iteration = iteration


def stop_on_non_finite_loss(trainer: Engine, device: str) -> None:
    """Raise :class:`NonFiniteLoss` with the first iteration whose loss is not finite.

    On a CPU at that iteration; elsewhere looking at a loss waits for the device: at the end of its epoch.
    """
    looked_at = Events.ITERATION_COMPLETED if device == "cpu" else Events.EPOCH_COMPLETED
    losses: list[Tensor] = []  # since the last look, still on the device

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        losses.append(output["loss"])

    def look(engine: Engine) -> None:
        finite = torch.stack(losses).isfinite().tolist()
        first = engine.state.iteration - len(finite) + 1
        losses.clear()
        worst = next((first + at for at, fine in enumerate(finite) if not fine), math.inf)
        worst = float(idist.all_reduce(float(worst), "MIN"))
        if math.isfinite(worst):
            iteration = int(worst)
            raise NonFiniteLoss(iteration, 1 + (iteration - 1) // (engine.state.epoch_length or 1))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.add_event_handler(looked_at, look)


def earlier_errors(folder: RunFolder) -> list[Failure]:
    """Why earlier tries of this run failed, the last one included."""
    record = folder.record()
    if record is None:
        return []
    return [*record.earlier_errors, *([record.error] if record.error else [])]


def record_failure(variant: Variant, folder: RunFolder, error: RunError, kind: str) -> None:
    """Record a run that could not begin or did not live to say how it failed; the next start tries again."""
    before = folder.record()
    record = variant.record(
        folder.seed,
        "failed",
        error={**failure(error, variant), "kind": kind},
        earlier_errors=earlier_errors(folder),
        metrics={"parameters": variant.outline.parameters},
        classes=list(variant.classes),
        image_shape=list(variant.outline.image_shape),
        provenance=before.provenance if before else {},  # its threads are kept by the next start
    )
    folder.write(record)


def failure(error: Exception, variant: Variant) -> Failure:
    """run.json's ``error``: kind, one-line message, and the iteration where there is one."""
    if isinstance(error, NonFiniteLoss):
        return {"kind": "diverged", "message": str(error), "iteration": error.iteration}
    text = one_line(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "allocate memory" in text and not isinstance(error, RunError)
    ):
        batch = variant.recipe.data.batch_size
        advice = (
            f"out of memory with batches of {batch} on {variant.device}; lower data.batch_size or model.width"
        )
        return {"kind": "out_of_memory", "message": f"{advice} ({text})" if text else advice}
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, OSError):
        full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return {"kind": "disk_full" if full else "disk", "message": text}
    if isinstance(error, RunError):
        return {"kind": "damaged", "message": text}
    if any(word in text for word in _TORCH_SAVE):
        message = f"the temporary folder is full or cannot be written; TMPDIR names another ({text})"
        return {"kind": "disk_full", "message": message}
    return {"kind": type(error).__name__, "message": f"{type(error).__name__}: {text}"}
