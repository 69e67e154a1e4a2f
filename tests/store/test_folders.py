"""Run folders: writes that are whole or not there, and records that notice damage."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HeldError, RunError, StudyError
from harness.store.atomic import atomic_write, sha256_file
from harness.store.folders import ARTEFACTS, WEIGHTS, RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.store.sealed import read_sealed, write_sealed


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return StudyFolder(tmp_path, "study").run("base", 0)


def record_of(run: RunFolder, status: str, **more: Any) -> dict[str, Any]:
    """The least that a run's record has."""
    error = {"kind": "diverged"} if status == "failed" else None
    owner = {"study": "study", "variant": run.variant, "seed": run.seed, "digest": "d", "identity": {}}
    return {**owner, "metrics": {}, "status": status, "error": error, **more}


def finish(run: RunFolder, **more: Any) -> None:
    for name in ARTEFACTS:
        atomic_write(run.path / name, f"content of {name}")
    run.finish(RunRecord.from_json(record_of(run, "finished", **more)))


# Run folders


def test_a_runs_status_is_what_its_record_says(run: RunFolder) -> None:
    assert run.status() == "missing" and run.record() is None
    atomic_write(run.checkpoint_file, b"x")
    assert run.status() == "partial", "begun, although there is no record yet"
    for recorded, status in {"running": "partial", "finished": "finished", "failed": "failed"}.items():
        write_sealed(run.record_file, record_of(run, recorded))
        assert run.status() == status


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "other"}, {"seed": 1}, {"status": "done"}, {"status": None}, {"status": "failed"},
        {"digest": None}, {"identity": None}, {"metrics": []}, {"error": "text"},
    ],
)  # fmt: skip
def test_a_record_of_something_else_is_refused_although_it_is_intact(
    run: RunFolder, changes: dict[str, Any]
) -> None:
    write_sealed(run.record_file, {**record_of(run, "finished"), **changes})
    for ask in (run.record, run.status, run.verify):
        with pytest.raises(RunError, match="run.json: not the record of this run; --force moves it aside"):
            ask()
    atomic_write(run.record_file, "{}")
    with pytest.raises(RunError, match="run.json: damaged"):
        run.status()


def test_finishing_a_run_drops_its_checkpoint_and_notes_every_artefacts_checksum(run: RunFolder) -> None:
    atomic_write(run.checkpoint_file, b"x")
    finish(run, metrics={"a": 1})
    assert not run.checkpoint_file.exists() and run.status() == "finished"
    record = run.verify()
    assert record.metrics == {"a": 1}
    assert record.files == {name: sha256_file(run.path / name) for name in ARTEFACTS}


def test_a_run_without_its_artefacts_cannot_be_finished(run: RunFolder) -> None:
    atomic_write(run.checkpoint_file, b"x")
    with pytest.raises(OSError, match="history.csv"):
        run.finish(RunRecord.from_json(record_of(run, "finished")))
    assert run.status() == "partial" and run.checkpoint_file.exists()


@pytest.mark.parametrize("name", ARTEFACTS)
def test_verify_names_the_artefact_that_is_damaged(run: RunFolder, name: str) -> None:
    finish(run)
    file = run.path / name
    content = file.read_bytes()
    flipped = content[:5] + bytes([content[5] ^ 1]) + content[6:]
    for damaged in (flipped, content[:-1], content + b"\n", b""):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{name}: damaged"):
            run.verify()
    file.unlink()
    file.symlink_to(run.path / "nowhere")
    with pytest.raises(RunError, match=f"{name}: cannot be read"):
        run.verify()
    file.unlink()
    if name == WEIGHTS:  # they may be removed
        assert run.verify().status == "finished"
        file.mkdir()
    with pytest.raises(RunError, match=f"{name}: cannot be read"):
        run.verify()


@pytest.mark.parametrize("status", [None, "failed", "running"])
def test_verify_is_for_finished_runs(run: RunFolder, status: str | None) -> None:
    if status:
        write_sealed(run.record_file, record_of(run, status))
    with pytest.raises(RunError, match="not a finished run"):
        run.verify()


def test_a_run_set_aside_keeps_every_file_and_the_next_one_gets_the_next_number(run: RunFolder) -> None:
    for number in (1, 2, 3):
        finish(run, metrics={"number": number})
        (run.path / "notes").mkdir()
        (run.path / "notes" / "mine.txt").write_text(str(number))
        kept = run.set_aside()
        assert kept == run.study.path / "superseded" / f"base-seed-0-{number}"
        assert run.status() == "missing" and not run.path.exists() and run.study.runs() == []
    for number in (1, 2, 3):
        kept = run.study.path / "superseded" / f"base-seed-0-{number}"
        assert {path.name for path in kept.iterdir()} == {*ARTEFACTS, "run.json", "notes"}
        assert (kept / "notes" / "mine.txt").read_text() == str(number)
        record = read_sealed(kept / "run.json")
        assert record is not None and record["metrics"]["number"] == number


def test_a_run_that_cannot_be_set_aside_is_one_line_and_stays(run: RunFolder) -> None:
    finish(run)
    (run.study.path / "superseded").write_text("a file in the folder's place")
    with pytest.raises(RunError, match="cannot be moved to .*superseded"):
        run.set_aside()
    assert run.verify()


def test_cleaning_removes_what_a_kill_left_and_nothing_else(run: RunFolder) -> None:
    finish(run)
    (run.path / ".run.json.123-abcd.tmp").write_text("half")
    for mine in ("mine.tmp", ".mine.tmp"):
        (run.path / mine).write_text("mine")
    run.clean()
    assert {path.name for path in run.path.iterdir()} == {*ARTEFACTS, "run.json", "mine.tmp", ".mine.tmp"}
    StudyFolder(run.study.out, "study").run("base", 99).clean()  # nothing there to clean


def test_runs_on_disk_are_listed_by_variant_and_seed_and_stray_folders_are_not(run: RunFolder) -> None:
    folder = run.study
    for variant, seed in (("b", 2), ("b", 10), ("a", 0)):
        (folder.run(variant, seed).path).mkdir(parents=True)
    strays = "seed-x seed- seed-1.5 seed--1 seed-007 seed-\u0663 seed-2(copy) notes"
    for stray in strays.split():
        (folder.path / "runs" / "b" / stray).mkdir()
    (folder.path / "runs" / "b" / "seed-5").write_text("a file")
    assert [(run.variant, run.seed) for run in folder.runs()] == [("a", 0), ("b", 2), ("b", 10)]
    assert StudyFolder(folder.out, "none").runs() == []


def test_results_that_could_not_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "not" / "yet", "study").check_writable()
    assert list(tmp_path.iterdir()) == [], "checking writes nothing"
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere/below")
    for name in ("file", "file/below", "link"):
        with pytest.raises(StudyError, match="^--out: .*(file|link) is not a folder that can be written to$"):
            StudyFolder(tmp_path / name, "study").check_writable()
    for name in (300 * "x", "/".join(30 * [200 * "x"])):
        with pytest.raises(StudyError, match="^--out: .*: File name too long$"):
            StudyFolder(tmp_path / name, "study").check_writable()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StudyError, match="not a folder that can be written to"):
            StudyFolder(tmp_path, "study").check_writable()
    finally:
        tmp_path.chmod(0o700)


def test_every_run_range_test_and_the_report_have_locks_of_their_own(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    runs = [folder.run("a", 1), folder.run("a", 11), folder.run("a-1", 1)]
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.lock(wait=False))
        for variant in ("a", "b"):
            stack.enter_context(folder.range_test_lock(variant, wait=False))
        stack.enter_context(folder.report_lock())
        assert len(list(folder.locks.glob("*.lock"))) == 6
        for run in runs:
            with pytest.raises(HeldError, match=f"^{run.name} is held by"), run.lock(wait=False):
                pass


def test_a_lock_clears_away_what_killed_writers_of_its_own_files_left(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    own = {"range_test/.a.csv.1-aa.tmp", "range_test/.a.json.1-aa.tmp"}
    others = {"range_test/.b.csv.1-aa.tmp", "range_test/a.csv", ".study.toml.1-aa.tmp"}
    for name in own | others:
        atomic_write(folder.path / name, "x")
    with folder.range_test_lock("a"):
        left = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
    assert own.isdisjoint(left) and others <= left


def test_the_resolved_study_replaces_the_one_before(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    for text in ("old", "new"):
        folder.write_study(text, {})
        assert folder.study_file.read_text() == text
