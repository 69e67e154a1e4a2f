"""Run folders: writes that are whole or not there, and records that notice damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HeldError, RunError, StudyError
from harness.store.atomic import atomic_write, sha256_file
from harness.store.folders import ARTEFACTS, WEIGHTS, RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.store.sealed import digest, first_difference, read_sealed, write_sealed

RECORD = {"status": "finished", "n": [1, 2.5, None, True], "text": 'é "quoted"\n', "nested": {"a": 0.1}}


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


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


# Atomic writes


def test_a_write_makes_folders_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    atomic_write(path, "é old")
    assert path.read_text(encoding="utf-8") == "é old"
    atomic_write(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
    assert list(path.parent.iterdir()) == [path]


def test_a_path_below_a_file_cannot_be_written_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        RunError, match=r"file/below: cannot be written: (Not a directory|File exists)$"
    ) as caught:
        atomic_write(tmp_path / "file" / "below", "y")
    assert isinstance(caught.value.__cause__, OSError), "what the disk said decides the kind of failure"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_files_place_stays_and_no_part_is_left(tmp_path: Path) -> None:
    (tmp_path / "target" / "inner").mkdir(parents=True)
    with pytest.raises(RunError, match="target: cannot be written: "):
        atomic_write(tmp_path / "target", "y")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "old")
    done = python(
        """
        import resource, signal, sys
        from pathlib import Path
        from harness.errors import RunError
        from harness.store.atomic import atomic_write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            atomic_write(Path(sys.argv[1]), b"x" * 100_000)
        except RunError as error:
            print(error)
        """,
        tmp_path / "file",
    )
    assert done.stdout == f"{tmp_path / 'file'}: cannot be written: File too large\n", done.stderr
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupt_in_the_middle_of_a_write_leaves_no_part(tmp_path: Path) -> None:
    done = python(
        """
        import os, sys
        from pathlib import Path
        from harness.store.atomic import atomic_write
        def interrupted(handle):
            raise KeyboardInterrupt
        os.fsync = interrupted
        atomic_write(Path(sys.argv[1]), b"x")
        """,
        tmp_path / "file",
    )
    assert "KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_many_writers_of_one_file_leave_one_whole_content(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([65 + n]) * 50_000 for n in range(8)]
    failures: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(10):
                atomic_write(path, content)
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_bytes() in contents
    assert failures == [] and list(tmp_path.iterdir()) == [path]


# Records


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_sealed(tmp_path / "r.json", RECORD)
    assert read_sealed(tmp_path / "r.json") == RECORD
    assert json.loads((tmp_path / "r.json").read_text())["checksum"] == digest(RECORD)


def test_a_record_that_was_read_can_be_written_again(tmp_path: Path) -> None:
    write_sealed(tmp_path / "r.json", {**RECORD, "checksum": "of another time"})
    assert read_sealed(tmp_path / "r.json") == RECORD


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_sealed(tmp_path / "none.json") is None


def test_a_record_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, RECORD)
    content = path.read_bytes()
    for at in range(len(content)):
        others = {*(content[at] ^ 1 << bit for bit in range(8)), *b'\n\t "0eE.'} - {content[at]}
        for byte in others:
            path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
            with pytest.raises(RunError, match="r.json: damaged"):
                read_sealed(path)


def test_a_record_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, RECORD)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match="r.json: damaged"):
            read_sealed(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"3",
        b"null",
        b'"checksum"',
        b'{"checksum": null}',
        b'{"checksum": NaN}',
        b"\xff",
        b"[" * 100_000,
        b"{" * 3,
        b'{"a": NaN, "checksum": "x"}',
        b'{"a": ' + b"9" * 5000 + b', "checksum": "x"}',
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(RunError, match="r.json: "):
        read_sealed(tmp_path / "r.json")


def test_a_record_holds_finite_numbers_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "r.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_digest_depends_on_values_and_not_on_order() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert len({digest({"a": value}) for value in (1, 1.5, "1", True, None, [1], {"b": 1})}) == 7


# Differences


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"b": 1, "a": {"x": {"y": 1}}}, {"b": 2, "a": {"x": {"y": 2}}}, "a.x.y: 1 planned, 2 on disk"),
        ({"a": 1, "new": None}, {"a": 1}, "new: null planned, nothing on disk"),
        ({"a": {}}, {"a": {"old": 3}}, "a.old: nothing planned, 3 on disk"),
        ({"a": 0}, {"a": 0.0}, "a: 0 planned, 0.0 on disk"),
        ({"a": True}, {"a": 1}, "a: true planned, 1 on disk"),
        ({"a": {"b": 1}}, {"a": [1]}, 'a: {"b":1} planned, [1] on disk'),
        (
            {"t": [{"p": 1, "long": "x" * 99}, {"p": 1}]},
            {"t": [{"p": 1, "long": "x" * 99}, {"p": 0.5}]},
            "t[1].p: 1 planned, 0.5 on disk",
        ),
        ({"t": [1]}, {"t": [1, 2]}, "t[1]: nothing planned, 2 on disk"),
        ({"t": (1, 2)}, {"t": [1, 2]}, None),
        ({"t": "x" * 99}, {"t": "y"}, f't: "{"x" * 58}… planned, "y" on disk'),
    ],
)
def test_the_first_difference_is_named_with_its_path_and_both_values(
    ours: Any, theirs: Any, said: str | None
) -> None:
    assert first_difference(ours, theirs) == said
    assert (said is None) == (digest(ours) == digest(theirs)), "where digests differ a difference is named"


# Run folders


def test_a_run_that_was_never_begun_is_missing(run: RunFolder) -> None:
    assert run.status() == "missing" and run.record() is None


@pytest.mark.parametrize("status", ["finished", "failed", "partial"])
def test_a_runs_status_is_what_its_record_says(run: RunFolder, status: str) -> None:
    write_sealed(run.record_file, record_of(run, "running" if status == "partial" else status))
    assert run.status() == status


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "other"},
        {"seed": 1},
        {"status": "done"},
        {"status": None},
        {"status": "failed"},
        {"digest": None},
        {"identity": None},
        {"metrics": []},
        {"error": "text"},
    ],
)
def test_a_record_of_something_else_is_refused_although_it_is_intact(
    run: RunFolder, changes: dict[str, Any]
) -> None:
    write_sealed(run.record_file, {**record_of(run, "finished"), **changes})
    for ask in (run.record, run.status, run.verify):
        with pytest.raises(RunError, match="run.json: not the record of this run; --force moves it aside"):
            ask()


def test_a_run_of_which_there_is_only_a_checkpoint_is_partial(run: RunFolder) -> None:
    atomic_write(run.checkpoint_file, b"x")
    assert run.status() == "partial"


def test_a_damaged_record_is_an_error_and_not_a_status(run: RunFolder) -> None:
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


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ARTEFACTS
        for damage in ("flip", "cut", "grow", "empty", "gone", "folder")
        if (name, damage) != (WEIGHTS, "gone")
    ],
)
def test_verify_names_the_artefact_that_is_damaged(run: RunFolder, name: str, damage: str) -> None:
    finish(run)
    file = run.path / name
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "gone":
        flipped = content[:5] + bytes([content[5] ^ 1]) + content[6:]
        file.write_bytes(
            {"flip": flipped, "cut": content[:-1], "grow": content + b"\n", "empty": b""}[damage]
        )
    with pytest.raises(RunError, match=f"{name}: (damaged|cannot be read)"):
        run.verify()


def test_verify_takes_a_run_whose_weights_were_removed(run: RunFolder) -> None:
    finish(run)
    run.weights_file.unlink()
    assert run.verify().status == "finished"
    run.weights_file.symlink_to(run.path / "nowhere")
    with pytest.raises(RunError, match="cannot be read"):
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
        assert run.status() == "missing" and not run.path.exists()
    for number in (1, 2, 3):
        kept = run.study.path / "superseded" / f"base-seed-0-{number}"
        assert {path.name for path in kept.iterdir()} == {*ARTEFACTS, "run.json", "notes"}
        assert (kept / "notes" / "mine.txt").read_text() == str(number)
        record = read_sealed(kept / "run.json")
        assert record is not None and record["metrics"]["number"] == number
    assert run.study.runs() == []


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
    for stray in (
        "seed-x",
        "seed-",
        "seed-1.5",
        "seed--1",
        "seed-007",
        "seed-\u0663",
        "seed-2 (copy)",
        "notes",
    ):
        (folder.path / "runs" / "b" / stray).mkdir()
    (folder.path / "runs" / "b" / "seed-5").write_text("a file")
    assert [(run.variant, run.seed) for run in folder.runs()] == [("a", 0), ("b", 2), ("b", 10)]
    assert StudyFolder(folder.out, "none").runs() == []


def test_results_that_could_not_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "not" / "yet", "study").check_writable()
    assert list(tmp_path.iterdir()) == [], "checking writes nothing"
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StudyError, match="^--out: .*file is not a folder that can be written to$"):
            StudyFolder(out, "study").check_writable()


def test_a_link_to_nowhere_and_a_name_too_long_are_no_places_for_results(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/below")
    with pytest.raises(StudyError, match="^--out: .*link is not a folder that can be written to$"):
        StudyFolder(tmp_path / "link", "study").check_writable()
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
        folder.write_study(text)
        assert folder.study_file.read_text() == text
