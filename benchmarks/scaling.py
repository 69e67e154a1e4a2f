"""Cost of thousands of very short runs beside their training, by launcher.

``python -m benchmarks.scaling process 250 500 1000`` prints a Markdown table. Arguments after the numbers go
to the command, such as ``--set resources.in_place=false``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import takewhile
from pathlib import Path

import pandas as pd

from benchmarks.markdown import table
from benchmarks.memory import peak_bytes
from harness.console import open_streams

WORKERS = 2
HEADER = (
    "launcher", "runs", "seconds to the last", "own training a run, s", "beside it a run, s",
    "driver a run, CPU ms", "report, s", "driver, GB",
)  # fmt: skip
STUDY = """
name = "next_to_nothing"
question = "What does a run cost beside its training?"
seeds = [0]
target = { accuracy = 0.5 }
data = { source = "digits", batch_size = 16, train_limit = 32, test_limit = 10 }
model = { name = "custom_resnet", width = 2 }
optimizer = { name = "SGD", momentum = 0.9 }
schedule = { epochs = 2, peak_epoch = 1, lr_max = 0.05, lr_min = 0.005 }
attribution = { layers = ["layer1"], images = 4 }
"""


def measure(launcher: str, runs: int, *options: str) -> list[str]:
    """Run a study of so many runs; return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "next_to_nothing.toml"
        study.write_text(STUDY)
        command = [sys.executable, "-m", "harness.study", str(study), "--out", folder]
        command += ["--seeds", f"0-{runs - 1}", "--launcher", launcher]
        command += ["--workers", str(WORKERS)] if launcher != "serial" else []
        started = first = last = time.perf_counter()
        process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        ended, begun, driver = 0, 0.0, 0.0
        for line in process.stderr:
            if "  finished:" in line:
                last, ended = time.perf_counter(), ended + 1
                if ended == 1:
                    first, begun = last, cpu_seconds(process.pid)
                if ended == runs:
                    driver = cpu_seconds(process.pid) - begun
        _, status, usage = os.wait4(process.pid, 0)
        total = time.perf_counter() - started
        assert status == 0 and ended == runs, f"status {status}, {ended} of {runs} runs"
        found = pd.read_csv(Path(folder) / "next_to_nothing" / "tables" / "runs.csv")
        assert list(found.status) == ["finished"] * runs
        own = float(found.seconds.sum())
        beside = (WORKERS if launcher != "serial" else 1) * (last - first) - own
        return [
            launcher,
            f"{runs:,}",
            f"{last - started:.0f}",
            f"{own / runs:.3f}",
            f"{beside / runs:.3f}",
            f"{1000 * driver / runs:.0f}",
            f"{total - (last - started):.0f}",
            f"{peak_bytes(usage) / 1e9:.2f}",
        ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far; nan where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure the launcher and numbers of runs of the command line."""
    open_streams()
    launcher, *rest = sys.argv[1:]
    numbers = list(takewhile(str.isdecimal, rest))
    rows = [measure(launcher, int(runs), *rest[len(numbers) :]) for runs in numbers]
    print(table(HEADER, rows))


if __name__ == "__main__":
    main()
