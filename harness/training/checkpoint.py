"""Checkpoints: Ignite's ``Checkpoint`` with a save handler that is atomic, durable and checksummed.

A checkpoint is written after an epoch, while the training continues, as often as its cost allows.
"""

from __future__ import annotations

import copy
import hashlib
import io
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers import Checkpoint
from ignite.handlers.checkpoint import BaseSaveHandler

from harness.errors import RunError
from harness.store.atomic import atomic_write, open_regular

SHARE = 0.05  # of a run's time, for its checkpoints


class DamagedCheckpoint(RunError):
    """A checkpoint that is damaged, or that another version wrote."""


class Writer:
    """Writes files one after another, in its own thread or at once.

    A thread's error is raised by the next call, or at the end of the ``with`` block, which waits for the last
    file.

    Args:
        beside: use a thread. With a training on the CPU it would slow the training's own threads.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside
        self._thread = ThreadPoolExecutor(1, "write")  # starts its thread with the first work
        self._begun: list[Future[None]] = []

    def write(self, work: Callable[[], None]) -> Future[None]:
        """Do this work after all earlier work."""
        if not self._beside:
            work()
            done: Future[None] = Future()
            done.set_result(None)
            return done
        self._raise_failed()
        self._begun.append(self._thread.submit(work))
        return self._begun[-1]

    def _raise_failed(self) -> None:
        while self._begun and self._begun[0].done():
            self._begun.pop(0).result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._raise_failed()


class CheckpointSaver(BaseSaveHandler):
    """Writes one file: a line with the SHA-256 of the rest, then what ``torch.save`` makes.

    Args:
        digest: identifies the owner of the state.
        writer: writes a copy of the state, while the training changes the state itself.
        share: how much of the time checkpoints may take; 1 writes one after every epoch.
    """

    def __init__(self, path: Path, digest: str, writer: Writer, share: float = SHARE) -> None:
        self.path, self.digest, self.writer, self.share = path, digest, writer, share
        self.last: Future[None] | None = None
        self.began, self.seconds = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Tell whether to write a checkpoint: the last one is written, and long enough ago for its cost."""
        if self.share >= 1:
            return True
        written = self.last is None or self.last.done()
        return written and self.seconds <= self.share * (time.perf_counter() - self.began)

    def __call__(
        self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint in place of the last one."""
        self.began = time.perf_counter()
        self.last = self.writer.write(partial(self._write, _copy(dict(checkpoint))))

    def _write(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save({"digest": self.digest, "state": state}, buffer)
        content = buffer.getvalue()
        atomic_write(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        self.seconds = time.perf_counter() - self.began

    def remove(self, filename: str) -> None:
        """Do nothing: the newer checkpoint has replaced the older one already."""


def _copy(state: Any) -> Any:
    """Return a copy in the host's memory, which the training does not change."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        copied = copy.copy(state)  # keeps torch's attribute with the modules' versions
        copied.update({key: _copy(value) for key, value in state.items()})
        return copied
    if isinstance(state, list | tuple):
        return type(state)(map(_copy, state))
    return state


class EpochCheckpoint(Checkpoint):
    """Ignite's ``Checkpoint``, called after every epoch; it saves when a new checkpoint is due.

    After the last epoch none is saved, because the finished run is written.

    Args:
        state: name -> object with a ``state_dict``.
        unsaved: names state of the training that ``state`` lacks; with any name nothing is saved.
    """

    def __init__(
        self, state: Mapping[str, Any], saver: CheckpointSaver, unsaved: Callable[[], str] = lambda: ""
    ) -> None:
        super().__init__(dict(state), saver, n_saved=None)
        self.saver, self.unsaved = saver, unsaved

    def __call__(self, engine: Engine) -> None:
        """Save a checkpoint if one is due."""
        if engine.state.epoch < (engine.state.max_epochs or 0) and self.saver.due() and not self.unsaved():
            super().__call__(engine)


def load_checkpoint(path: Path, state: Mapping[str, Any], digest: str) -> bool:
    """Load a checkpoint into the objects of a training.

    Returns:
        Whether there was a checkpoint.

    Raises:
        DamagedCheckpoint: the file is damaged (no object has been changed), or was written by another
            version (some objects may have been changed: make new ones).
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
    except Exception:  # unpickling unknown bytes may raise anything
        raise DamagedCheckpoint(f"{path}: not a checkpoint of ours") from None
    if owner != digest:
        raise RunError(f"{path}: belongs to another configuration; --force moves the run aside")
    try:
        Checkpoint.load_objects(to_load=dict(state), checkpoint=saved_state)
    except Exception:  # so may an object that gets another object's state
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this version") from None
    return True
