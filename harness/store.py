"""Study and run folders on disk: atomic writes, locks, checksums, and what state a run is in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HeldError, RunError, StudyError

Status = Literal["missing", "partial", "finished", "failed"]
# What a finished run consists of beside run.json, which holds the checksums of these.
ARTEFACTS = ("history.csv", "learning_rates.csv", "predictions.npz", "model.safetensors")


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader or a kill sees the old one or the new one, never a part."""
    if isinstance(content, str):
        content = content.encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_file(path: Path) -> str:
    """Checksum of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """One text for equal values: JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity, in hex."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def first_difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """The first key in which two identities differ, with both values; None where they are equal."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            found = first_difference(ours.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return None
    if ours == theirs:
        return None
    return f"{path}: {_short(ours)} planned, {_short(theirs)} on disk"


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 60 else text[:59] + "…"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file that carries its own checksum."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    content["checksum"] = digest(content)
    atomic_write(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """Read such a file; None where there is none.

    Raises:
        RunError: it is not what was written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    try:
        content = json.loads(text)
        expected = content.pop("checksum")
        intact = digest(content) == expected
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise RunError(
            f"{path}: damaged (its checksum does not match); --force moves it aside and starts anew"
        )
    return dict(content)


@contextmanager
def locked(path: Path, what: str, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file; it dies with its process on a local disk.

    Args:
        what: named in the message.
        wait: until the holder is done; else a held lock is an error.

    Raises:
        HeldError: held by another process, which is named.
        RunError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    holder = path.with_suffix(".holder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "another process"
        raise HeldError(f"{what} is held by {who}; wait for it, or stop it") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be locked: {error.strerror or error}") from error
    try:
        with suppress(OSError):
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


@dataclass(frozen=True)
class RunFolder:
    """``runs/<variant>/seed-<n>`` of a study."""

    study: StudyFolder
    variant: str
    seed: int

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.study.path / "runs" / self.variant / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """For messages: ``study/variant/seed-n``."""
        return f"{self.study.name}/{self.variant}/seed-{self.seed}"

    @property
    def record_file(self) -> Path:
        """run.json."""
        return self.path / "run.json"

    @property
    def checkpoint_file(self) -> Path:
        """There only while the run is under way."""
        return self.path / "checkpoint.pt"

    def lock(self, *, wait: bool = True) -> Any:
        """The lock that whoever executes this run holds."""
        return locked(self.study.locks / f"run-{self.variant}-{self.seed}.lock", self.name, wait=wait)

    def record(self) -> dict[str, Any] | None:
        """run.json, or None; see :func:`read_record` for errors."""
        return read_record(self.record_file)

    def status(self) -> Status:
        """What run.json says; a run that was begun and not ended is partial."""
        record = self.record()
        if record is None:
            return "partial" if self.checkpoint_file.exists() else "missing"
        status: Status = record["status"] if record["status"] in ("finished", "failed") else "partial"
        return status

    def verify(self) -> dict[str, Any]:
        """The record of a finished run whose every artefact is what was written.

        Raises:
            RunError: naming the first file that is missing or damaged.
        """
        record = self.record()
        if record is None or record["status"] != "finished":
            raise RunError(f"{self.path}: not a finished run")
        for name in ARTEFACTS:
            file = self.path / name
            try:
                intact = sha256_file(file) == record["files"].get(name)
            except OSError as error:
                raise RunError(f"{file}: cannot be read: {error.strerror}") from None
            if not intact:
                raise RunError(f"{file}: damaged (its checksum does not match); --force moves the run aside")
        return record

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the record of a run whose artefacts are all on disk, then drop its checkpoint."""
        files = {name: sha256_file(self.path / name) for name in ARTEFACTS}
        write_record(self.record_file, {**record, "files": files})
        self.checkpoint_file.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove temporary files that a killed process left behind; call it under the lock."""
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Move the folder away, keeping it, so that the run can begin anew."""
        kept = self.study.path / "superseded"
        number = 1
        while (target := kept / f"{self.variant}-seed-{self.seed}-{number}").exists():
            number += 1
        kept.mkdir(parents=True, exist_ok=True)
        shutil.move(self.path, target)
        return target


@dataclass(frozen=True)
class StudyFolder:
    """``<out>/<study>``."""

    out: Path
    name: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.out / self.name

    @property
    def tables(self) -> Path:
        """Where the CSV tables lie."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Where the PNG figures lie."""
        return self.path / "figures"

    @property
    def study_file(self) -> Path:
        """The study as resolved."""
        return self.path / "study.toml"

    @property
    def locks(self) -> Path:
        """Lock files of runs, range tests and the report."""
        return self.path / ".locks"

    def run(self, variant: str, seed: int) -> RunFolder:
        """The folder of one run, there or not."""
        return RunFolder(self, variant, seed)

    def range_test_csv(self, variant: str) -> Path:
        """The sweep of a variant."""
        return self.path / "range_test" / f"{variant}.csv"

    def range_test_json(self, variant: str) -> Path:
        """What was chosen from it."""
        return self.path / "range_test" / f"{variant}.json"

    def range_test_lock(self, variant: str) -> Any:
        """Held while the sweep is under way."""
        return locked(self.locks / f"range-test-{variant}.lock", f"{self.name}/range_test/{variant}")

    def report_lock(self) -> Any:
        """Held while tables and figures are rebuilt."""
        return locked(self.locks / "report.lock", f"{self.name}/report")

    def runs(self) -> list[RunFolder]:
        """Every run folder on disk, sorted by variant name and seed."""
        found = []
        for path in (self.path / "runs").glob("*/seed-*"):
            number = path.name.removeprefix("seed-")
            if number.isdecimal() and path.is_dir():
                found.append(RunFolder(self, path.parent.name, int(number)))
        return sorted(found, key=lambda run: (run.variant, run.seed))

    def check_writable(self) -> None:
        """Fail before any work where results cannot be written.

        Raises:
            StudyError: naming the folder.
        """
        existing = self.path
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise StudyError(f"--out: {existing} is not a folder that can be written to")
