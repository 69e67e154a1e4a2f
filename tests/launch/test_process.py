"""Several runs at once: serial's tables, and what becomes of workers and drivers that die."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command
from tests.launch.conftest import (
    MORE,
    SLOW,
    Start,
    gone,
    in_proc,
    same_tables,
    until_under_way,
    workers,
)

TWO = ("--launcher", "process", "--workers", "2")


@pytest.mark.slow
def test_the_tables_are_serials_at_equal_threads(tiny_file: Path, tmp_path: Path, command: Command) -> None:
    tiny_file.write_text(tiny_file.read_text("utf-8") + MORE, "utf-8")
    seeds = ("--seeds", "0-2")
    one = command(tiny_file, *seeds, "--out", "serial", OMP_NUM_THREADS="1")
    two = command(tiny_file, *seeds, "--out", "process", *TWO, OMP_NUM_THREADS="1")
    assert one.returncode == two.returncode, two.stderr
    assert one.stdout.replace("serial", "process") == two.stdout
    same_tables(tmp_path / "process/tiny", tmp_path / "serial/tiny", 9)
    assert "\x1b" not in two.stderr and two.stderr.count("finished:") == 6  # no terminal: plain lines
    again = command(tiny_file, *seeds, "--out", "process", *TWO, OMP_NUM_THREADS="1")
    assert " epoch " not in again.stderr


@in_proc
@pytest.mark.slow
def test_a_worker_that_dies_takes_only_its_run_with_it(
    start: Start, command: Command, tiny_file: Path
) -> None:
    process = start(*TWO, "--seeds", "0-2", *SLOW)
    until_under_way(process)
    os.kill(workers(process)[0], signal.SIGKILL)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "its worker died (SIGKILL: out of memory?)" in said
    assert "reached by 2 of 3" in out, out
    done = command(tiny_file, "--seeds", "0-2", *SLOW, *TWO, "--out", "out")
    assert done.returncode == 0 and "resuming after epoch" in done.stderr, done.stderr


@in_proc
@pytest.mark.parametrize(
    "ending",
    [pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)],
)
def test_no_worker_outlives_its_driver(
    start: Start, command: Command, tiny_file: Path, ending: signal.Signals
) -> None:
    process = start(*TWO, "--seeds", "0-3", *SLOW)
    until_under_way(process)
    team = workers(process)
    assert len(team) == 2
    process.send_signal(ending)
    process.communicate(timeout=600)
    assert process.returncode == (-ending if ending == signal.SIGKILL else 130)
    assert gone(team)
    preview = command(tiny_file, "--seeds", "0-3", *SLOW, "--dry-run", "--out", "out")
    assert "partial: seeds 0, 1" in preview.stdout, preview.stdout


@pytest.mark.slow
def test_a_failed_range_test_fails_its_runs_alone(tiny_file: Path, command: Command, tmp_path: Path) -> None:
    lost = MORE.partition("[variants.diverges]")[0].replace("found", "lost")
    lost = lost.replace("start_lr = 0.001, end_lr = 1.0", "start_lr = 1e5, end_lr = 1e6")
    tiny_file.write_text(tiny_file.read_text("utf-8") + lost, "utf-8")
    done = command(tiny_file, "--launcher", "auto", "--workers", "2", "--out", "out")
    assert done.returncode == 1
    runs = pd.read_csv(tmp_path / "out/tiny/tables/runs.csv").groupby("variant").status.unique()
    assert list(runs["base"]) == ["finished"] and list(runs["lost"]) == ["failed"]


@pytest.mark.slow
def test_a_terminal_shows_a_row_for_each_worker(tiny_file: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "harness.study", str(tiny_file), *TWO, "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(600) == 0
    assert b"tiny/base/seed-0  finished" in shown and b"1 tiny/base" in shown and b"2 tiny/base" in shown


@in_proc
@pytest.mark.slow
def test_more_workers_than_runs_are_not_started(start: Start) -> None:
    process = start(*TWO, "--seeds", "0-1", *SLOW, "--workers", "5")
    until_under_way(process)
    assert len(workers(process)) == 2
