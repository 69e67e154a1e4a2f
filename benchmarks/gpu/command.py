"""The harness's own command as the parts use it: a study file, a process, its results."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.shared import LOGIT_SCALE, QUICK_BATCH, QUICK_WIDTH, ROOT, Options, Row, synthetic_images

# Given, so that no range test is run.
RATES = {"lr_max": 0.2, "lr_min": 0.02}
EPOCH = re.compile(r"^(?P<run>\S+)\s+epoch\s+(?P<epoch>\d+) of (?P<epochs>\d+)\b")
FINISHED = re.compile(r"^(?P<run>\S+)\s+finished\b")
FAILED = re.compile(r"^(?P<run>\S+)\s+FAILED\b")
COMPARED = "weights, predictions, learning rates, history without its times"
TIMES = ("train_seconds", "eval_seconds", "images_per_second")


@dataclass
class Outcome:
    """The course of a command.

    Args:
        lines: what it said on stderr, each with the seconds since its start.
        finished: seconds until the last run was finished.
        ended: seconds until the process ended; with its report, unless it was stopped before.
    """

    lines: list[tuple[float, str]] = field(default_factory=list)
    finished: float = 0.0
    ended: float = 0.0

    def epochs(self) -> list[tuple[float, str, int]]:
        """Seconds, run and number of every epoch's line."""
        matches = [(seconds, EPOCH.match(line)) for seconds, line in self.lines]
        return [(seconds, match["run"], int(match["epoch"])) for seconds, match in matches if match]


def study_file(options: Options, base: str, epochs: int) -> Path:
    """Write a built-in study with fixed rates, this many epochs and the available images.

    Returns:
        The file; the study's name is ``base``.
    """
    import tomli_w

    study = tomllib.loads((ROOT / "studies" / f"{base}.toml").read_text("utf-8"))
    study.pop("range_test", None)
    schedule = study["schedule"]
    if "find" in (schedule.get("lr_max"), schedule.get("lr_min")):
        schedule |= RATES
    schedule |= {"peak_epoch": schedule["peak_epoch"] * epochs / schedule["epochs"], "epochs": epochs}
    if options.data is None:
        study["data"] = {"source": "parquet", "path": "images", "batch_size": study["data"]["batch_size"]}
    if options.quick:
        study["data"] |= {"batch_size": QUICK_BATCH, "train_limit": 320, "test_limit": 100}
        study["model"] |= {"width": QUICK_WIDTH, "logit_scale": LOGIT_SCALE}
        study["attribution"]["images"] = 2
    path = Path(options.folder) / f"{base}-{epochs}.toml"
    path.write_text(tomli_w.dumps(study), "utf-8")
    return path


def accepts(study: Path, setting: str) -> bool:
    """Tell whether a study file's schema takes a setting."""
    from harness.errors import HarnessError
    from harness.study_file.load import load_study

    try:
        load_study(str(study), settings=[setting])
    except HarnessError:
        return False
    return True


def start(
    options: Options, study: Path, out: Path, arguments: Sequence[str], settings: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start the command; its lines come through ``stderr``."""
    root = options.data or str(synthetic_images(options))
    command = [sys.executable, "-m", "harness.study", str(study), "--out", str(out), "--data", root]
    command += ["--device", options.device, *arguments]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # a cache of its own: the first run that compiles finds nothing that the step part has compiled
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(Path(options.folder) / "inductor-command")
    if options.data is None:  # nothing of it is worth keeping
        environment["HARNESS_CACHE"] = str(Path(options.folder) / "arrays")
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def run(
    options: Options,
    study: Path,
    out: Path,
    arguments: Sequence[str],
    settings: Sequence[str] = (),
    *,
    runs: int = 1,
    report: bool = False,
) -> Outcome:
    """Run the command until so many runs are finished.

    Args:
        report: let it write its report too, which takes longer.

    Raises:
        RuntimeError: a run failed, or the command did, in its own words.
    """
    outcome, began = Outcome(), time.perf_counter()
    process = start(options, study, out, arguments, settings)
    assert process.stderr is not None
    done = 0
    for line in process.stderr:
        outcome.lines.append((time.perf_counter() - began, line.rstrip()))
        if FAILED.match(line):
            stop(process)
            raise RuntimeError(line.strip())
        if FINISHED.match(line):
            outcome.finished, done = outcome.lines[-1][0], done + 1
            if done == runs and not report:
                stop(process)
                break
    status = process.wait()
    outcome.ended = time.perf_counter() - began
    if done < runs or (report and status):
        said = [line for _, line in outcome.lines if line.strip()] or ["it said nothing"]
        raise RuntimeError(f"exit status {status}: {said[-1]}")
    return outcome


def stop(process: subprocess.Popen[str]) -> None:
    """Interrupt the command, which ends its workers; kill it where it does not answer."""
    process.terminate()
    try:
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_folder(out: Path, variant: str = "base") -> Path:
    """Find the folder of seed 0 of the one study below ``out``.

    Raises:
        RuntimeError: there is none.
    """
    for folder in out.glob(f"*/runs/{variant}/seed-0"):
        return folder
    raise RuntimeError(f"{out.name}: a run left nothing to compare")


def history(folder: Path) -> list[dict[str, str]]:
    """Read a run's epochs."""
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compare(what: str, first: Path, second: Path, n: str = "2 runs", notes: str = "") -> Row:
    """Return a row that says whether two run folders are identical."""
    different = differences(first, second)
    result = "different: " + ", ".join(different) if different else "identical"
    notes = "; ".join(part for part in (notes, COMPARED) if part)
    return Row(what, result, n, notes, {"differences": different})


def differences(first: Path, second: Path) -> list[str]:
    """Name what two run folders do not have in common, byte for byte; the times of their epochs aside."""
    names = ("model.safetensors", "predictions.npz", "learning_rates.csv")
    different = [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    without_times = [
        [{key: value for key, value in row.items() if key not in TIMES} for row in history(folder)]
        for folder in (first, second)
    ]
    return different + ["history.csv"] * (without_times[0] != without_times[1])
