"""What is executed, what is reused, what is refused, and what is moved aside."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import StudyError
from harness.launch.job import Job, check_folders
from harness.launch.serial import serial
from harness.launch.view import View
from harness.store.folders import RunFolder
from harness.study_file.config import Study
from tests.launch.conftest import load, planned

ONE = ("seeds", [0])
Run = Callable[..., tuple[list[str], list[RunFolder]]]


@pytest.fixture
def run(tiny: Callable[..., Study], tmp_path: Path) -> Run:
    """Do what the command does with the tiny study, changed; what it said, and the run folders."""

    def run(*changes: tuple[str, object], force: bool = False) -> tuple[list[str], list[RunFolder]]:
        said: list[str] = []
        plan = planned(tiny(*changes), tmp_path)
        check_folders(plan, force=force, say=said.append)
        serial(Job(plan, load, 1, View(said.append)), 1)
        return said, [folder for _, folder in plan.runs()]

    return run


def trained(said: list[str]) -> list[str]:
    return [line.split()[0] for line in said if " epoch 1 of " in line]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_what_is_missing_is_run(run: Run) -> None:
    _, folders = run(("seeds", [1]))
    before = contents(folders[0].path)
    said, _ = run()
    assert trained(said) == ["tiny/base/seed-0"] and contents(folders[0].path) == before
    assert trained(run()[0]) == []


def test_another_configuration_is_refused_naming_the_difference(run: Run) -> None:
    _, folders = run(ONE)
    before = contents(folders[0].path)
    with pytest.raises(StudyError, match=r"recipe.schedule.epochs: 4 planned, 3 on disk"):
        run(("schedule.epochs", 4))
    assert contents(folders[0].path) == before


def test_force_moves_the_other_run_aside_and_keeps_it(run: Run, tmp_path: Path) -> None:
    _, folders = run(ONE)
    before = contents(folders[0].path)
    run(ONE, ("schedule.epochs", 4), force=True)
    assert contents(tmp_path / "tiny/superseded/base-seed-0-1") == before
    assert folders[0].verify().metrics["epochs"] == 4


def test_configurations_that_began_at_the_same_moment_do_not_share_a_variant(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    ours = planned(tiny(("seeds", [0, 2])), tmp_path)
    theirs = planned(tiny(("seeds", [1, 2]), ("data.batch_size", 40)), tmp_path)
    for plan in (ours, theirs):
        check_folders(plan, force=False, say=print)  # nothing is there yet
    assert serial(Job(ours, load, 1, View(print)), 1) == {}
    refused = serial(Job(theirs, load, 1, View(print)), 1)
    assert list(refused) == ["tiny/base/seed-1", "tiny/base/seed-2"]
    assert all("data.batch_size: 40 planned" in cause for cause in refused.values())
    assert not theirs.folder.run("base", 1).path.exists()


@pytest.mark.parametrize("name", ["run.json", "history.csv", "predictions.npz", "model.safetensors"])
def test_a_damaged_run_is_named_kept_and_done_again(run: Run, tmp_path: Path, name: str) -> None:
    _, folders = run(ONE)
    good = (folders[0].path / "predictions.npz").read_bytes()
    path = folders[0].path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said, _ = run(ONE)
    assert any(name in line and "damaged" in line for line in said)
    assert (tmp_path / "tiny/superseded/base-seed-0-1" / name).read_bytes() == bytes(content)
    assert (folders[0].path / "predictions.npz").read_bytes() == good


def test_a_finished_run_without_its_weights_is_not_repeated(run: Run, tmp_path: Path) -> None:
    _, folders = run(ONE)
    folders[0].weights_file.unlink()
    before = contents(folders[0].path)
    run(ONE)
    assert contents(folders[0].path) == before
    assert not (tmp_path / "tiny/superseded").exists()


def test_a_diverged_run_stays_failed_and_is_not_repeated(run: Run) -> None:
    hot = (ONE, ("schedule.lr_max", 1e6), ("schedule.lr_min", 1e5), ("loss.l1", 1e6))
    said, folders = run(*hot)
    assert folders[0].status() == "failed"
    assert sum("FAILED: loss not finite at iteration" in line for line in said) == 1
    before = contents(folders[0].path)
    run(*hot)
    assert contents(folders[0].path) == before


def test_another_failure_is_tried_again_and_its_cause_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", broken)
        _, folders = run(ONE)
    record = folders[0].record()
    assert record is not None and record.error is not None and record.error["kind"] == "disk_full"
    said, _ = run(ONE)
    record = folders[0].verify()
    assert record.status == "finished" and record.earlier_errors[0]["kind"] == "disk_full"
    assert any(re.search("resuming after epoch [123] of 3", line) for line in said)


def test_a_variant_whose_range_test_fails_is_recorded_and_the_others_go_on(run: Run) -> None:
    sweep = {"start_lr": 1e5, "end_lr": 1e6, "iterations": 10}
    hot = {"schedule.lr_max": "find", "range_test": sweep}
    said, folders = run(ONE, ("variants", {"hot": hot}))
    assert [folder.status() for folder in folders] == ["finished", "failed"]
    record = folders[1].record()
    assert record is not None and record.error is not None and record.error["kind"] == "range_test"
    assert any("range test: the loss" in line and "lower range_test.start_lr" in line for line in said), said
