"""A user's own code by import path, ``package.module:name``; only of packages that the user allows."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line

# Environment variables, which workers and nodes inherit: names of packages, and folders that may hold them.
ALLOWED, FOLDERS = "HARNESS_ALLOW", "HARNESS_PATH"


def allow(packages: Sequence[str], folders: Sequence[str | Path] = ()) -> None:
    """Allow studies to name code in these packages, in this process and the processes that it starts.

    Args:
        folders: further folders to import them from; installed packages come first.

    Raises:
        StudyError: not the name of a package.
    """
    for package in packages:
        if not package.isidentifier():
            raise StudyError(
                f"--allow {one_line(package, 80)}: expected a package's name, such as my_package"
            )
    os.environ[ALLOWED] = ",".join(dict.fromkeys([*allowed(), *packages]))
    if allowed():
        places = [*_folders(), *(os.path.abspath(folder) for folder in (".", *folders))]
        os.environ[FOLDERS] = os.pathsep.join(dict.fromkeys(places))


def allowed() -> list[str]:
    """List the packages that may be imported from."""
    return [name for name in os.environ.get(ALLOWED, "").split(",") if name]


def import_allowed(path: str, place: str, *, trusted: bool = False) -> Any:
    """Import what a study names by ``package.module:name``.

    Args:
        place: the study's key, for the error, such as ``"study: optimizer.name"``.
        trusted: import it though its package was not allowed, because an installed package registered it.

    Raises:
        StudyError: its package is not allowed, it does not exist, or importing it raises an error.
    """
    module, _, attribute = path.partition(":")
    package = package_of(path)
    if not trusted and package not in allowed():
        raise StudyError(f"{place}: a study may not import {package!r} unless you say --allow {package}")
    try:
        return getattr(_import(module), attribute)
    except ModuleNotFoundError as error:
        beside = f"; put {package}.py beside the study file or into the current folder, or install it"
        hint = beside if error.name == package else ""
        raise StudyError(f"{place}: {one_line(error, 200)}{hint}") from None
    except Exception as error:  # importing a user's code may raise anything
        raise StudyError(f"{place}: {type(error).__name__}: {one_line(error, 200)}") from None


def package_of(path: str) -> str:
    """Return the package of an import path, which ``--allow`` names."""
    return path.partition(":")[0].partition(".")[0]


def source_digest(path: str) -> str:
    """Return the SHA-256 of an import path's module file, because other code is another configuration.

    Modules that it imports are not included.
    """
    file = _import(path.partition(":")[0]).__file__
    return hashlib.sha256(Path(file or "").read_bytes() if file else b"").hexdigest()


def source_digests(names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those of the names that are import paths, in alphabetical order."""
    return {name: source_digest(name) for name in sorted(set(names)) if ":" in name}


def _folders() -> list[str]:
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _import(module: str) -> ModuleType:
    from harness.vision import with_torchvision

    sys.path += [folder for folder in _folders() if folder not in sys.path]  # at the end, to shadow nothing
    return with_torchvision(lambda: import_module(module))
