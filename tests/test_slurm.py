"""The Slurm script without Slurm: its tasks as separate processes, as an array would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "slurm.sh"


@pytest.mark.slow
def test_the_tasks_of_an_array_fill_one_study_and_leave_one_report(tiny_file: Path, tmp_path: Path) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("lr_max = 0.05, lr_min = 0.005", "lr_max = 'find'"))
    environment = os.environ | {"STUDY": str(tiny_file), "OUT": "results", "SLURM_CPUS_PER_TASK": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tasks = [
        subprocess.Popen(
            ["bash", str(SCRIPT)], cwd=tmp_path, env=environment | {"SLURM_ARRAY_TASK_ID": str(number)},
            stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    said = [task.communicate(timeout=600)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], said
    assert sum("range test: " in text and " steps" in text for text in said) == 1, said
    tables = tmp_path / "results" / "tiny" / "tables"
    runs = pd.read_csv(tables / "runs.csv")
    assert list(runs.seed) == [0, 1, 2] and set(runs.status) == {"finished"}
    assert runs.lr_max.nunique() == 1
    assert pd.read_csv(tables / "summary.csv").runs[0] == 3
