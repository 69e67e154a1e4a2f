"""Interrupts that are not lost, and streams that may go away: each in a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.console import plain

ENCODINGS = [
    "utf-8", "utf-16", "utf-7", "ascii", "latin-1", "iso8859-5", "koi8-r", "koi8-u", "cp1252", "cp437",
    "cp932", "shift_jis", "euc_jp", "iso2022_jp", "gb2312", "gbk", "gb18030", "big5", "euc_kr", "hz", "cp037",
]  # fmt: skip

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


def start(command: list[str], place: Path, streams: Any = subprocess.PIPE, **environment: str) -> Any:
    """Run a command to its end with this checkout's harness."""
    surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    return subprocess.run(command, cwd=place, stdout=streams, stderr=streams, timeout=600, env=surroundings)


def run(text: str, place: Path, *options: str, **environment: str) -> tuple[int, str, str]:
    """Run a text as a module, as the command is: how CPython ends depends on it; status, stdout, stderr."""
    (place / "attempt.py").write_text(text)
    done = start([sys.executable, *options, "-m", "attempt"], place, **environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


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
    assert run(USUAL + HEAD + WAIT.format(does=does.format(number)), tmp_path) == (130, "", "")


def test_other_errors_in_a_finalizer_are_still_shown(tmp_path: Path) -> None:
    status, _, said = run(HEAD + "weakref.ref(type('A', (), {})(), lambda gone: 1 / 0)", tmp_path)
    assert status == 0 and "ZeroDivisionError" in said


def test_where_interrupts_are_ignored_they_stay_ignored(tmp_path: Path) -> None:
    ignored = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    assert run(f"{ignored}{HEAD}signal.raise_signal(signal.SIGINT)", tmp_path)[0] == 0


def test_an_interrupt_while_the_interpreter_ends_does_not_change_the_status(tmp_path: Path) -> None:
    dies = "def __del__(self, kill=__import__('os').kill, me=__import__('os').getpid()): kill(me, 15)"
    # when the modules are cleared
    assert run(f"{HEAD}class Late:\n    {dies}\nlate = Late()", tmp_path) == (0, "", "")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_without_streams_the_null_device_takes_their_place(closed: str, tmp_path: Path) -> None:
    text = (
        "from harness.console import *; open_streams(); settle_streams(); complain('lost'); print('lost');"
        "file = open('mine', 'w'); assert file.fileno() > 2; settle_streams()"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, text]
    assert start(command, tmp_path, None).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_streams_that_cannot_be_written_are_given_up(tmp_path: Path) -> None:
    text = (
        "from harness.console import *; complain('lost'); print('lost'); settle_streams(); complain('lost')"
    )
    with open("/dev/full", "w") as full:
        assert start([sys.executable, "-c", text], tmp_path, full, PYTHONUNBUFFERED="").returncode == 0


@given(text=st.text(st.characters()), encoding=st.sampled_from(ENCODINGS))
@example(text="99.7 ± 0.0 % – 5×5 … ≤", encoding="ascii")
def test_any_text_can_be_written_in_any_encoding(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="harness.plain")
    stream.write(text)
    stream.flush()
    shown = plain(text, stream)
    with suppress(UnicodeError):  # what the encoding has stays as it is
        assert text.encode(encoding).decode(encoding) == shown
    assert plain(shown, stream) == shown


@pytest.mark.parametrize("encoding", ["ascii", "koi8-r", "latin-1", "cp1252", "cp037", "utf-8"])
def test_what_an_encoding_lacks_has_a_plain_stand_in(encoding: str) -> None:
    text = "99.7 ± 0.1 % – 3×3 … 漢"
    wanted = {"±": "+/-", "–": "-", "×": "x", "…": "...", "漢": "?"}
    for char, stand_in in wanted.items():
        try:
            char.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace(char, stand_in)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert plain("99.7 ± 0.1 % – 3×3 … 漢", stream) == text


def test_a_files_name_that_is_no_text_is_written_as_it_is() -> None:
    name = os.fsdecode(b"caf\xe9.toml")
    for encoding in ("utf-8", "ascii"):
        assert name.encode(encoding, "harness.plain") == b"caf\xe9.toml"


@pytest.mark.parametrize(
    ("encoding", "argument"),
    [("ascii", "--list"), ("ascii", "--help"), ("ascii", "no–such study"), ("koi8-r", "--list")],
)
def test_the_command_speaks_in_any_encoding(encoding: str, argument: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.study", argument]
    done = start(command, tmp_path, PYTHONIOENCODING=encoding, COLUMNS="80")
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    wrong = "such" in argument
    assert (done.returncode, err.count("\n"), out == "") == ((2, 1, True) if wrong else (0, 0, False)), err
    assert argument != "--list" or max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "environment"),
    [((), {"PYTHONWARNINGS": "error"}), (("-W", "error::DeprecationWarning"), {})],
)
def test_a_librarys_warning_stops_neither_the_command_nor_its_processes(
    options: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    text = (
        "import multiprocessing, sys, warnings; from harness.console import *; show_warnings()\n"
        "warnings.warn('old', DeprecationWarning)\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=print, args=('done',))\n"
        "    worker.start(); worker.join(); sys.exit(worker.exitcode)\n"
    )
    status, out, said = run(text, tmp_path, *options, **environment)
    assert (status, out, said.count("DeprecationWarning: old")) == (0, "done\n", 2), said
