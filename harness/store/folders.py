"""Study and run folders: places of files, locks, and the state of a run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.errors import RunError, StudyError
from harness.imports import kept_source, source_file
from harness.store.atomic import atomic_write, sha256_file
from harness.store.locks import locked
from harness.store.records import RunRecord
from harness.store.sealed import read_sealed, write_sealed

Status = Literal["missing", "partial", "finished", "failed"]
WEIGHTS = "model.safetensors"
# The files of a finished run besides run.json, which holds their checksums.
ARTEFACTS = ("history.csv", "learning_rates.csv", "predictions.npz", WEIGHTS)
# Those of a run that has found its own rates.
OWN_RANGE_TEST = ("range_test.csv", "range_test.json")


def _remove_temporaries(folder: Path, names: str = ".*") -> None:
    """Remove the temporary files of killed writers; call it only under the lock of these files."""
    for leftover in folder.glob(".*.tmp"):
        if re.fullmatch(rf"\.{names}\.\d+-[0-9a-f]+\.tmp", leftover.name):
            with suppress(OSError):
                leftover.unlink()


@dataclass(frozen=True)
class RunFolder:
    """``runs/<variant>/seed-<n>`` of a study."""

    study: StudyFolder
    variant: str
    seed: int

    @property
    def path(self) -> Path:
        """Return the folder itself."""
        return self.study.path / "runs" / self.variant / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """Return ``study/variant/seed-n``, for messages."""
        return f"{self.study.name}/{self.variant}/seed-{self.seed}"

    @property
    def record_file(self) -> Path:
        """Return where run.json is."""
        return self.path / "run.json"

    @property
    def weights_file(self) -> Path:
        """Return where the last epoch's weights are; a finished run may lack them, see :meth:`verify`."""
        return self.path / WEIGHTS

    @property
    def exports(self) -> Path:
        """Return the folder of its exported network."""
        return self.study.path / "exports" / self.variant / self.path.name

    @property
    def checkpoint_file(self) -> Path:
        """Return where the checkpoint is while the run is under way."""
        return self.path / "checkpoint.pt"

    def lock(
        self, *, wait: bool = True, say: Callable[[str], None] | None = None
    ) -> AbstractContextManager[None]:
        """Return the lock that a process has to hold while it executes this run."""
        path = self.study.locks / f"run-{self.variant}-{self.seed}.lock"
        return locked(path, self.name, wait=wait, say=say)

    def record(self) -> RunRecord | None:
        """Read run.json; None if it is missing.

        Raises:
            RunError: it is damaged, or the record of another run that was copied here.
        """
        content = read_sealed(self.record_file)
        if content is None:
            return None
        with suppress(RunError):
            record = RunRecord.from_json(content)
            if (record.variant, record.seed) == (self.variant, self.seed):
                return record
        raise RunError(f"{self.record_file}: not the record of this run; --force moves it aside")

    def write(self, record: RunRecord) -> None:
        """Write run.json."""
        write_sealed(self.record_file, record.to_json())

    def status(self) -> Status:
        """Return the state of the run by its record; a run that has started and not ended is partial."""
        record = self.record()
        if record is None:
            return "partial" if self.checkpoint_file.exists() else "missing"
        return "partial" if record.status == "running" else record.status

    def verify(self) -> RunRecord:
        """Return the record of a finished run, after checking the checksum of every artefact.

        The weights may be missing, as in published results: all numbers come from the other files.

        Raises:
            RunError: a file is missing or damaged; the message names the first one.
        """
        record = self.record()
        if record is None or record.status != "finished":
            raise RunError(f"{self.path}: not a finished run")
        own = [name for name in OWN_RANGE_TEST if name in record.files]
        for name in (*ARTEFACTS, *own):
            file = self.path / name
            try:
                intact = sha256_file(file) == record.files.get(name)
            except OSError as error:
                if name == WEIGHTS and not os.path.lexists(file):
                    continue
                raise RunError(f"{file}: cannot be read: {error.strerror}") from None
            if not intact:
                raise RunError(f"{file}: damaged (its checksum does not match); --force moves the run aside")
        return record

    def finish(self, record: RunRecord) -> None:
        """Write the record of a run whose artefacts are all on disk, then drop its checkpoint."""
        own = [name for name in OWN_RANGE_TEST if (self.path / name).exists()]
        files = {name: sha256_file(self.path / name) for name in (*ARTEFACTS, *own)}
        self.write(replace(record, files=files))
        self.drop_checkpoint()

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint of a run that is done, if it is still there."""
        with suppress(OSError):
            self.checkpoint_file.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove temporary files that a killed process left behind; call it under the lock."""
        _remove_temporaries(self.path)

    def set_aside(self) -> Path:
        """Move the folder to ``superseded/``, so that the run can start again."""
        return self.study.set_aside(f"{self.variant}-seed-{self.seed}", self.path)


@dataclass(frozen=True)
class StudyFolder:
    """``<out>/<study>``."""

    out: Path
    name: str

    @property
    def path(self) -> Path:
        """Return the folder itself."""
        return self.out / self.name

    @property
    def tables(self) -> Path:
        """Return where the CSV tables are."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Return where the figures are."""
        return self.path / "figures"

    @property
    def study_file(self) -> Path:
        """Return where the resolved study is."""
        return self.path / "study.toml"

    @property
    def locks(self) -> Path:
        """Return where the lock files of runs, range tests and the report are."""
        return self.path / ".locks"

    def run(self, variant: str, seed: int) -> RunFolder:
        """Return the folder of a run, whether it exists or not."""
        return RunFolder(self, variant, seed)

    def range_test_csv(self, variant: str, seed: int | None = None) -> Path:
        """Return where the sweeps of a variant's range test are; with a seed, of that run's own one."""
        if seed is not None:
            return self.run(variant, seed).path / OWN_RANGE_TEST[0]
        return self.path / "range_test" / f"{variant}.csv"

    def range_test_json(self, variant: str, seed: int | None = None) -> Path:
        """Return where the rates chosen from the sweeps are."""
        if seed is not None:
            return self.run(variant, seed).path / OWN_RANGE_TEST[1]
        return self.path / "range_test" / f"{variant}.json"

    @contextmanager
    def range_test_lock(
        self, variant: str, *, wait: bool = True, say: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Hold the lock of a variant's range test."""
        path = self.locks / f"range-test-{variant}.lock"
        with locked(path, f"{self.name}/range_test/{variant}", wait=wait, say=say):
            _remove_temporaries(self.path / "range_test", rf"{re.escape(variant)}\.(csv|json)")
            yield

    @contextmanager
    def report_lock(self) -> Iterator[None]:
        """Hold the lock of tables, figures and pages."""
        with locked(self.locks / "report.lock", f"{self.name}/report"):
            _remove_temporaries(self.tables)
            _remove_temporaries(self.figures)
            _remove_temporaries(self.path, r"report\.(md|html|json)")
            yield

    @contextmanager
    def index_lock(self) -> Iterator[None]:
        """Hold the lock of the page of all studies, which is beside their folders."""
        with locked(self.out / ".index.lock", f"{self.out}/index.html"):
            _remove_temporaries(self.out, r"index\.html")
            yield

    def write_study(self, text: str, sources: Mapping[str, str]) -> None:
        """Write the resolved study.

        Args:
            sources: texts of modules that it names and that have no other file, by the names of their files.
        """
        with locked(self.locks / "study.lock", f"{self.name}/study.toml"):
            _remove_temporaries(self.path, r"(study\.toml|model_[0-9a-f]+\.py)")
            for file, source in sources.items():
                atomic_write(self.path / file, source)
            atomic_write(self.study_file, text)

    def sources(self, names: Iterable[str]) -> dict[str, str]:
        """Return the source texts of networks that lie beside study.toml, by the names of their files.

        Args:
            names: import paths of networks.
        """
        texts = {source_file(name): kept_source(name, self.path) for name in names}
        return {file: text for file, text in texts.items() if file and text}

    def set_aside(self, name: str, *paths: Path) -> Path:
        """Move files or a folder to ``superseded/<name>-<n>``, keeping them.

        Returns:
            The new path of the first of them.
        """
        kept, number = self.path / "superseded", 1
        while [*kept.glob(f"{name}-{number}"), *kept.glob(f"{name}-{number}.*")]:
            number += 1
        targets = [kept / f"{name}-{number}{'' if path.is_dir() else path.suffix}" for path in paths]
        for path, target in zip(paths, targets, strict=True):
            try:
                kept.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    shutil.move(path, target)
            except OSError as error:
                raise RunError(f"{path}: cannot be moved to {target}: {error.strerror or error}") from error
        return targets[0]

    def runs(self) -> list[RunFolder]:
        """Return every run folder on disk, sorted by variant name and seed."""
        runs = [run for path in (self.path / "runs").glob("*/") for run in self.runs_of(path.name)]
        return sorted(runs, key=lambda run: (run.variant, run.seed))

    def runs_of(self, variant: str) -> Iterator[RunFolder]:
        """Yield a variant's run folders on disk, unsorted, so that the first of thousands comes at once."""
        folder = self.path / "runs" / variant
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                name = re.fullmatch("seed-(0|[1-9][0-9]*)", entry.name)
                if name and entry.is_dir():
                    yield RunFolder(self, variant, int(name[1]))

    def check_writable(self) -> None:
        """Check, before any work, that results can be written.

        Raises:
            StudyError: they cannot; the message names the folder.
        """
        existing = self.path
        while existing != existing.parent:
            try:
                os.lstat(existing)  # not stat, which would miss a broken link
                break
            except (FileNotFoundError, NotADirectoryError):
                existing = existing.parent
            except OSError as error:  # the name is too long, or a folder may not be entered
                raise StudyError(f"--out: {str(self.path)[:200]}: {error.strerror}") from None
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise StudyError(f"--out: {existing} is not a folder that can be written to")
