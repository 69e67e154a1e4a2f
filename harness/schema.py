"""The base of all our schemas: strict pydantic models, and errors of one line with the nearest name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import StudyError
from harness.messages import one_line, suggest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """A model that refuses unknown keys, wrong types and non-finite numbers; instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)


def validate(schema: type[AnyModel], raw: Mapping[str, Any], where: str, prefix: str = "") -> AnyModel:
    """Return an instance of the schema.

    Args:
        where: the file or option that a mistake is in.
        prefix: the path of the table inside it, when ``raw`` is not the whole file.

    Raises:
        StudyError: the first mistake, in one line.
    """
    try:
        return schema.model_validate(dict(raw))
    except ValidationError as error:
        raise StudyError(f"{where}: {one_line(_explain(error, schema, dict(raw), prefix))}") from None


@dataclass(frozen=True)
class _Location:
    """Where a mistake is: the keys and the path as the author wrote them.

    Attributes:
        above: tables that may hold the key.
        below: tables that may be its value.
    """

    keys: list[str | int]
    path: str
    above: list[type[BaseModel]]
    below: list[type[BaseModel]]


def _locate(schema: type[BaseModel], raw: dict[str, Any], error: ErrorDetails) -> _Location:
    keys: list[str | int] = []
    path, above, below = "", [schema], [schema]
    value: Any = raw
    for at, part in enumerate(error["loc"], 1):
        missing = error["type"] == "missing" and at == len(error["loc"])
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) else None
        elif isinstance(value, dict) and (part in value or missing or "." in part):
            path += f".{one_line(part, 80)}"
            value = value.get(part)
            above = below
            fields = [table.model_fields[part] for table in above if part in table.model_fields]
            below = [table for field in fields for table in _tables(field.annotation)] or above
        else:  # pydantic's name of a kind of table, or of one of several kinds of value
            below = [table for table in below if _of_kind(table, part)] or below
            continue
        keys.append(part)
    return _Location(keys, path.lstrip("."), above, below)


def _of_kind(table: type[BaseModel], tag: str) -> bool:
    kind: Any = table.model_fields["kind"].annotation if "kind" in table.model_fields else None
    return tag in get_args(kind) or (kind is str and ":" in tag)


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _explain(error: ValidationError, schema: type[BaseModel], raw: dict[str, Any], prefix: str) -> str:
    errors = error.errors(include_url=False)
    first = errors[0]
    if first["type"] == "missing":  # a misspelt key is also unknown; report that, which the author can see
        unknown = (details for details in errors if details["type"] == "extra_forbidden")
        first = next((details for details in unknown if details["loc"][:-1] == first["loc"][:-1]), first)
    location = _locate(schema, raw, first)
    path = ".".join(part for part in (prefix, location.path) if part)
    kind, given, context = first["type"], first["input"], first.get("ctx", {})
    fields = {name for table in location.above for name in table.model_fields}
    match kind:
        case "extra_forbidden":
            hint = suggest(str(location.keys[-1]), fields) if fields else "; this table has none"
            return f"{path}: unknown key{hint}"
        case "missing":
            near = get_close_matches(str(location.keys[-1]), given.keys() - fields, n=1)
            return f"{path}: missing{f'; it is written {near[0]!r}' if near else ''}"
        case "string_pattern_mismatch":
            return (
                f"{path}: {one_line(repr(given), 80)} is not a name; "
                "use letters, digits, '.', '_' and '-', 64 at most, beginning with a letter or digit"
            )
        case "value_error":  # raised by our own validators
            return f"{path}: {context['error']}" if path else str(context["error"])
        case "union_tag_not_found":
            return f"{path}.{context['discriminator'][1:-1]}: missing"
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'()")  # the key in quotes, or the function that reads it
            path, given = f"{path}.{tag}", given[tag]
    # a value that may have one of several types has an error for each of them
    alike = [details for details in errors if _locate(schema, raw, details).path == location.path]
    wanted = " or ".join(dict.fromkeys(_wanted(details) for details in alike))
    keys = location.keys
    examples = (text for value, text in _candidates(first, location) if _accepts(schema, raw, keys, value))
    such_as = f" such as {text}" if (text := next(examples, "")) else ""
    return f"{path}: expected {wanted}{such_as}, got {one_line(repr(given), 80)}"


_TABLE = ("model_type", "model_attributes_type")
_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "list_type": "a list",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "at most {max_length} values",
    "string_too_short": "text of at least {min_length} character",
    "string_too_long": "text of at most {max_length} characters",
    **dict.fromkeys((*_TABLE, "dict_type"), "a table"),
}


def _wanted(error: ErrorDetails) -> str:
    """Say what was expected; in pydantic's words where we have none for this error."""
    own = _WANTED.get(error["type"])
    if own is None:
        return error["msg"][:1].lower() + error["msg"][1:]
    context = error.get("ctx", {})
    return own.format(**context | {key: f"{of:g}" for key, of in context.items() if isinstance(of, float)})


def _candidates(error: ErrorDetails, location: _Location) -> Iterator[tuple[Any, str]]:
    """Yield values that the key may take, the nearest to the given one first, and their text in TOML."""
    kind, given = error["type"], error["input"]
    number = []
    with suppress(TypeError, ValueError, OverflowError):
        if math.isfinite(float(given)) and not isinstance(given, bool):
            number = [float(given)]
    values: list[Any] = []
    if kind in ("int_type", "int_from_float"):
        values = [*map(int, number), 3, 8]
    elif kind == "float_type":
        values = [*number, 0.1, 3]
    elif kind == "string_type" and isinstance(given, int | float):
        values = [json.dumps(given)]
    elif kind in ("list_type", "too_short"):
        values = [*([[given]] if given and not isinstance(given, dict) else []), [0, 1, 2], [0.1, 0.9]]
    # default: a date, which TOML has and no key takes
    yield from ((value, one_line(json.dumps(value, ensure_ascii=False, default=str), 80)) for value in values)
    if kind in _TABLE:
        fields = [field for table in location.below for field in table.model_fields.items()]
        nearest = [(name, given) for name, _ in fields if not isinstance(given, dict | list)]
        for name, value in [*nearest, *((name, field.default) for name, field in fields)]:
            if isinstance(value, str | int | float | list):
                yield {name: value}, f"{{ {name} = {json.dumps(value)} }}"


def _accepts(schema: type[BaseModel], raw: dict[str, Any], keys: list[str | int], value: Any) -> bool:
    """Tell whether a key can have a value, whatever else is wrong with its table."""
    trial = deepcopy(raw)
    table: Any = trial
    try:
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value
        schema.model_validate(trial)
    except ValidationError as error:
        locations = (_locate(schema, trial, details) for details in error.errors(include_url=False))
        return all(location.keys[: len(keys)] != keys for location in locations)
    except (LookupError, TypeError):  # a schema of another package reads something else than what was written
        return False
    return True
