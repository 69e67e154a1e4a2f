"""A cache of arrays on disk, outside data and results; an entry is used only if its checksum is right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import PIL
import platformdirs

from harness.data import decode
from harness.data.arrays import Split, split_of
from harness.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Kept = TypeVar("_Kept")
_log = logging.getLogger(__name__)
_DAMAGED = "its arrays do not have the recorded SHA-256"
_ABANDONED_SECONDS = 3600  # an older temporary file is a killed process's


def cache_folder() -> Path:
    """Return ``$HARNESS_CACHE`` where set, else ``arrays`` in the user's cache folder."""
    named = os.environ.get("HARNESS_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("harness", appauthor=False) / "arrays"


def cached(
    source: str, which: str, place: Sequence[object], files: Sequence[Path], build: Callable[[], Split]
) -> Split:
    """Return the split that ``build`` gives, from the cache where nothing has changed since it was built.

    An entry is valid for one source, split, place and decoder version, and each file's path and content;
    size and time would not show that a file was exchanged. Arrays whose SHA-256 is not the recorded one are
    built again. A new entry replaces the older ones of its place, so a folder that changes does not fill the
    disk. Writing is atomic, so processes may share the cache; if it fails, that is no error.

    Args:
        source: the data source's name.
        which: ``"train"`` or ``"test"``.
        place: what distinguishes this split from others of the source (folder, options), besides the content.
        files: the files the arrays are made of.
        build: reads the files.

    Raises:
        DataError: a file does not exist or is not a regular file; and any error of ``build``.
    """
    with ThreadPoolExecutor() as pool:  # hashing holds no lock
        contents = list(pool.map(lambda file: _content(source, file), files))
    stamps = [(str(file), content) for file, content in zip(files, contents, strict=True)]
    prefix = f"{source}-{which}-{_short_hash([source, which, *map(str, place)])}"
    state = _short_hash([decode.VERSION, PIL.__version__, stamps])
    entry = cache_folder() / f"{prefix}-{state}.safetensors"

    def read(arrays: Any) -> Split:
        recorded = arrays.metadata()
        classes = json.loads(recorded["classes"])
        split = split_of(arrays.get_tensor("images"), arrays.get_tensor("labels"), classes)
        if split.sha256 != recorded["sha256"]:
            raise ValueError(_DAMAGED)
        return split

    split = _read(entry, read)
    if split is None:
        split = build()
        metadata = {"classes": json.dumps(split.classes), "sha256": split.sha256}
        _write(entry, {"images": split.images, "labels": split.labels}, metadata)
        _drop_older(entry, prefix)
    return split


# Kept for this process: the entry of a test split hashes the files of the train split too.
_hashed: dict[tuple[str, int, int, int], str] = {}


def _content(source: str, file: Path) -> str:
    """Return a hash of a file's bytes."""
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):  # reading a pipe would never end
            raise DataError(f"{source}: {file} is not a regular file; remove it")
        key = (str(file), about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if key not in _hashed:
            with file.open("rb") as content:
                _hashed[key] = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{source}: {error.filename} cannot be read: {error.strerror}; restore it") from error
    return _hashed[key]


def cached_arrays(
    name: str, key: Mapping[str, object], build: Callable[[], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Return the arrays that ``build`` gives, from the cache where they were built before for the same key.

    An entry is found by the SHA-256 of its key. Arrays whose SHA-256 is not the recorded one are built again;
    an entry that cannot be written is no error.

    Args:
        name: the beginning of the entry's file name.
        key: everything that decides the arrays, for JSON: checksums of their inputs, settings, versions.
        build: makes the arrays, by name.
    """
    text = json.dumps(key, sort_keys=True)
    entry = cache_folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    def read(opened: Any) -> dict[str, NDArray[Any]]:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no dict)
        if _checksum(arrays) != opened.metadata()["sha256"]:
            raise ValueError(_DAMAGED)
        return arrays

    kept = _read(entry, read)
    if kept is not None:
        return kept
    # safetensors would write a non-contiguous array wrongly
    arrays = {name: np.ascontiguousarray(array) for name, array in build().items()}
    _write(entry, arrays, {"sha256": _checksum(arrays)})
    return arrays


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _short_hash(key: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]


def _read(entry: Path, read: Callable[[Any], _Kept]) -> _Kept | None:
    """Return what ``read`` makes of an entry's open file; None if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(entry, framework="numpy") as arrays:
            return read(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, DataError) as error:
        _log.warning("cache entry %s is damaged, rebuilding it: %s", entry, " ".join(str(error).split()))
        return None


def _write(entry: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=entry.parent, prefix=entry.stem, suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        save_file(arrays, temporary, metadata)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, entry)
    except (OSError, SafetensorError) as error:
        cause = " ".join(str(error).split())
        _log.warning(
            "arrays cannot be cached in %s (%s); set HARNESS_CACHE to another folder", entry.parent, cause
        )
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _drop_older(entry: Path, prefix: str) -> None:
    for other in entry.parent.glob(f"{prefix}-*"):
        with contextlib.suppress(OSError):  # another process may have been first
            abandoned = time.time() - other.stat().st_mtime > _ABANDONED_SECONDS
            if other != entry and (other.suffix == ".safetensors" or abandoned):
                other.unlink()
