"""Decoded arrays kept from one start to the next, outside the data folder, trusted only by checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL
import platformdirs

from harness.data import decode
from harness.data.arrays import Split, split_of
from harness.errors import DataError

_log = logging.getLogger(__name__)
_ABANDONED_SECONDS = 3600  # an older temporary file is a killed process's


def cache_folder() -> Path:
    """``$HARNESS_CACHE`` where set, else ``arrays`` in the user's cache folder."""
    named = os.environ.get("HARNESS_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("harness", appauthor=False) / "arrays"


def cached(
    source: str, which: str, place: Sequence[object], files: Sequence[Path], build: Callable[[], Split]
) -> Split:
    """The split that ``build`` gives, from the cache where nothing has changed since it was built.

    An entry holds for one source, split and place, the decoder's version, and each file's path, size and
    time of change. Arrays whose SHA-256 is not the recorded one are built again. A newer entry replaces the
    older ones of its place, so a folder that changes does not fill the disk. Writing is atomic, so processes
    may share the cache, and its failure is no error.

    Args:
        source: the data source's name.
        which: ``"train"`` or ``"test"``.
        place: what tells this split from the source's others (folder, options), whatever the files hold now.
        files: the files the arrays are made of.
        build: reads the files.

    Raises:
        DataError: a file is gone; whatever ``build`` raises.
    """
    try:
        stamps = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    except OSError as error:
        raise DataError(f"{source}: {error.filename} cannot be read: {error.strerror}") from error
    prefix = f"{source}-{which}-{_short_hash([source, which, *map(str, place)])}"
    state = _short_hash([decode.VERSION, PIL.__version__, stamps])
    entry = cache_folder() / f"{prefix}-{state}.safetensors"
    split = _read(entry)
    if split is None:
        split = build()
        _write(entry, split)
        _drop_older(entry, prefix)
    return split


def _short_hash(key: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]


def _read(entry: Path) -> Split | None:
    from safetensors import SafetensorError, safe_open

    if not entry.exists():
        return None
    try:
        with safe_open(entry, framework="numpy") as arrays:
            recorded = arrays.metadata()
            classes = json.loads(recorded["classes"])
            split = split_of(arrays.get_tensor("images"), arrays.get_tensor("labels"), classes)
        if split.sha256 != recorded["sha256"]:
            raise ValueError("its arrays do not have the recorded SHA-256")
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, DataError) as error:
        _log.warning("cache entry %s is damaged and built again: %s", entry, " ".join(str(error).split()))
        return None
    return split


def _write(entry: Path, split: Split) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=entry.parent, prefix=entry.stem, suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        metadata = {"classes": json.dumps(split.classes), "sha256": split.sha256}
        save_file({"images": split.images, "labels": split.labels}, temporary, metadata)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, entry)
    except (OSError, SafetensorError) as error:
        _log.warning(
            "decoded arrays cannot be kept in %s (%s); HARNESS_CACHE names another folder",
            entry.parent,
            " ".join(str(error).split()),
        )
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _drop_older(entry: Path, prefix: str) -> None:
    with contextlib.suppress(OSError):
        for other in entry.parent.glob(f"{prefix}-*"):
            with contextlib.suppress(OSError):
                abandoned = time.time() - other.stat().st_mtime > _ABANDONED_SECONDS
                if other != entry and (other.suffix == ".safetensors" or abandoned):
                    other.unlink()
