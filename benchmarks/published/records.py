"""Write published run records: what a variant's runs have in common is written once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.store.published import Sealed
from harness.store.sealed import canonical


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
