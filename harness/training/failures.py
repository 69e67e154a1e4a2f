"""Failures of runs: the cause, the advice and the record."""

from __future__ import annotations

import errno
from dataclasses import replace

import torch

from harness.errors import RunError
from harness.messages import one_line
from harness.plan import Variant
from harness.store.folders import RunFolder
from harness.store.records import Failure, RunRecord

# Words in torch.save's errors about a full disk; Ignite's learning-rate finder uses torch.save.
_TORCH_SAVE = ("inline_container", "PytorchStreamWriter", "iostream error")


class NonFiniteLoss(RunError):
    """The training diverged; this is a result, which is kept and not repeated."""

    def __init__(self, iteration: int, epoch: int, *, evaluated: bool = False) -> None:
        message = f"loss not finite at iteration {iteration} (epoch {epoch}); lower the learning rate"
        if evaluated:
            message = f"test {message}, or check the network in evaluation mode: the train loss is finite"
        super().__init__(message)
        self.iteration = iteration


def first_record(variant: Variant, folder: RunFolder) -> RunRecord:
    """Return the record of a run that starts, with the causes of its earlier failures."""
    before = folder.record()
    errors = [*before.earlier_errors, before.error] if before else []
    return variant.record(
        folder.seed,
        "running",
        earlier_errors=[error for error in errors if error],
        metrics={"parameters": variant.outline.parameters},
        classes=list(variant.classes),
        image_shape=list(variant.outline.image_shape),
        planned=before.planned if before else {},
    )


def record_failure(variant: Variant, folder: RunFolder, error: RunError, kind: str) -> None:
    """Record the failure of a run that could not start, or whose process died; the next start repeats it."""
    before = folder.record()
    record = replace(
        first_record(variant, folder),
        status="failed",
        error={**failure(error, variant), "kind": kind},
        provenance=before.provenance if before else {},  # the next start uses the same number of threads
    )
    folder.write(record)


def failure(error: Exception, variant: Variant) -> Failure:
    """Return the ``error`` of run.json: kind, one-line message, and the iteration if there is one."""
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
        message = f"the temporary folder is full or cannot be written; set TMPDIR to another ({text})"
        return {"kind": "disk_full", "message": message}
    return {"kind": type(error).__name__, "message": f"{type(error).__name__}: {text}"}
