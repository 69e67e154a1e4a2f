"""Epoch checkpoints: ignite's ``Checkpoint`` with a save handler that is atomic, durable and checksummed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.checkpoint import BaseSaveHandler

from harness.errors import RunError
from harness.files import open_regular
from harness.store import atomic_write


class DamagedCheckpoint(RunError):
    """A checkpoint that is not what was written."""


class AtomicSaver(BaseSaveHandler):
    """Writes one file: a line with the SHA-256 of the rest, then what ``torch.save`` makes."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest

    def __call__(
        self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Replace the checkpoint by a newer one."""
        buffer = io.BytesIO()
        torch.save({"digest": self.digest, "state": dict(checkpoint)}, buffer)
        content = buffer.getvalue()
        atomic_write(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def remove(self, filename: str) -> None:
        """Nothing to do: the newer checkpoint has replaced the older one."""


def attach_checkpoint(trainer: Engine, state: Mapping[str, Any], path: Path, digest: str) -> None:
    """Write a checkpoint after every epoch but the last, after which the run itself is written."""

    def unfinished(engine: Engine, epoch: int) -> bool:
        return epoch < (engine.state.max_epochs or 0)

    checkpoint = Checkpoint(dict(state), AtomicSaver(path, digest), n_saved=None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(event_filter=unfinished), checkpoint)


def load_checkpoint(path: Path, state: Mapping[str, Any], digest: str) -> bool:
    """Put everything back as it was after the last full epoch.

    Returns:
        False where there is no checkpoint.

    Raises:
        DamagedCheckpoint: the file is not what was written (nothing has been changed), or was written by
            another version (what was to be loaded has to be made anew).
        RunError: it belongs to another configuration.
    """
    try:
        with open_regular(path) as file:
            checksum, _, content = file.read().partition(b"\n")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise DamagedCheckpoint(f"{path}: damaged, its checksum does not match")
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        owner, saved_state = saved["digest"], saved["state"]
    except Exception:  # whatever unpickling meets in bytes that are not ours
        raise DamagedCheckpoint(f"{path}: not a checkpoint of ours") from None
    if owner != digest:
        raise RunError(f"{path}: belongs to another configuration; --force moves the run aside")
    try:
        Checkpoint.load_objects(to_load=dict(state), checkpoint=saved_state)
    except Exception:  # whatever an object says of a state that is not its own
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this version") from None
    return True
