"""Write files atomically; read only regular files."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import RunError

WINDOWS_TRIES = 100  # 5 s: a report is read faster, a virus scanner lets go sooner


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file atomically: a reader sees the old or the new file, never a part, even after a kill."""
    if isinstance(content, str):
        content = content.encode()
    # The random part is needed because processes of two containers may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:  # also after a signal
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another one; Windows refuses it while a reader has the other one open, so wait."""
    for _ in range(WINDOWS_TRIES if os.name == "nt" else 0):
        with suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(0.05)
    os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the file system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: as ``open``; also for what is not a regular file: reading a named pipe would never end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")
