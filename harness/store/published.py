"""Read published run records, ``runs/<variant>.json``: what a variant's runs have in common stands once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.store.sealed import digest

Sealed = dict[str, Any]  # the content of a run.json, its checksum included


def read_records(file: Path) -> tuple[Sealed, ...]:
    """Read the records of a variant's runs, by seed; none where there is no such file.

    Raises:
        RunError: one is not what was written.
    """
    if not file.is_file():
        return ()
    content = json.loads(file.read_text("utf-8"))
    records = [_merge(content["shared"], own) for own in content["runs"]]
    for record in records:
        whole = {key: value for key, value in record.items() if key != "checksum"}
        if digest(whole) != record["checksum"]:
            raise RunError(f"{file}: seed {record.get('seed')}: damaged (its checksum does not match)")
    return tuple(records)


def _merge(shared: Mapping[str, Any], own: Mapping[str, Any]) -> Sealed:
    merged = dict(shared)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
