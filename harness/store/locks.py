"""Lock files between processes; on a local disk a lock ends with its process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HeldError, RunError
from harness.messages import one_line
from harness.store.atomic import open_regular


@contextmanager
def locked(
    path: Path, what: str, *, wait: bool = True, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a lock file; on a local disk the lock ends with its process.

    Args:
        what: the locked thing, for messages.
        wait: wait for the holder; else a held lock is an error.
        say: prints once which process is waited for.

    Raises:
        HeldError: another process holds it; the message names the process.
        RunError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    holder = path.with_suffix(".holder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = ""
            # the holder may release it at this moment
            with suppress(OSError, UnicodeDecodeError), open_regular(holder) as file:
                who = one_line(file.read(200).decode())
            held = f"{what} is held by {who or 'another process'}"
            if not wait:
                raise HeldError(f"{held}; wait for it, or stop it") from None
            if say is not None:
                say(f"{held}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise RunError(f"{path}: cannot be locked: {error.strerror or error}") from error
    try:
        with suppress(OSError):
            _name_holder(holder)
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _name_holder(path: Path) -> None:
    """Write which process holds the lock; do not follow a link, and do not wait for a pipe's reader."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o666)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
