"""What tests of launchers need: a plan, a command under way, what it wrote, what it leaves running."""

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

from harness.data import load_data
from harness.data.arrays import Data
from harness.plan import Plan, make_plan
from harness.store.folders import StudyFolder
from harness.study_file.config import Recipe, Study

Start = Callable[..., "subprocess.Popen[str]"]
in_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
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


def load(recipe: Recipe) -> Data:
    """The digits of the tiny study."""
    config = recipe.data
    return load_data("digits", Path(), train_limit=config.train_limit, test_limit=config.test_limit)


def planned(study: Study, out: Path) -> Plan:
    """Plan a study on the CPU."""
    return make_plan(study, StudyFolder(out, study.name), load, device="cpu")


def same_tables(one: Path, other: Path, runs: int) -> None:
    """Assert that two studies of so many runs have equal tables but for their times."""
    names = sorted(path.name for path in (one / "tables").glob("*.csv"))
    assert names == sorted(path.name for path in (other / "tables").glob("*.csv"))
    assert len(pd.read_csv(one / "tables/runs.csv")) == runs
    for name in names:
        tables = [pd.read_csv(study / "tables" / name) for study in (one, other)]
        ours, theirs = (table[[key for key in table.columns if "second" not in str(key)]] for table in tables)
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True, obj=name)


@pytest.fixture
def start(tiny_file: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the command on the tiny study, results in ``out``; what is left of it at the end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "harness.study", str(tiny_file), "--out", str(tmp_path / "out")]
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # pytest in the background has SIGINT ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def until_under_way(process: subprocess.Popen[str], runs: int = 2) -> None:
    """Wait until so many runs have a checkpoint."""
    assert process.stderr is not None
    begun = set()
    for line in process.stderr:
        if re.search(r" epoch +2 of ", line):
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
    """Tell whether these processes end within a minute."""
    for _ in range(600):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False
