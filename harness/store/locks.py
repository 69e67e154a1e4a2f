"""Lock files: who holds what, across processes; on a local disk a lock dies with its process."""

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
    """Hold a lock file; it dies with its process on a local disk.

    Args:
        what: named in the message.
        wait: until the holder is done; else a held lock is an error.
        say: told once who is waited for.

    Raises:
        HeldError: held by another process, which is named.
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
            # It may be let go at this very moment.
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
    """Write who holds the lock; never through a link to elsewhere, nor into a pipe that nobody reads."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o666)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
