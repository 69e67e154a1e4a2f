"""Whether runs repeat to the last bit: two in parallel, and one that is killed in its middle and resumed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.command import EPOCH, FINISHED, differences, run, start, stop, study_file
from benchmarks.gpu.shared import Options, Row, failed

EPOCHS = 3
KILLED_AFTER = 2
ARGUMENTS = ("--seeds", "0", "--launcher", "serial")
COMPARED = "weights, predictions, learning rates, history without its times"


def rows(options: Options) -> Iterator[Row]:
    """Start three runs at once, kill one of them, resume it, and compare all with the first."""
    folder = Path(options.folder) / "identity"
    study, settings = study_file(options, "onecycle", EPOCHS), ("compile=false", *options.settings)
    first, second, third = (
        start(options, study, folder / name, ARGUMENTS, settings) for name in ("first", "second", "killed")
    )
    killed = kill_in_its_middle(third)
    end_when_finished(first)
    end_when_finished(second)
    yield _row(f"two runs of {EPOCHS} epochs", folder, "second", "2 runs")
    what = "a run killed in its middle and resumed"
    if not killed:
        yield failed(what, "it ended before it could be killed")
        return
    try:
        outcome = run(options, study, folder / "killed", ARGUMENTS, settings)
    except RuntimeError as error:
        yield failed(what, error)
        return
    resumed = min((epoch for _, _, epoch in outcome.epochs()), default=EPOCHS + 1) - 1
    how = f"SIGKILL after epoch {KILLED_AFTER} of {EPOCHS}; "
    how += f"resumed after epoch {resumed}" if resumed else "began anew: no checkpoint was written yet"
    yield _row(what, folder, "killed", "1 kill", how)


def kill_in_its_middle(process: subprocess.Popen[str]) -> bool:
    """Kill a run soon after an epoch's line; False where it ended before."""
    assert process.stderr is not None
    for line in process.stderr:
        match = EPOCH.match(line)
        if FINISHED.match(line) or (match and int(match["epoch"]) == KILLED_AFTER):
            break
    else:
        line = ""
    time.sleep(0.05)  # the next epoch has begun
    process.kill()
    process.communicate()
    return bool(EPOCH.match(line))


def end_when_finished(process: subprocess.Popen[str]) -> None:
    """Let a run finish, and end its process before the report."""
    assert process.stderr is not None
    for line in process.stderr:
        if FINISHED.match(line):
            break
    stop(process)


def _row(what: str, folder: Path, other: str, n: str, how: str = "") -> Row:
    """Compare a run with the first one."""
    try:
        runs = [next((folder / name).glob("*/runs/base/seed-0")) for name in ("first", other)]
        found = differences(*runs)
    except (StopIteration, OSError) as error:
        return failed(what, f"a run left nothing to compare: {error!r}")
    result = "different: " + ", ".join(found) if found else "identical"
    return Row(what, result, n, f"{how}; {COMPARED}" if how else COMPARED, {"differences": found})
