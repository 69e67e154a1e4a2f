"""What tests of launchers need: a command under way, what it wrote, what it leaves running."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

SLOW = ("--set", "schedule.epochs=80", "--set", "schedule.peak_epoch=2")
# variants that find their rate, and that diverge
MORE = """
[variants.found]
"schedule.lr_max" = "find"
"schedule.lr_min" = "find"
range_test = { start_lr = 0.001, end_lr = 1.0, iterations = 10 }

[variants.diverges]
"schedule.lr_max" = 1e6
"loss.l1" = 1e6
"""


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The study's tables without their times."""
    found = {path.name: pd.read_csv(path) for path in sorted((folder / "tables").glob("*.csv"))}
    return {
        name: table[[column for column in table if "second" not in column]] for name, table in found.items()
    }


@pytest.fixture
def start(tiny_file: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command on the tiny study, results in ``out``; what is left of it at the end is killed."""
    begun = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "harness.study",
            str(tiny_file),
            "--out",
            str(tmp_path / "out"),
        ]
        begun.append(
            subprocess.Popen(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # pytest in the background has SIGINT ignored, and children inherit that
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        )
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def until_under_way(process: subprocess.Popen[str], runs: int = 2) -> None:
    """Until so many runs have a checkpoint."""
    assert process.stderr is not None
    begun = set()
    for line in process.stderr:
        if re.search(r" epoch +2/", line):
            begun.add(line.split()[0])
            if len(begun) == runs:
                return
    pytest.fail(f"ended; {begun} were under way")


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The driver's spawned processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"--multiprocessing-fork" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def gone(pids: list[int]) -> bool:
    """Whether these processes end within a minute."""
    for _ in range(600):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False
