"""What every schema of ours shares: strict pydantic models and errors of one line with the nearest name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import StudyError


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


def suggest(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'epochs'?"``, or the known names where there are few, or nothing."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]!r}?"
    return f" (known: {', '.join(known)})" if known and len(known) <= 24 else ""


def check_installed(package: str, where: str, extra: str = "") -> None:
    """Without importing it.

    Args:
        extra: of ours that installs it; without one, that of its own name.

    Raises:
        StudyError: it is not there.
    """
    if find_spec(package) is None:
        install = f"pip install 'ignite-harness[{extra or package}]'"
        raise StudyError(f"{where}: {package} is not installed; {install}")


def one_line(error: object, limit: int = 300) -> str:
    """The text of an error on one line of bounded length, without control characters."""
    text = " ".join(str(error).split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _explain(error: ValidationError, schema: type[BaseModel], prefix: str) -> str:
    errors = error.errors(include_url=False)
    # A required key that is misspelt is both missing and unknown; the unknown one is what its author sees.
    unknown = (one for one in errors if one["type"] == "extra_forbidden" and errors[0]["type"] == "missing")
    first = next((one for one in unknown if one["loc"][:-1] == errors[0]["loc"][:-1]), errors[0])
    path, tables = _walk(schema, first["loc"])
    place = ".".join(part for part in (prefix, path) if part)
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return one_line(
            f"{place}: unknown key{suggest(key, {name for t in tables for name in t.model_fields})}"
        )
    if first["type"] == "missing":
        return f"{place}: missing"
    if first["type"] == "string_pattern_mismatch":
        return (
            f"{place}: {one_line(repr(first['input']), 80)} is not a name; "
            "use letters, digits, '.', '_' and '-', 64 at most, beginning with a letter or digit"
        )
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return one_line(f"{place}: expected a table, got {one_line(repr(first['input']), 80)}")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":
        message = f"{message[0].lower()}{message[1:]}, got {one_line(repr(first['input']), 80)}"
    return one_line(f"{place}: {message}" if place else message)


def _walk(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """A key's path as its author wrote it (no tags of unions), and the tables that may hold its last part."""
    tables, path = [schema], ""
    for at, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        tagged = [table for table in tables if _tag(table) == part]
        if tagged and at and len(tables) > 1:
            tables = tagged
            continue
        if part == "[key]":
            continue
        path += f".{one_line(part, 80)}"
        if at < len(location) - 1:
            inner = [
                _tables(table.model_fields[part].annotation) for table in tables if part in table.model_fields
            ]
            tables = [table for group in inner for table in group] or tables
    return path.lstrip("."), tables


def _tag(table: type[BaseModel]) -> str | None:
    kind = table.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]
