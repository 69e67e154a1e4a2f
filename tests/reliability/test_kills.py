"""A study killed at any instant and started again gives the same bytes as one that nothing happened to."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.children import CPU, one_at_a_time

KILLS = int(os.environ.get("HARNESS_KILLS", "100"))
KILLED = (-signal.SIGKILL, -signal.SIGXFSZ)

GoOn = Callable[..., Any]


def kill(nursery: Any, fragile: Path, place: Path, how: str, undisturbed: Any, rng: random.Random) -> bool:
    """Start the study and kill it: at an instant, before an operation on a file, or in the midst of a write.

    Returns:
        Whether it was killed before its end.
    """
    wishes: dict[str, Any] = {"signal_after_cpu": rng.uniform(0, undisturbed.cpu)}
    if how == "operation":
        number = rng.randint(1, undisturbed.operations)
        wishes = {"operations_in": str(place / "out"), "kill_before_operation": number}
    elif how == "write":  # a file that grows longer ends the process
        wishes = {"file_bytes": round(10 ** rng.uniform(0, 5)), "killed_by_limit": True}
    done = nursery.run(place, fragile, "--out", "out", **wishes)
    assert done.status in (0, *KILLED) and "Traceback" not in done.stderr, done.stderr
    return bool(done.status != 0)


@pytest.mark.parametrize("sequence", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_study_killed_six_times_gives_the_same_bytes(
    nursery: Any, fragile: Path, undisturbed: Any, go_on: GoOn, tmp_path: Path, sequence: int
) -> None:
    rng, ways = random.Random(sequence), ("operation", "instant", "write", "instant", "operation", "instant")
    assert sum(kill(nursery, fragile, tmp_path, how, undisturbed, rng) for how in ways) >= 3
    go_on()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["instant", "operation", "write"])
def test_a_study_killed_once_gives_the_same_bytes_every_time(
    nursery: Any, fragile: Path, undisturbed: Any, go_on: GoOn, tmp_path: Path, how: str
) -> None:
    rng, kills, different = random.Random(how), 0, []
    for trial in range(10 * KILLS):
        place = tmp_path / str(trial)
        kills += kill(nursery, fragile, place, how, undisturbed, rng)
        try:
            go_on(place)
        except AssertionError as error:
            different.append((trial, str(error)))
        shutil.rmtree(place)
        if kills == KILLS:
            break
    print(f"killed by {how}: {kills}, different afterwards: {len(different)}")
    assert kills == KILLS and different == []


@pytest.mark.slow
def test_a_study_killed_before_any_operation_on_a_file_gives_the_same_bytes(
    nursery: Any, fragile: Path, undisturbed: Any, go_on: GoOn, tmp_path: Path
) -> None:
    assert undisturbed.operations > 100  # each file's temporary file, rename and lock
    for number in range(1, undisturbed.operations + 1, max(1, undisturbed.operations // KILLS)):
        place = tmp_path / str(number)
        wishes = {"operations_in": str(place / "out"), "kill_before_operation": number}
        assert nursery.run(place, fragile, "--out", "out", **wishes).status == -signal.SIGKILL
        go_on(place)
        shutil.rmtree(place)
    print(f"operations: {undisturbed.operations}")


def test_the_bytes_do_not_depend_on_the_process(fragile: Path, go_on: GoOn, tmp_path: Path) -> None:
    """A real ``python -m harness.study``, killed with its group, then resumed by another process."""
    arguments = [sys.executable, "-m", "harness.study", *one_at_a_time(*CPU, fragile, "--out", "out")]
    with subprocess.Popen(
        arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "seed-0  epoch 2 of 3" in line:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert "fragile/base/seed-0  resuming after epoch" in go_on().stderr


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, " range test: "),
        (signal.SIGTERM, "seed-1  epoch 1 of 3"),
        (signal.SIGINT, "seed-1  finished"),  # the report is next
    ],
)
def test_an_interrupt_stops_cleanly_and_says_how_to_go_on(
    nursery: Any, fragile: Path, tmp_path: Path, number: int, moment: str
) -> None:
    child = nursery.begin(tmp_path, fragile, "--out", "out", asleep_at=moment)
    os.kill(child.pid, number)
    os.kill(child.pid, signal.SIGCONT)
    done = child.wait()
    assert done.status == 130
    assert done.stderr.splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in done.stderr
    study = tmp_path / "out/fragile"
    assert list(study.rglob("*.tmp")) == [] and list(study.rglob("*.holder")) == []


@pytest.mark.slow
def test_an_interrupt_at_any_instant_is_one_line(
    nursery: Any, fragile: Path, undisturbed: Any, tmp_path: Path
) -> None:
    rng = random.Random(130)
    for trial in range(3):
        at = rng.uniform(0, undisturbed.cpu)
        wishes = {"signal_after_cpu": at, "signal": signal.SIGINT}
        done = nursery.run(tmp_path / str(trial), fragile, "--out", "out", **wishes)
        assert done.status in (0, 130) and "Traceback" not in done.stderr, (at, done.stderr)


def test_an_interrupted_and_a_killed_study_are_told_apart_from_finished_ones(
    nursery: Any, fragile: Path, killed_at: Callable[..., None], tmp_path: Path
) -> None:
    killed_at("seed-0  epoch 2 of 3")
    done = nursery.run(tmp_path, fragile, "--out", "out", "--dry-run")
    assert done.status == 0
    assert "partial: seed 0" in done.stdout and "missing: seed 1" in done.stdout
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only")
    assert done.status == 0 and "no run finished (2 not finished yet)" in done.stdout
