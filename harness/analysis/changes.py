"""Write what a variant changes, short enough for a cell of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from harness.identity import without_later_defaults
from harness.messages import one_line
from harness.study_file.grids import short_keys

LONGEST = 120  # characters
_NAMES = ("name", "transform", "kind")  # keys that name a table or a transform


def changes_text(changes: Mapping[str, Any]) -> str:
    """Write changes by dotted key: ``lr_max = 0.2, optimizer = Adam (lr = 0.1)``.

    Where that is too long, tables and transforms are written by their names alone.
    """
    shorter, text = without_later_defaults(deepcopy(dict(changes))), ""
    values = [shorter.get(key, value) for key, value in changes.items()]
    for options in (True, False):
        pairs = zip(short_keys(changes), values, strict=True)
        text = ", ".join(f"{key} = {_value_text(value, options)}" for key, value in pairs)
        if len(text) <= LONGEST:
            break
    return one_line(text, LONGEST)


def _value_text(value: object, options: bool) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return " + ".join(_value_text(each, options) for each in value)
    if not isinstance(value, dict) or not value:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    named = next((key for key in _NAMES if key in value), None)
    rest = ", ".join(f"{key} = {_value_text(each, options)}" for key, each in value.items() if key != named)
    if named is None:
        return f"({rest})"
    return f"{value[named]} ({rest})" if rest and options else str(value[named])
