"""How many runs of this harness compute on a device at once: without it, a run's seconds say little."""

from __future__ import annotations

import contextlib
import platform
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from harness.data.cache import cache_folder


@contextlib.contextmanager
def counted(device: str) -> Iterator[Callable[[], int | None]]:
    """Count this run among those on the device.

    Every run holds a lock file in one folder of this user and machine; a lock dies with its process. Runs of
    other users, of other programs or with another cache folder are not seen.

    Yields:
        How many runs are on the device now, this one included; None where the folder cannot be used.
    """
    from filelock import FileLock

    folder = cache_folder() / "running" / _file_name(platform.node(), _device_name(device))
    mine = FileLock(folder / f"{secrets.token_hex(8)}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mine.acquire()
    except (OSError, NotImplementedError):
        yield lambda: None
        return
    try:
        yield lambda: 1 + sum(_held(path) for path in folder.glob("*.lock") if path != Path(mine.lock_file))
    finally:
        Path(mine.lock_file).unlink(missing_ok=True)
        mine.release()


def _held(path: Path) -> bool:
    """Whether a process holds a lock file; one of a process that was killed is removed."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    except OSError:
        return False
    return False


def _device_name(device: str) -> str:
    """The same for all processes, whichever GPUs they can see."""
    kind = torch.device(device)
    if kind.type != "cuda":
        return kind.type
    return str(getattr(torch.cuda.get_device_properties(kind), "uuid", kind))


def _file_name(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", "-".join(parts))
