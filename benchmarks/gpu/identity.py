"""Whether runs repeat to the last bit: two in parallel, and one killed during training and resumed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.command import EPOCH, FINISHED, compare, run, run_folder, start, stop, study_file
from benchmarks.gpu.shared import Options, Row, attempt, failed

EPOCHS = 3
KILLED_AFTER = 2
ARGUMENTS = ("--seeds", "0", "--launcher", "serial")


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
    two, one = f"two runs of {EPOCHS} epochs", "a run killed in its middle and resumed"

    def resume() -> Row:
        outcome = run(options, study, folder / "killed", ARGUMENTS, settings)
        resumed = min((epoch for _, _, epoch in outcome.epochs()), default=EPOCHS + 1) - 1
        how = f"SIGKILL after epoch {KILLED_AFTER} of {EPOCHS}; "
        how += f"resumed after epoch {resumed}" if resumed else "began anew: no checkpoint was written yet"
        return compare(one, run_folder(folder / "first"), run_folder(folder / "killed"), "1 kill", how)

    yield attempt(two, lambda: compare(two, run_folder(folder / "first"), run_folder(folder / "second")))
    yield attempt(one, resume) if killed else failed(one, "it ended before it could be killed")


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
