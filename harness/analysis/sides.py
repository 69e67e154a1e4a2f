"""Find and read the results that are compared with each other: one variant of each folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.results import read_published, read_variant
from harness.analysis.runs import Run
from harness.errors import RunError, StudyError
from harness.messages import one_line, suggest
from harness.metrics import ACCURACY, metric_of
from harness.store.folders import StudyFolder
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Recipe, Study
from harness.study_file.load import load_study
from harness.study_file.targets import Target
from harness.study_file.values import NAME_PATTERN

LOOKS_LIKE = "it looks like results/<study>, or results/<study>:<variant>"
OWN_FILES = ("study.toml", "report.html", "report.md", "report.json")  # stand for their folder


@dataclass(frozen=True, eq=False)
class Side:
    """One of the results that are compared: the runs of a variant.

    Attributes:
        label: its name in tables and sentences; no two sides share one.
        others: further variants of the folder that have runs.
        runs: planned or on disk, by seed; each has the side's label.
    """

    label: str
    folder: StudyFolder
    variant: str
    others: tuple[str, ...]
    study: Study
    runs: tuple[Run, ...] = ()

    @property
    def finished(self) -> list[Run]:
        """The finished runs."""
        return [run for run in self.runs if run.status == "finished"]

    @property
    def recorded(self) -> list[Run]:
        """The runs with a record, finished ones first."""
        return sorted(
            (run for run in self.runs if run.record is not None), key=lambda run: run.status != "finished"
        )

    @property
    def place(self) -> str:
        """The folder and the variant: ``results/onecycle:base``."""
        return f"{self.folder.path}:{self.variant}"

    @property
    def recipe(self) -> Recipe | None:
        """The variant's recipe in the study file; None where the file does not have the variant any more."""
        return self.study.recipes.get(self.variant)


def find_sides(names: Sequence[str | Path], out: Path) -> list[Side]:
    """Find the folders and variants that are named, without their runs.

    Args:
        names: paths of result folders, names of folders below ``out``, or study files; each may end with
            ``:<variant>``. Without a variant it is the study's baseline, or the only one with runs.
        out: where results are: ``--out``.

    Raises:
        StudyError: there are fewer than two names, or one of them is no result.
    """
    if len(names) < 2:
        raise StudyError(f"name at least two results to compare; {LOOKS_LIKE}")
    sides = [_find(str(name), out) for name in names]
    return [replace(side, label=label) for side, label in zip(sides, _labels(sides), strict=True)]


def _find(name: str, out: Path) -> Side:
    path, variant = _folder(name, out)
    absolute = Path(os.path.abspath(path))
    folder = StudyFolder(path.parent if path.name else absolute.parent, path.name or absolute.name)
    variants = _variants(folder)
    if not variants:
        raise StudyError(f"{path}: no runs; start them with python -m harness.study")
    study = _study(folder, variants)
    if variant is None:
        usual = variants if len(variants) == 1 else [study.baseline]
        if usual[0] not in variants:
            raise StudyError(
                f"{path}: no runs of {study.baseline!r}; name a variant: {_choices(path, variants)}"
            )
        variant = usual[0]
    elif variant not in variants:
        raise StudyError(f"{path}: no runs of variant {one_line(variant, 80)!r}{suggest(variant, variants)}")
    return Side("", folder, variant, tuple(other for other in variants if other != variant), study)


def _choices(path: Path, variants: Sequence[str]) -> str:
    return ", ".join(f"{path}:{variant}" for variant in variants[:4]) + (", ..." if len(variants) > 4 else "")


def _folder(name: str, out: Path) -> tuple[Path, str | None]:
    """Return the folder that a name means, and the variant if it names one."""
    head, colon, tail = name.rpartition(":")
    readings: list[tuple[str, str | None]] = [(name, None)]
    if head and colon:
        readings.append((head, tail))
    for text, variant in readings:
        if os.path.basename(text) in OWN_FILES and _is_result(Path(text).parent):
            return Path(text).parent, variant
        if text.endswith(".toml") and os.path.isfile(text):
            return _known(out / load_study(text).name, name), variant
        for path in (Path(text), out / text) if text else ():
            if _is_result(path):
                return path, variant
    known = [entry.name for entry in _entries(out) if _is_result(Path(entry.path))]
    shown = one_line(name, 200)
    if os.path.lexists(name):
        raise StudyError(f"{shown}: not a result folder; {LOOKS_LIKE}")
    raise StudyError(f"{shown}: no such result, here or in {out}{suggest(head or name, known)}; {LOOKS_LIKE}")


def _known(path: Path, name: str) -> Path:
    if not _is_result(path):
        raise StudyError(f"{path}: no results of {name} yet; start it with python -m harness.study {name}")
    return path


def _is_result(path: Path) -> bool:
    return os.path.isdir(path / "runs") or os.path.isfile(path / "study.toml")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


def _variants(folder: StudyFolder) -> list[str]:
    """List the variants that have runs on disk, as folders or as published records."""
    entries = _entries(folder.path / "runs")
    names = {entry.name for entry in entries if next(folder.runs_of(entry.name), None) is not None}
    names |= {entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")}
    return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))


def _study(folder: StudyFolder, variants: Sequence[str]) -> Study:
    """Load the study of a folder; of one without ``study.toml`` the built-in study that its runs name."""
    if os.path.lexists(folder.study_file):
        return load_study(folder.study_file)
    for run in (run for variant in variants for run in folder.runs_of(variant)):
        with suppress(RunError):
            if (record := run.record()) is not None and record.study in builtin_studies():
                return load_study(record.study)
    raise StudyError(
        f"{folder.path}: no study.toml; write it with python -m harness.study STUDY --out DIR --report-only"
    )


def _labels(sides: Sequence[Side]) -> list[str]:
    """Name each side as shortly as tells them apart: the study, with the variant where there are several."""
    names = [f"{side.folder.name}:{side.variant}" if side.others else side.folder.name for side in sides]
    places = [(os.path.abspath(side.folder.path), side.variant) for side in sides]
    for shape in ("{0.folder.path.parent.name}/{1}", "{0.folder.path.parent}/{1}"):
        counts = Counter(name for name, _ in {*zip(names, places, strict=True)})
        names = [
            shape.format(replace(side, folder=_absolute(side.folder)), name.rpartition("/")[2])
            if counts[name] > 1
            else name
            for side, name in zip(sides, names, strict=True)
        ]
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return labels


def _absolute(folder: StudyFolder) -> StudyFolder:
    return StudyFolder(Path(os.path.abspath(folder.out)), folder.name)


def common_target(sides: Sequence[Side]) -> Target:
    """Return the target that all sides share, else one of accuracy, else that of the first.

    The compared metric is the target's: where studies have targets of different metrics, it is accuracy.
    """
    targets = [side.study.target for side in sides]
    if len({target.of for target in targets}) == 1:
        return targets[0]
    return next((target for target in targets if target.of == ACCURACY), targets[0])


def read_sides(sides: Sequence[Side], target: Target) -> list[Side]:
    """Read the runs of each side.

    Raises:
        StudyError: published records are damaged, or the target's metric may not be imported.
    """
    metrics = [metric_of(target.of)]
    read = []
    for side in sides:
        runs: list[Run] = []
        try:
            if os.path.isfile(side.folder.path / "runs" / f"{side.variant}.json"):
                runs = read_published(side.folder, side.variant)
            else:
                on_disk = {run.seed for run in side.folder.runs_of(side.variant)}
                seeds = sorted(on_disk.union(side.study.seeds))
                runs, _ = read_variant(side.folder, side.variant, seeds, metrics)
        except RunError as error:
            raise StudyError(str(error)) from None
        read.append(replace(side, runs=tuple(replace(run, label=side.label) for run in runs)))
    return read
