"""The built-in studies: their files, and their best published results."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import StudyError
from harness.messages import nearest, one_line, suggest


def studies_folder() -> Path:
    """Return where the built-in study files lie, in an installed package or in a checkout."""
    package = Path(__file__).parent.parent
    return package / "studies" if (package / "studies").is_dir() else package.parent / "studies"


def builtin_studies() -> dict[str, Path]:
    """Return name -> file of every built-in study."""
    return {path.stem: path for path in sorted(studies_folder().glob("*.toml"))}


def known_results() -> dict[str, dict[str, Any]]:
    """Return study -> ``variant``, ``mean``, ``std`` and ``n`` of the best published result."""
    results: dict[str, dict[str, Any]] = json.loads((studies_folder() / "results.json").read_text("utf-8"))
    return results


def find_study(name_or_path: str) -> Path:
    """Return the file of a built-in study, or the path itself.

    Raises:
        StudyError: neither exists.
    """
    builtin = builtin_studies()
    if name_or_path in builtin:
        return builtin[name_or_path]
    path, shown = Path(name_or_path), one_line(name_or_path)
    try:
        if path.is_file():
            return path
    except OSError as error:  # no file can have this name, or a folder may not be entered
        raise StudyError(f"study file not found: {shown}: {error.strerror}") from None
    if path.suffix == ".toml" or path.name != name_or_path:
        raise StudyError(f"study file not found: {shown}{_hint(path, builtin)}")
    if (beside := Path(f"{path}.toml")).is_file():
        raise StudyError(f"no study named {shown!r}; for the file write {one_line(beside)}")
    if name_or_path.isdecimal():
        raise StudyError(f"no study named {shown!r}; separate seeds by commas: --seeds 0,{shown}")
    hint = suggest(name_or_path, builtin)
    raise StudyError(f"no study named {shown!r}{hint}; --list shows the built-in ones")


def _hint(path: Path, builtin: dict[str, Path]) -> str:
    """Return what a path without a file may stand for."""
    with suppress(OSError):
        if path.is_dir():
            inside = sorted(path.glob("*.toml"))
            example = inside[0] if inside else path / "study.toml"
            return f"; it is a folder: write the file, such as {one_line(example)}"
        near = nearest(path.stem, [file.stem for file in path.parent.glob("*.toml")])
        if near is not None:
            return f", did you mean {one_line(path.with_name(f'{near}.toml'))!r}?"
    if (name := nearest(path.stem, builtin)) is not None:
        return f"; for the built-in study write {name}"
    return "; write the path of an existing file, or --list for the built-in studies"
