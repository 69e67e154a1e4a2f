"""What is executed, what is reused, what is refused, and what is moved aside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import StudyError
from harness.launch.job import Job, check_folders
from harness.launch.serial import serial
from harness.plan import Plan, make_plan
from harness.store.folders import RunFolder, StudyFolder
from harness.study_file.config import Recipe, Study


def load(recipe: Recipe) -> Data:
    config = recipe.data
    return load_data("digits", Path(), train_limit=config.train_limit, test_limit=config.test_limit)


def planned(study: Study, out: Path) -> Plan:
    return make_plan(study, StudyFolder(out, study.name), load, device="cpu")


def start(study: Study, out: Path, *, force: bool = False) -> tuple[list[str], list[RunFolder]]:
    """Do what the command does; what it said, and the run folders."""
    said: list[str] = []
    plan = planned(study, out)
    check_folders(plan, force=force, say=said.append)
    serial(Job(plan, load, 1, said.append), 1)
    return said, [folder for _, folder in plan.runs()]


def trained(said: list[str]) -> list[str]:
    return [line.split()[0] for line in said if " epoch 1/" in line]


def test_a_finished_run_is_never_repeated(tiny: Callable[..., Study], tmp_path: Path) -> None:
    said, folders = start(tiny(), tmp_path)
    assert trained(said) == ["tiny/base/seed-0", "tiny/base/seed-1"]
    before = [folder.record_file.read_bytes() for folder in folders]
    said, folders = start(tiny(), tmp_path)
    assert trained(said) == [] and [folder.record_file.read_bytes() for folder in folders] == before


def test_only_missing_seeds_are_run(tiny: Callable[..., Study], tmp_path: Path) -> None:
    start(tiny(("seeds", [1])), tmp_path)
    said, _ = start(tiny(), tmp_path)
    assert trained(said) == ["tiny/base/seed-0"]


def test_another_configuration_is_refused_naming_the_difference(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    _, folders = start(tiny(("seeds", [0])), tmp_path)
    before = folders[0].record_file.read_bytes()
    with pytest.raises(StudyError, match=r"recipe.schedule.epochs: 4 planned, 3 on disk"):
        start(tiny(("schedule.epochs", 4)), tmp_path)
    assert folders[0].record_file.read_bytes() == before


def test_force_moves_the_other_run_aside_and_keeps_it(tiny: Callable[..., Study], tmp_path: Path) -> None:
    _, folders = start(tiny(("seeds", [0])), tmp_path)
    before = folders[0].record_file.read_bytes()
    start(tiny(("seeds", [0]), ("schedule.epochs", 4)), tmp_path, force=True)
    assert (tmp_path / "tiny/superseded/base-seed-0-1/run.json").read_bytes() == before
    assert folders[0].verify().metrics["epochs"] == 4


def test_configurations_that_began_at_the_same_moment_do_not_share_a_variant(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    ours = planned(tiny(("seeds", [0, 2])), tmp_path)
    theirs = planned(tiny(("seeds", [1, 2]), ("data.batch_size", 40)), tmp_path)
    for plan in (ours, theirs):
        check_folders(plan, force=False, say=print)  # nothing is there yet
    assert serial(Job(ours, load, 1, print), 1) == {}
    refused = serial(Job(theirs, load, 1, print), 1)
    assert list(refused) == ["tiny/base/seed-1", "tiny/base/seed-2"]
    assert all("data.batch_size: 40 planned" in cause for cause in refused.values())
    assert not theirs.folder.run("base", 1).path.exists()


@pytest.mark.parametrize("name", ["run.json", "history.csv", "predictions.npz", "model.safetensors"])
def test_a_damaged_run_is_named_kept_and_done_again(
    tiny: Callable[..., Study], tmp_path: Path, name: str
) -> None:
    _, folders = start(tiny(("seeds", [0])), tmp_path)
    good = (folders[0].path / "predictions.npz").read_bytes()
    path = folders[0].path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said, _ = start(tiny(("seeds", [0])), tmp_path)
    assert any(name in line and "damaged" in line for line in said)
    assert (tmp_path / "tiny/superseded/base-seed-0-1" / name).read_bytes() == bytes(content)
    assert (folders[0].path / "predictions.npz").read_bytes() == good


def test_a_finished_run_without_its_weights_is_not_repeated(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    _, folders = start(tiny(("seeds", [0])), tmp_path)
    folders[0].weights_file.unlink()
    before = {path.name: path.read_bytes() for path in folders[0].path.iterdir()}
    start(tiny(("seeds", [0])), tmp_path)
    assert {path.name: path.read_bytes() for path in folders[0].path.iterdir()} == before
    assert not (tmp_path / "tiny" / "superseded").exists()


def test_a_diverged_run_stays_failed_and_is_not_repeated(tiny: Callable[..., Study], tmp_path: Path) -> None:
    hot = (("schedule.lr_max", 1e6), ("schedule.lr_min", 1e5), ("loss.l1", 1e6))
    said, folders = start(tiny(*hot), tmp_path)
    assert [folder.status() for folder in folders] == ["failed", "failed"]
    assert sum("FAILED: loss not finite at iteration" in line for line in said) == 2
    before = [folder.record_file.read_bytes() for folder in folders]
    start(tiny(*hot), tmp_path)
    assert [folder.record_file.read_bytes() for folder in folders] == before


def test_another_failure_is_tried_again_and_its_cause_kept(
    tiny: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.training import run

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run, "_write_artefacts", broken)
        _, folders = start(tiny(("seeds", [0])), tmp_path)
    record = folders[0].record()
    assert record is not None and record.error["kind"] == "disk_full"
    said, _ = start(tiny(("seeds", [0])), tmp_path)
    record = folders[0].verify()
    assert record.status == "finished" and record.earlier_errors[0]["kind"] == "disk_full"
    assert any(re.search("goes on after epoch [12] of 3", line) for line in said)


def test_a_variant_whose_range_test_fails_is_recorded_and_the_others_go_on(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    sweep = {"start_lr": 1e5, "end_lr": 1e6, "iterations": 10}
    hot = {"schedule.lr_max": "find", "range_test": sweep}
    said, folders = start(tiny(("seeds", [0]), ("variants", {"hot": hot})), tmp_path)
    assert [folder.status() for folder in folders] == ["finished", "failed"]
    assert json.loads(folders[1].record_file.read_text())["error"]["kind"] == "range_test"
    assert any("range test: the loss" in line and "lower range_test.start_lr" in line for line in said), said
