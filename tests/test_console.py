"""Interrupts that are not lost, and streams that may go away: each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# In the background of a script SIGINT would be ignored from the start.
USUAL = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
HEAD = "import signal, sys, time, weakref\nfrom harness.console import *\nheed_interrupts()\n"
WAIT = """
try:
    {does}
    time.sleep(30)
except KeyboardInterrupt:
    ignore_interrupts()
    signal.raise_signal(signal.SIGINT)
    sys.exit(130)
"""


def run(text: str, place: Path) -> subprocess.CompletedProcess[str]:
    """As a module, as the command is: how CPython ends depends on it."""
    (place / "attempt.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "attempt"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600, env=environment)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "does",
    [
        "signal.raise_signal(signal.{})",
        "exec('signal.raise_signal(signal.{})')",  # CPython would remember a plain KeyboardInterrupt
        "weakref.ref(type('A', (), {{}})(), lambda gone: signal.raise_signal(signal.{}))",  # and drop it here
    ],
)
def test_an_interrupt_is_heeded_wherever_it_falls_and_the_exit_status_is_ours(
    does: str, number: str, tmp_path: Path
) -> None:
    done = run(USUAL + HEAD + WAIT.format(does=does.format(number)), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_other_errors_in_a_finalizer_are_still_shown(tmp_path: Path) -> None:
    done = run(HEAD + "weakref.ref(type('A', (), {})(), lambda gone: 1 / 0)", tmp_path)
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr


def test_where_interrupts_are_ignored_they_stay_ignored(tmp_path: Path) -> None:
    ignored = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    assert run(f"{ignored}{HEAD}signal.raise_signal(signal.SIGINT)", tmp_path).returncode == 0


def test_an_interrupt_while_the_interpreter_ends_does_not_change_the_status(tmp_path: Path) -> None:
    dies = "def __del__(self, kill=__import__('os').kill, me=__import__('os').getpid()): kill(me, 15)"
    done = run(f"{HEAD}class Late:\n    {dies}\nlate = Late()", tmp_path)  # when the modules are cleared
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_without_streams_the_null_device_takes_their_place(closed: str, tmp_path: Path) -> None:
    text = (
        "from harness.console import *; open_streams(); settle_streams(); complain('lost'); print('lost');"
        "file = open('mine', 'w'); assert file.fileno() > 2; settle_streams()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, text]
    assert subprocess.run(command, cwd=tmp_path, env=environment, timeout=600).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_streams_that_cannot_be_written_are_given_up() -> None:
    text = (
        "from harness.console import *; complain('lost'); print('lost'); settle_streams(); complain('lost')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, stdout=full, stderr=full, env=environment, timeout=600)
    assert done.returncode == 0
