"""Locks between real processes: refused with the holder's name, and gone with a killed holder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from harness.errors import HeldError, RunError
from harness.store.locks import locked

HOLDER = """
import sys, time
from pathlib import Path
from harness.store.locks import locked
with locked(Path(sys.argv[1]), "the other's work"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder_process(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def refusal(lock: Path) -> str:
    with pytest.raises(HeldError) as caught, locked(lock, "study/base/seed-0", wait=False):
        pass
    return str(caught.value)


def test_a_held_lock_is_refused_naming_its_process_and_host_and_dies_with_that_process(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "locks" / "run-base-0.lock"
    with holder_process(lock) as process:
        held = f"study/base/seed-0 is held by process {process.pid} on {socket.gethostname()}"
        for _ in range(2):  # being refused does not wipe the holder's name
            assert refusal(lock) == f"{held}; wait for it, or stop it"

        said: Queue[str] = Queue()
        got_it, done = threading.Event(), threading.Event()

        def wait_for_it() -> None:
            with locked(lock, "study/base/seed-0", say=said.put):
                got_it.set()
                done.wait(30)

        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        assert said.get(timeout=30) == f"{held}; waiting for it"
        assert refusal(lock).startswith(held), "nor does waiting"
        assert not got_it.is_set()
        process.send_signal(signal.SIGKILL)
        assert got_it.wait(30), "the lock dies with its killed process"
        mine = f"process {os.getpid()} on {socket.gethostname()}"
        assert lock.with_suffix(".holder").read_text().strip() == mine
        done.set()
        waiter.join()
        assert said.empty(), "said once"


def test_a_lock_is_free_again_after_an_error_inside_it(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with pytest.raises(ZeroDivisionError), locked(lock, "x", wait=False):
        raise ZeroDivisionError
    assert not lock.with_suffix(".holder").exists()
    with holder_process(lock):
        assert "held by process" in refusal(lock)


@pytest.mark.parametrize(
    ("content", "holder"),
    [
        (None, "another process; wait"),
        (b"", "another process; wait"),
        (b"\xff\xfe", "another process; wait"),
        (b"\x1b[2J\n" + 10_000 * b"x", "?[2J xxx"),
    ],
)
def test_a_holder_is_named_as_text_or_is_another_process(
    tmp_path: Path, content: bytes | None, holder: str
) -> None:
    lock = tmp_path / "x.lock"
    with holder_process(lock):
        lock.with_suffix(".holder").unlink()
        if content is not None:
            lock.with_suffix(".holder").write_bytes(content)
        message = refusal(lock)
    assert message.startswith(f"study/base/seed-0 is held by {holder}")
    assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_below_a_file_is_one_line(tmp_path: Path, wait: bool) -> None:
    (tmp_path / "file").write_text("x")
    lock = locked(tmp_path / "file" / "x.lock", "x", wait=wait)
    with pytest.raises(RunError, match=r"file/x\.lock: cannot be locked: ") as caught, lock:
        pass
    assert not isinstance(caught.value, HeldError)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_lies_in_the_holders_place_is_neither_written_through_nor_waited_for(
    tmp_path: Path, kind: str
) -> None:
    lock, mine = tmp_path / "x.lock", tmp_path / "mine"
    mine.write_text("keep")
    if kind == "link":
        lock.with_suffix(".holder").symlink_to(mine)
    else:
        os.mkfifo(lock.with_suffix(".holder"))
    said: list[str] = []
    with locked(lock, "work", say=said.append):
        assert mine.read_text() == "keep" and said == [], "a free lock is taken without a word"
