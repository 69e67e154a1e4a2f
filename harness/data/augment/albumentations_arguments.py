"""The arguments of Albumentations' transforms: cv2's constants by name, and their types."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pydantic import ValidationError

from harness.errors import StudyError
from harness.messages import one_line, suggest

# Word in an argument's name -> prefix of cv2's constants, which a study writes in lower case.
CONSTANTS = {
    "border_mode": ("BORDER_", ("constant", "replicate", "reflect", "wrap", "reflect_101")),
    "interpolation": ("INTER_", ("nearest", "nearest_exact", "linear", "cubic", "area", "lanczos4")),
}


def constants(key: str, value: Any, place: str) -> Any:
    """Return cv2's number for a constant's name; other values as they are."""
    word = next((word for word in CONSTANTS if word in key), None)
    if word is None:
        return value
    if isinstance(value, dict):  # Downscale's interpolation_pair
        return {inner: constants(word, part, f"{place}.{inner}") for inner, part in value.items()}
    import cv2

    prefix, names = CONSTANTS[word]
    if value not in names:
        shown = one_line(repr(value), 80)
        near = suggest(value, names) if isinstance(value, str) else f" (known: {', '.join(names)})"
        raise StudyError(f"{place}: {shown} is not the name of a cv2 constant for it{near}")
    return getattr(cv2, prefix + value.upper())


def check_types(cls: Any, arguments: dict[str, Any], place: str) -> None:
    """Check types by Albumentations' own schema, but strictly: it would take ``"0.5"`` for a number."""
    schema = cls.InitSchema
    signature = inspect.signature(cls).parameters
    defaults = {
        name: parameter.default
        for name, parameter in signature.items()
        if parameter.default is not parameter.empty
    }
    values = {key: value for key, value in (defaults | arguments).items() if key in schema.model_fields}
    try:
        # JSON, because strict JSON accepts a list for a tuple
        schema.model_validate_json(json.dumps({**values, "strict": True}, default=str), strict=True)
    except ValidationError as error:
        mistakes = [item for item in error.errors() if not item["loc"] or item["loc"][0] in arguments]
        mistakes += [item for item in error.errors() if item["type"] == "missing"]
        if not mistakes:
            return
        location = mistakes[0]["loc"][:1]
        same = [item for item in mistakes if item["loc"][:1] == location]
        path = f"{place}.{location[0]}" if location else place
        if same[0]["type"] == "missing":
            raise StudyError(f"{path}: missing") from None
        wanted = [item["msg"].removeprefix("Value error, ").removeprefix("Input should be ") for item in same]
        message = f"{path}: expected {' or '.join(dict.fromkeys(wanted))}"
        if not location or same[0]["type"] == "value_error":
            message = f"{path}: {wanted[0]}"
        if location:
            message += f", got {arguments[str(location[0])]!r}"
        raise StudyError(one_line(message)) from None
