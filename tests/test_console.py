"""Interrupts that are not lost, and streams that may go away: each in a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.console import plain

ROOT = str(Path(__file__).parents[1])
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


def run(text: str, place: Path) -> subprocess.CompletedProcess[str]:
    """As a module, as the command is: how CPython ends depends on it."""
    (place / "attempt.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": ROOT}
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
    environment = {**os.environ, "PYTHONPATH": ROOT}
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
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    command = [sys.executable, "-m", "harness.study", argument]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=600)
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    wrong = "such" in argument
    assert (done.returncode, err.count("\n"), out == "") == ((2, 1, True) if wrong else (0, 0, False)), err
    assert argument != "--list" or max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("how", [{"PYTHONWARNINGS": "error"}, {"-W": "error::DeprecationWarning"}])
def test_a_librarys_warning_stops_neither_the_command_nor_its_processes(
    how: dict[str, str], tmp_path: Path
) -> None:
    text = (
        "import multiprocessing, warnings; from harness.console import *; show_warnings()\n"
        "warnings.warn('old', DeprecationWarning)\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=print, args=('done',))\n"
        "    worker.start(); worker.join(); sys.exit(worker.exitcode)\n"
    )
    (tmp_path / "attempt.py").write_text(f"import sys\n{text}")
    options = [] if "PYTHONWARNINGS" in how else ["-W", how["-W"]]
    environment = {**os.environ, **how, "PYTHONPATH": ROOT}
    command = [sys.executable, *options, "attempt.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
    assert done.stderr.count("DeprecationWarning: old") == 2
