"""Sealed records: JSON files with their own checksum; and identities, their digests and differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.messages import one_line
from harness.store.atomic import atomic_write, open_regular

MAX_RECORD_BYTES = 64 << 20

_ABSENT = object()


def canonical(value: Any) -> str:
    """Return one text for equal values: JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an identity, in hex."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def first_difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """Return the first key in which two identities differ, with both values; None where they are equal."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            inner = ours.get(key, _ABSENT), theirs.get(key, _ABSENT)
            if difference := first_difference(*inner, f"{path}.{key}".lstrip(".")):
                return difference
        return None
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        for at, inner in enumerate(zip_longest(ours, theirs, fillvalue=_ABSENT)):
            if difference := first_difference(*inner, f"{path}[{at}]"):
                return difference
        return None
    if _short(ours, None) == _short(theirs, None):  # compared like the digest, for which 0 is not 0.0
        return None
    return f"{path}: {_short(ours)} planned, {_short(theirs)} on disk"


def _short(value: Any, limit: int | None = 60) -> str:
    text = "nothing" if value is _ABSENT else canonical(value)
    return text if limit is None else one_line(text, limit)


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file with its own checksum in it."""
    atomic_write(path, _sealed(record))


def _sealed(record: Mapping[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != "checksum"}
    content["checksum"] = digest(content)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read a file that :func:`write_sealed` wrote, without the checksum; None if it is missing.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        content = json.loads(text)  # a file above the limit was cut, and so is not intact
        intact = text == _sealed(content).encode()  # byte by byte: equal content is not enough
    except (ValueError, AttributeError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise RunError(
            f"{path}: damaged (its checksum does not match); --force moves it aside and starts again"
        )
    return {key: value for key, value in content.items() if key != "checksum"}
