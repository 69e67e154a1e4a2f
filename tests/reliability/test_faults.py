"""Faults of the machine are recorded or reported in one line, and the same command resumes the study."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.store.folders import StudyFolder
from tests.children import one_at_a_time
from tests.reliability.conftest import write_images

Same = Callable[[Path], None]
GoOn = Callable[..., Any]
KilledAt = Callable[..., None]


def record(study: Path, seed: int = 0) -> Any:
    return json.loads((study / f"runs/base/seed-{seed}/run.json").read_text())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, mounted at ``out``."""
    disk = tmp_path / "out"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


# ---- the disk ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_disk_is_recorded_and_the_study_goes_on_when_there_is_room(
    nursery: Any, fragile: Path, go_on: GoOn, small_disk: Path, tmp_path: Path
) -> None:
    done = nursery.run(tmp_path, fragile, "--out", "out")
    assert done.status == 1 and "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert not list(small_disk.rglob("*.tmp"))
    remount(small_disk, "size=64m")
    go_on()


def test_a_disk_without_a_byte_left_is_one_line(
    nursery: Any, fragile: Path, small_disk: Path, tmp_path: Path
) -> None:
    with (small_disk / "full").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"0" * 4096)
    done = nursery.run(tmp_path, fragile, "--out", "out")
    assert done.status == 1
    assert re.fullmatch(r"error: .*: cannot be .*: No space left on device\n", done.stderr)


@pytest.mark.slow
def test_a_file_that_may_not_grow_fails_the_runs_with_their_cause(
    nursery: Any, fragile: Path, go_on: GoOn, tmp_path: Path
) -> None:
    done = nursery.run(tmp_path, fragile, "--out", "out", file_bytes=50_000)
    assert done.status == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")  # the report's figures are larger, too
    for seed in (0, 1):  # the first one's failure did not stop the second
        error = record(tmp_path / "out/fragile", seed)["error"]
        assert error["kind"] == "disk_full" and "checkpoint.pt: cannot be written" in error["message"]
    go_on()
    finished = record(tmp_path / "out/fragile")
    assert [error["kind"] for error in finished["earlier_errors"]] == ["disk_full"]


def test_a_read_only_disk_is_refused_before_any_work(
    nursery: Any, fragile: Path, small_disk: Path, tmp_path: Path
) -> None:
    remount(small_disk, "ro")
    done = nursery.run(tmp_path, fragile, "--out", "out")
    remount(small_disk, "rw")
    assert done.status == 2 and done.stdout == ""
    assert done.stderr == "error: --out: out is not a folder that can be written to\n"


def test_a_folder_without_permission_is_refused_before_any_work(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    done = nursery.run(tmp_path, fragile, "--out", "out", heed_permissions=True)
    assert done.status == 2
    assert done.stderr == "error: --out: out is not a folder that can be written to\n"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_one_runs_folder_without_permission_does_not_stop_the_others(
    nursery: Any, fragile: Path, go_on: GoOn, tmp_path: Path
) -> None:
    locked = tmp_path / "out/fragile/runs/base/seed-0"
    locked.mkdir(parents=True)
    locked.chmod(0)
    done = nursery.run(tmp_path, fragile, "--out", "out", heed_permissions=True)
    locked.chmod(0o755)
    assert done.status == 1 and "Traceback" not in done.stderr
    assert "fragile/base/seed-1  finished" in done.stderr
    assert re.search(r"^fragile/base/seed-0: .*Permission denied$", done.stderr, re.MULTILINE)
    go_on()


@pytest.mark.slow
def test_a_file_in_a_runs_place_is_kept_and_the_run_is_made(go_on: GoOn, tmp_path: Path) -> None:
    place = tmp_path / "out/fragile/runs/base/seed-0"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    go_on()
    assert (tmp_path / "out/fragile/superseded/base-seed-0-1").read_text() == "mine"


@pytest.mark.slow
def test_an_output_folder_removed_under_a_running_study_is_said_and_made_again(
    nursery: Any, fragile: Path, go_on: GoOn, tmp_path: Path
) -> None:
    child = nursery.begin(tmp_path, fragile, "--out", "out", asleep_at="seed-1  epoch 1 of 3")
    shutil.rmtree(tmp_path / "out")
    os.kill(child.pid, signal.SIGCONT)
    done = child.wait()
    assert done.status == 1 and "Traceback" not in done.stderr
    assert "fragile/base/seed-0: not finished: its folder was removed" in done.stderr
    # It failed, with its cause, where the folder went in the midst of a write.
    assert re.search(r"^fragile/base/seed-1  (finished|FAILED): ", done.stderr, re.MULTILINE)
    go_on()


def test_what_kills_left_behind_is_cleared_away_and_a_users_files_are_not(
    nursery: Any, fragile: Path, finished: StudyFolder, same: Same, tmp_path: Path
) -> None:
    study = finished.path
    shutil.rmtree(study / "runs/base/seed-1")
    places = ("tables/.runs.csv", "figures/.curves.png", ".report.html", ".study.toml",
              "range_test/.base.csv", "runs/base/seed-1/.checkpoint.pt")  # fmt: skip
    own = [study / "tables/.mine.tmp", study / "notes.tmp"]
    left = [study / f"{place}.4711-0123abcd.tmp" for place in places]
    for path in (*left, *own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert nursery.run(tmp_path, fragile, "--out", "out").status == 0
    assert [path for path in left if path.exists()] == []
    for path in own:
        assert path.read_text() == "half"
        path.unlink()
    same(study)


# ---- the machine ------------------------------------------------------------------------------------------


def test_running_out_of_memory_is_recorded_with_what_to_change(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    wide = ("--set", "model.width=256", "--seeds", "0")  # 105 million parameters: 420 MB
    done = nursery.run(tmp_path, fragile, "--out", "out", *wide, more_memory=300 << 20)
    assert done.status == 1 and "Traceback" not in done.stderr
    error = record(tmp_path / "out/fragile")["error"]
    assert error["kind"] == "range_test"
    assert "out of memory with batches of 32 on cpu; lower data.batch_size or model.width" in error["message"]
    rates = ("--set", "schedule.lr_max=0.1", "--set", "schedule.lr_min=0.01", "--force")
    done = nursery.run(tmp_path, fragile, "--out", "out", *wide, *rates, more_memory=300 << 20)
    assert done.status == 1 and "Traceback" not in done.stderr
    assert record(tmp_path / "out/fragile")["error"]["kind"] == "out_of_memory"


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(
    killed_at: KilledAt, go_on: GoOn, tmp_path: Path
) -> None:
    killed_at("seed-0  epoch 2 of 3", clock="backwards")
    for path in (tmp_path / "out").rglob("*"):  # as if written long after today
        os.utime(path, (4e9, 4e9))
    go_on(clock="backwards")
    origin = record(tmp_path / "out/fragile")["provenance"]
    assert origin["finished"] < origin["started"]


@pytest.mark.parametrize("streams", [">&- 2>&-", "2>&1 | head -1"])
@pytest.mark.slow
def test_a_study_whose_lines_nobody_can_read_is_finished_all_the_same(
    fragile: Path, tmp_path: Path, streams: str
) -> None:
    command = f'"$0" -m harness.study "$@" {streams}'
    arguments = one_at_a_time(fragile, "--out", "out", "--seeds", "0")
    subprocess.run(["bash", "-c", command, sys.executable, *arguments], cwd=tmp_path, capture_output=True)
    study = tmp_path / "out/fragile"
    assert record(study)["status"] == "finished" and (study / "report.html").exists()


@pytest.mark.slow
def test_a_verdict_that_cannot_be_written_is_one_line(fragile: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness.study", *one_at_a_time(fragile, "--seeds", "0", "--quiet")],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1 and done.stderr == "error: OSError: [Errno 28] No space left on device\n"


# ---- other processes --------------------------------------------------------------------------------------


def test_a_second_process_takes_what_is_free_and_names_the_holder_of_the_rest(
    nursery: Any, fragile: Path, same: Same, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = nursery.begin(tmp_path / "first", fragile, "--out", out, asleep_at="seed-0  epoch 1 of 3")
    second = nursery.begin(tmp_path / "second", fragile, "--out", out)
    while "waiting for it" not in second.said:
        time.sleep(0.005)
    holder = f"fragile/base/seed-0 is held by process {first.pid} on "
    assert re.search(
        rf"^{re.escape(holder)}\S+; wait for it, or stop it; skipped for now$", second.said, re.M
    )
    assert "seed-1  finished" in second.said
    assert re.search(rf"^{re.escape(holder)}\S+; waiting for it$", second.said, re.M)
    os.kill(first.pid, signal.SIGKILL)  # the lock dies with it, and the other one goes on where it was
    first.wait()
    done = second.wait()
    assert done.status == 0 and "seed-0  finished" in done.stderr, done.stderr
    same(out / "fragile")


@pytest.mark.slow
def test_a_range_test_is_waited_for_by_those_who_need_it(nursery: Any, fragile: Path, tmp_path: Path) -> None:
    text = fragile.read_text() + '\n[variants.fixed]\n"schedule.lr_max" = 0.1\n"schedule.lr_min" = 0.01\n'
    study = tmp_path / "two.toml"
    study.write_text(text)
    out = tmp_path / "out"
    first = nursery.begin(
        tmp_path / "first",
        study,
        "--out",
        out,
        "--seeds",
        "0",
        asleep_at="fragile/base  range test: sweep 1 ",
    )
    second = nursery.begin(tmp_path / "second", study, "--out", out, "--seeds", "0")
    while "waiting for it" not in second.said:
        time.sleep(0.005)
    assert "fragile/fixed/seed-0  finished" in second.said  # what was free came first
    assert f"fragile/range_test/base is held by process {first.pid} on " in second.said
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait().status == 0
    done = second.wait()
    assert done.status == 0 and "fragile/base  range test: " not in done.stderr.partition("waiting for it")[2]


def test_a_folder_at_which_another_process_works_is_not_moved_aside(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = nursery.begin(tmp_path / "first", fragile, "--out", out, asleep_at="seed-0  epoch 1 of 3")
    other = ("--set", "schedule.epochs=2", "--force")
    done = nursery.run(tmp_path / "second", fragile, "--out", out, *other)
    assert done.status == 1
    assert re.fullmatch(
        rf"error: fragile/base/seed-0 is held by process {first.pid} on \S+; wait for it, or stop it",
        done.stderr.splitlines()[-1],
    )
    os.kill(first.pid, signal.SIGKILL)
    first.wait()


@pytest.mark.slow
def test_of_two_configurations_that_begin_together_the_second_is_refused(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = nursery.begin(
        tmp_path / "first",
        fragile,
        "--out",
        out,
        "--seeds",
        "0",
        asleep_at="fragile/base  range test: sweep 1 ",
    )
    other = ("--seeds", "1", "--set", "data.batch_size=40")
    second = nursery.begin(tmp_path / "second", fragile, "--out", out, *other)
    while "waiting for it" not in second.said:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait().status == 0
    done = second.wait()
    assert done.status == 1
    assert "fragile/base/seed-1: not finished: " in done.stderr
    assert "recipe.data.batch_size: 40 planned, 32 on disk" in done.stderr
    assert not (out / "fragile/runs/base/seed-1").exists()


# ---- what does not belong together ------------------------------------------------------------------------


def test_force_moves_aside_and_deletes_nothing(
    nursery: Any, fragile: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    study = finished.path
    files = [*study.glob("runs/**/*"), *study.glob("range_test/*")]
    contents = {path.read_bytes() for path in files if path.is_file()}
    change = ("--set", "data.batch_size=40")
    done = nursery.run(tmp_path, fragile, "--out", "out", "--seeds", "0", *change)
    assert done.status == 2 and "recipe.data.batch_size: 40 planned, 32 on disk" in done.stderr
    done = nursery.run(tmp_path, fragile, "--out", "out", "--seeds", "0", *change, "--force")
    assert done.status == 0, done.stderr
    now = {path.read_bytes() for path in (study / "superseded").rglob("*") if path.is_file()}
    assert contents <= now
    assert not (study / "runs/base/seed-1").exists()  # of the other configuration as well


@pytest.mark.slow
def test_data_that_changed_between_runs_of_one_group_is_refused(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    data = 'data={source = "image_folder", path = "pictures", batch_size = 8}'
    arguments = ["--data", write_images(tmp_path / "data"), "--out", "out", "--set", data]
    cache = {"environment": {"HARNESS_CACHE": str(tmp_path / "cache")}}
    assert nursery.run(tmp_path, fragile, *arguments, "--seeds", "0", **cache).status == 0
    write_images(tmp_path / "data", shift=1)
    before = (tmp_path / "out/fragile/runs/base/seed-0/run.json").read_bytes()
    for seeds in ("0", "1", "0-1"):
        done = nursery.run(tmp_path, fragile, *arguments, "--seeds", seeds, **cache)
        assert done.status == 2 and done.stderr.count("\n") == 1
        assert "another configuration's run (the images have changed since)" in done.stderr
    assert not (tmp_path / "out/fragile/runs/base/seed-1").exists()
    assert (tmp_path / "out/fragile/runs/base/seed-0/run.json").read_bytes() == before
    write_images(tmp_path / "data")
    assert nursery.run(tmp_path, fragile, *arguments, "--seeds", "1", **cache).status == 0


@pytest.mark.slow
def test_a_run_that_two_thread_counts_worked_on_says_so(
    nursery: Any, fragile: Path, killed_at: KilledAt, tmp_path: Path
) -> None:
    killed_at("seed-0  epoch 3 of 3", "--seeds", "0")
    two = {"environment": {"OMP_NUM_THREADS": "2"}}
    assert nursery.run(tmp_path, fragile, "--out", "out", "--seeds", "0", **two).status == 0
    origin = record(tmp_path / "out/fragile")["provenance"]
    assert origin["threads"] == 2 and [earlier["threads"] for earlier in origin["earlier"]] == [1]
    report = tmp_path / "out/fragile/report.md"
    assert "base/seed-0 was resumed under other conditions: threads 1, then 2" in report.read_text()
    assert nursery.run(tmp_path, fragile, "--out", "out").status == 0
    assert "mix different thread counts: 1 (1 run); 1, then 2 (1 run)" in report.read_text()


def test_a_study_of_which_every_run_fails_has_its_report(nursery: Any, fragile: Path, tmp_path: Path) -> None:
    hot = ("--set", "schedule.lr_max=1e6", "--set", "schedule.lr_min=1e5", "--set", "loss.l1=1e6")
    done = nursery.run(tmp_path, fragile, "--out", "out", *hot)
    assert done.status == 1 and "Traceback" not in done.stderr and "terminating" not in done.stderr
    assert "no run finished (2 of 2 failed)" in done.stdout
    study = tmp_path / "out/fragile"
    assert "not finite" in (study / "report.md").read_text() and (study / "report.html").exists()
    assert (study / "tables/runs.csv").read_text().count("diverged") == 2
