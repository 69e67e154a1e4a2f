"""Files of published run records: the common part of a variant's runs is written once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.store.sealed import canonical, digest

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


def records_text(records: Sequence[Sealed]) -> str:
    """Return the text of a file of records."""
    shared, own = _split(sorted(records, key=lambda record: int(record["seed"])))
    lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in own)
    return f'{{"shared": {json.dumps(shared, indent=1)},\n"runs": [\n{lines}\n]}}\n'


def _split(records: Sequence[Sealed]) -> tuple[Sealed, list[Sealed]]:
    """Return the common part of all records, and the rest of each."""
    shared: Sealed = {}
    own: list[Sealed] = [{} for _ in records]
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record[key] for record in records if key in record]
        tables = [value for value in values if isinstance(value, dict)]
        if len(values) == len(records) and len({canonical(value) for value in values}) == 1:  # 0 is not 0.0
            shared[key] = values[0]
        elif len(tables) == len(records):
            shared[key], parts = _split(tables)
            for rest, part in zip(own, parts, strict=True):
                rest[key] = part
        else:
            for rest, record in zip(own, records, strict=True):
                rest |= {key: record[key]} if key in record else {}
    return shared, own


def _merge(shared: Mapping[str, Any], own: Mapping[str, Any]) -> Sealed:
    merged = dict(shared)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
