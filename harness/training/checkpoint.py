"""Checkpoints: Ignite's ``Checkpoint`` with a save handler that is atomic, durable and checksummed.

One is written after an epoch, beside the training, and as often as its cost allows.
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

SHARE = 0.05  # of a run's time that its checkpoints may take


class DamagedCheckpoint(RunError):
    """A checkpoint that is not what was written, or that another version wrote."""


class Writer:
    """Writes files one after another, in a thread of its own or at once.

    A thread's error is raised by the next call, or at the end of the ``with`` block, which waits for the last
    file.

    Args:
        beside: use a thread. Beside a training on the CPU, it would slow the training's own threads.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside
        self._thread = ThreadPoolExecutor(1, "write")  # makes no thread before it has work
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
        digest: whose state it is.
        writer: writes a copy of the state, while the training changes the state itself.
        share: how much of the time checkpoints may take; 1 writes one after every epoch.
    """

    def __init__(self, path: Path, digest: str, writer: Writer, share: float = SHARE) -> None:
        self.path, self.digest, self.writer, self.share = path, digest, writer, share
        self.last: Future[None] | None = None
        self.began, self.seconds = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Tell whether a new one is due: the last one is written, and long enough ago for its cost."""
        if self.share >= 1:
            return True
        written = self.last is None or self.last.done()
        return written and self.seconds <= self.share * (time.perf_counter() - self.began)

    def __call__(
        self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write a new checkpoint over the last one."""
        self.began = time.perf_counter()
        self.last = self.writer.write(partial(self._write, _copy(dict(checkpoint))))

    def _write(self, state: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save({"digest": self.digest, "state": state}, buffer)
        content = buffer.getvalue()
        atomic_write(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        self.seconds = time.perf_counter() - self.began

    def remove(self, filename: str) -> None:
        """Do nothing: the newer checkpoint has replaced the older one."""


def _copy(state: Any) -> Any:
    """Return a copy in the host's memory, which the training does not change."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        copied = copy.copy(state)  # with what torch hangs on a state dict: its modules' versions
        copied.update({key: _copy(value) for key, value in state.items()})
        return copied
    if isinstance(state, list | tuple):
        return type(state)(map(_copy, state))
    return state


class EpochCheckpoint(Checkpoint):
    """Ignite's ``Checkpoint``, called after every epoch: it saves where a new one is due.

    After the last epoch the run itself is written.

    Args:
        state: name -> object with a ``state_dict``.
        lost: names what the training goes on from and ``state`` does not hold; nothing is saved then.
    """

    def __init__(
        self, state: Mapping[str, Any], saver: CheckpointSaver, lost: Callable[[], str] = lambda: ""
    ) -> None:
        super().__init__(dict(state), saver, n_saved=None)
        self.saver, self.lost = saver, lost

    def __call__(self, engine: Engine) -> None:
        """Save, perhaps."""
        if engine.state.epoch < (engine.state.max_epochs or 0) and self.saver.due() and not self.lost():
            super().__call__(engine)


def load_checkpoint(path: Path, state: Mapping[str, Any], digest: str) -> bool:
    """Load a checkpoint into the objects of a training.

    Returns:
        Whether there is one.

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
