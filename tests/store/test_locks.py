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


def test_a_free_lock_is_taken_without_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path / "x.lock", "x", say=said.append):
        assert said == []


def test_a_lock_is_free_again_after_an_error_inside_it(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with pytest.raises(ZeroDivisionError), locked(lock, "x", wait=False):
        raise ZeroDivisionError
    assert not lock.with_suffix(".holder").exists()
    with holder_process(lock):
        assert "held by process" in refusal(lock)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_holder_without_a_readable_name_is_another_process(tmp_path: Path, content: bytes | None) -> None:
    lock = tmp_path / "x.lock"
    with holder_process(lock):
        lock.with_suffix(".holder").unlink()
        if content is not None:
            lock.with_suffix(".holder").write_bytes(content)
        assert refusal(lock).startswith("study/base/seed-0 is held by another process; wait")


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_below_a_file_is_one_line(tmp_path: Path, wait: bool) -> None:
    (tmp_path / "file").write_text("x")
    lock = locked(tmp_path / "file" / "x.lock", "x", wait=wait)
    with pytest.raises(RunError, match=r"file/x\.lock: cannot be locked: ") as caught, lock:
        pass
    assert not isinstance(caught.value, HeldError)


def test_what_lies_in_the_holders_place_is_neither_written_through_nor_waited_for(tmp_path: Path) -> None:
    for kind in ("link", "pipe"):
        lock, mine = tmp_path / f"{kind}.lock", tmp_path / "mine"
        mine.write_text("keep")
        if kind == "link":
            lock.with_suffix(".holder").symlink_to(mine)
        else:
            os.mkfifo(lock.with_suffix(".holder"))
        with locked(lock, "work"):
            assert mine.read_text() == "keep"


def test_a_holders_name_is_shown_as_text(tmp_path: Path) -> None:
    lock = tmp_path / "run-base-0.lock"
    with holder_process(lock):
        lock.with_suffix(".holder").write_bytes(b"\x1b[2J\n" + 10_000 * b"x")
        message = refusal(lock)
    assert message.isprintable() and len(message) < 300
