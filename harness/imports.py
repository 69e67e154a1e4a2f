"""A user's own code by import path, ``package.module:name``; only of packages that the user allows."""

from __future__ import annotations

import hashlib
import json
import linecache
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line

# Environment variables, which workers and nodes inherit: names of packages, folders that may hold them, and
# the source texts of modules that lie in no file.
ALLOWED, FOLDERS, SOURCES = "HARNESS_ALLOW", "HARNESS_PATH", "HARNESS_SOURCES"
MAX_SOURCE = 30_000  # characters; an environment variable of Windows holds as many
_sources: dict[str, str] = {}


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


def add_source(text: str) -> str:
    """Make a source text a module that may be imported, and return its name, which follows from the text.

    Raises:
        ValueError: the text is too long.
    """
    if len(text) > MAX_SOURCE:
        raise ValueError(
            f"its source has {len(text)} characters, {MAX_SOURCE} are the most: put it into a file"
        )
    module = _module_name(text)
    _sources[module] = text
    allow([module])
    return module


def _module_name(text: str) -> str:
    return f"model_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def pass_on_sources(paths: Iterable[str]) -> None:
    """Pass the source texts of these import paths to the processes that this one starts."""
    modules = {path.partition(":")[0] for path in paths}
    os.environ[SOURCES] = json.dumps({name: text for name, text in _sources.items() if name in modules})


def source_file(path: str) -> str | None:
    """Return the file that keeps the module of an import path if :func:`add_source` made it; else None."""
    module = path.partition(":")[0]
    return f"{module}.py" if re.fullmatch("model_[0-9a-f]{12}", module) else None


def kept_source(path: str, folder: Path | None = None) -> str | None:
    """Return the text of a module that :func:`add_source` made, in this process or an earlier one.

    Args:
        folder: where its file is looked for; None for the folders that modules are imported from.
    """
    file, module = source_file(path), path.partition(":")[0]
    if file is None:
        return None
    if folder is None and (text := _source(module)) is not None:
        return text
    for place in [folder] if folder else map(Path, _folders()):
        with suppress(OSError, UnicodeDecodeError):
            text = (place / file).read_bytes().decode()
            if _module_name(text) == module:
                return text
    return None


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
        raise StudyError(f"{place}: importing {package!r} is not allowed; add --allow {package}")
    try:
        return getattr(_import(module), attribute)
    except ModuleNotFoundError as error:
        beside = f"; put {package}.py beside the study file or into the current folder, or install it"
        hint = beside if error.name == package else ""
        raise StudyError(f"{place}: {one_line(error, 200)}{hint}") from None
    except (Exception, SystemExit) as error:  # importing a user's code may raise anything
        raise StudyError(f"{place}: {type(error).__name__}: {one_line(error, 200)}") from None


def package_of(path: str) -> str:
    """Return the package of an import path, which ``--allow`` names."""
    return path.partition(":")[0].partition(".")[0]


def source_digest(path: str) -> str:
    """Return the SHA-256 of an import path's module file, because other code is another configuration.

    Modules that it imports are not included.
    """
    return hashlib.sha256(_content(path.partition(":")[0])).hexdigest()


def source_digests(names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those of the names that are import paths, in alphabetical order."""
    return {name: source_digest(name) for name in sorted(set(names)) if ":" in name}


def _folders() -> list[str]:
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _content(module: str) -> bytes:
    """Return the bytes of a module's file."""
    file = _import(module).__file__
    if (text := _source(module)) is not None:
        return text.encode()
    return Path(file).read_bytes() if file else b""


def _source(module: str) -> str | None:
    text = _sources.get(module) or json.loads(os.environ.get(SOURCES) or "{}").get(module)
    return None if text is None else str(text)


def _import(module: str) -> ModuleType:
    from harness.vision import with_torchvision

    if module not in sys.modules and (text := _source(module)) is not None:
        return with_torchvision(lambda: _module_of(text, module))
    sys.path += [folder for folder in _folders() if folder not in sys.path]  # at the end, to shadow nothing
    return with_torchvision(lambda: import_module(module))


def _module_of(text: str, name: str) -> ModuleType:
    """Execute a source text as a module; tracebacks and ``inspect`` find its lines."""
    module = ModuleType(name)
    module.__file__ = f"{name}.py"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    sys.modules[name] = module
    try:
        exec(compile(text, module.__file__, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
