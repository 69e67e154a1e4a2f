"""What every schema of ours shares: strict pydantic models and errors of one line with the nearest name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import StudyError
from harness.messages import one_line, suggest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """Unknown keys, wrong types and non-finite numbers are errors; instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)


def validate(schema: type[AnyModel], raw: Mapping[str, Any], where: str, prefix: str = "") -> AnyModel:
    """An instance of the schema.

    Args:
        where: the file or option that a mistake is in.
        prefix: the path of the table inside it, when ``raw`` is not the whole file.

    Raises:
        StudyError: the first mistake, in one line.
    """
    try:
        return schema.model_validate(dict(raw))
    except ValidationError as error:
        raise StudyError(f"{where}: {_explain(error, schema, prefix)}") from None


def _explain(error: ValidationError, schema: type[BaseModel], prefix: str) -> str:
    errors = error.errors(include_url=False)
    # A required key that is misspelt is both missing and unknown; the unknown one is what its author sees.
    unknown = (one for one in errors if one["type"] == "extra_forbidden" and errors[0]["type"] == "missing")
    first = next((one for one in unknown if one["loc"][:-1] == errors[0]["loc"][:-1]), errors[0])
    path, tables, key = _walk(schema, first["loc"])
    place = ".".join(part for part in (prefix, path) if part)
    kind, given, context = first["type"], first["input"], first.get("ctx", {})
    known = {name for table in tables for name in table.model_fields}
    if kind == "extra_forbidden":
        hint = suggest(str(first["loc"][-1]), known) if known else "; this table has none"
        return one_line(f"{place}: unknown key{hint}")
    if kind == "missing":
        near = get_close_matches(key, given.keys() - known, n=1) if isinstance(given, dict) else []
        return one_line(f"{place}: missing{f'; it is written {near[0]!r}' if near else ''}")
    if kind == "string_pattern_mismatch":
        return (
            f"{place}: {one_line(repr(given), 80)} is not a name; "
            "use letters, digits, '.', '_' and '-', 64 at most, beginning with a letter or digit"
        )
    if kind == "union_tag_invalid":
        tag = context["discriminator"][1:-1]
        place, given = f"{place}.{tag}", given[tag]
    if kind == "union_tag_not_found":
        return one_line(f"{place}.{context['discriminator'][1:-1]}: missing")
    if kind in _OURS:
        return one_line(f"{place}: {context['error']}" if place else str(context["error"]))
    # a value that may be of several kinds has an error for each
    alike = [one for one in errors if _walk(schema, one["loc"])[0] == path]
    wanted = " or ".join(dict.fromkeys(_wanted(one) for one in alike))
    example = _example(kind, given, tables, key, path.endswith("]"))
    such_as = f" such as {example}" if example else ""
    return one_line(f"{place}: expected {wanted}{such_as}, got {one_line(repr(given), 80)}")


_OURS = ("value_error", "assertion_error")  # what our own validators say
_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
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
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a table"),
}
_WANTED["int_from_float"] = _WANTED["int_type"]


def _wanted(error: ErrorDetails) -> str:
    """Say what was expected; in pydantic's words for an error that none of our schemas has."""
    own = _WANTED.get(error["type"])
    if own is not None:
        context = error.get("ctx", {})
        numbers = {name: f"{value:g}" for name, value in context.items() if isinstance(value, float)}
        return own.format(**context | numbers)
    return error["msg"][:1].lower() + error["msg"][1:]


def _example(kind: str, given: Any, tables: list[type[BaseModel]], key: str, item: bool) -> str:
    """A value that the key takes, as TOML has it, near the one that was given; empty where none is found."""
    fields = [table.model_fields[key] for table in tables if key in table.model_fields]
    if kind != "dict_type" and _WANTED.get(kind) == "a table":
        inner = [table for field in fields for table in _tables(field.annotation)] if fields else tables
        inside = [(table, name) for table in inner for name in table.model_fields]
        found = [(table, name, given) for table, name in inside if not isinstance(given, dict | list)]
        found += [(table, name, table.model_fields[name].default) for table, name in inside]
        usable = (
            (name, value)
            for table, name, value in found
            if isinstance(value, str | int | float | list) and _accepts(table, {name: value})
        )
        return next((f"{{ {name} = {json.dumps(value)} }}" for name, value in usable), "")
    number = _number(given)
    candidates: list[Any] = []
    if kind in ("int_type", "int_from_float"):
        candidates = [*([] if number is None else [int(number)]), 3, 8]
    elif kind == "float_type":
        candidates = [*([] if number is None else [number]), 0.1, 3]
    elif kind == "string_type" and isinstance(given, int | float):
        candidates = [json.dumps(given)]
    elif kind in ("list_type", "too_short"):
        candidates = [*([[given]] if given else []), [0, 1, 2], [0.1, 0.9]]
    for candidate in candidates:
        value = [candidate] if item else candidate
        if any(key in table.model_fields and _takes(table, key, value) for table in tables):
            return one_line(json.dumps(candidate, ensure_ascii=False), 80)
    return ""


def _number(given: Any) -> float | None:
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(given, bool) else None


def _accepts(table: type[BaseModel], raw: dict[str, Any]) -> bool:
    """Whether a table can be just this."""
    try:
        table.model_validate(raw)
    except ValidationError:
        return False
    return True


def _takes(table: type[BaseModel], key: str, value: Any) -> bool:
    """Whether a key of a table can have a value, whatever else the table lacks."""
    try:
        table.model_validate({key: value})
    except ValidationError as error:
        return all(one["loc"][:1] != (key,) for one in error.errors(include_url=False))
    return True


def _walk(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]], str]:
    """A key's path as its author wrote it (no tags of unions), tables that may hold it, and its last part."""
    tables, path, key, held = [schema], "", "", False
    for at, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        tagged = [table for table in tables if _tag(table) == part]
        if tagged and at and len(tables) > 1:
            tables = tagged
            continue
        if part == "[key]" or held:
            continue
        path += f".{one_line(part, 80)}"
        key = part
        found = [table.model_fields[part].annotation for table in tables if part in table.model_fields]
        # what follows a value of several kinds names one of these
        held = any(get_origin(one) in (Union, UnionType) and not _tables(one) for one in found)
        if at < len(location) - 1:
            tables = [table for annotation in found for table in _tables(annotation)] or tables
    return path.lstrip("."), tables, key


def _tag(table: type[BaseModel]) -> str | None:
    kind = table.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]
