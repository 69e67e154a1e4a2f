"""Count the runs on a device: a run that shares its device takes more seconds than a run alone."""

from __future__ import annotations

import contextlib
import platform
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from harness.data.cache import cache_folder


@contextlib.contextmanager
def count_runs_on(device: str) -> Iterator[Callable[[], int | None]]:
    """Register this run on the device, and yield a function that counts the runs registered there.

    Every run holds a lock file in one folder of this user and machine; a lock dies with its process. Runs of
    other users, of other programs or with another cache folder are not seen.

    Yields:
        A function that counts the runs, this one included; it returns None where the folder cannot be used.
    """
    name = re.sub(r"[^A-Za-z0-9.-]", "_", f"{platform.node()}-{_device_name(device)}")
    folder = cache_folder() / "running" / name
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
    """Tell whether a process holds a lock file; remove it where its process was killed."""
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    except OSError:
        return False
    return False


def _device_name(device: str) -> str:
    """Return a device's name; a GPU's is its UUID, the same for all processes whichever GPUs they see."""
    torch_device = torch.device(device)
    if torch_device.type != "cuda":
        return torch_device.type
    properties = torch.cuda.get_device_properties(torch_device)
    return str(getattr(properties, "uuid", torch_device))  # without UUIDs, torch's own number
