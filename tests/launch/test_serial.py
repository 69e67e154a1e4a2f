"""The serial launcher beside other processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.children import one_at_a_time


def test_two_processes_share_a_study_without_doing_anything_twice(tiny_file: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "harness.study", *one_at_a_time(tiny_file, "--out", tmp_path / "out")]
    seeds = ["--seeds", "0-5"]
    both = []
    for _ in range(2):
        both.append(subprocess.Popen([*arguments, *seeds], stderr=subprocess.PIPE, text=True))
        time.sleep(0.3)
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [line.split()[0] for text in said for line in text.splitlines() if " epoch 1/3" in line]
    assert sorted(trained) == [f"tiny/base/seed-{seed}" for seed in range(6)]
