"""The base of all our schemas: strict pydantic models, and errors of one line with the nearest name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import StudyError
from harness.messages import nearest, one_line, plain_name, suggest, suggest_key, usual_keys

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, wrong types and non-finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


AnyModel = TypeVar("AnyModel", bound=BaseModel)


def validate(schema: type[AnyModel], raw: Mapping[str, Any], where: str, prefix: str = "") -> AnyModel:
    """Return an instance of the schema.

    Args:
        where: the file or option with the mistake.
        prefix: the path of the table in the file, if ``raw`` is not the whole file.

    Raises:
        StudyError: the first mistake, in one line.
    """
    try:
        return schema.model_validate(dict(raw))
    except ValidationError as error:
        raise StudyError(f"{where}: {one_line(_explain(error, schema, dict(raw), prefix))}") from None


@dataclass(frozen=True)
class _Location:
    """The place of a mistake: its keys and its path as the author wrote them.

    Attributes:
        above: tables that may hold the key.
        below: tables that may be its value.
        kinds: the tables of every kind that ``above`` is one of.
    """

    keys: list[str | int]
    path: str
    above: list[type[BaseModel]]
    below: list[type[BaseModel]]
    kinds: list[type[BaseModel]]


def dotted_keys(schema: type[BaseModel], raw: Mapping[str, Any] | None, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value that a table may have, usual and present options included.

    A table of several kinds has the keys of the kind that ``raw`` names, else of the default one; of all
    kinds where ``raw`` is None. Left out are keys below a name of the author's choice, such as a variant's,
    and those of absent tables that one key alone cannot make.
    """
    for name, field in schema.model_fields.items():
        if not field.exclude:
            yield prefix + name
            inner = None if raw is None else raw.get(name)
            given = inner if isinstance(inner, Mapping) else {}
            for table in _nested(field.annotation):
                required = {key for key, part in table.model_fields.items() if part.is_required()}
                kind = table.model_fields.get("kind")
                chosen = (
                    kind is None
                    or raw is None
                    or (_of_kind(table, given["kind"]) if "kind" in given else not kind.is_required())
                )
                if chosen and (given or field.is_required() or len(required) < 2):
                    yield from dotted_keys(table, None if raw is None else given, f"{prefix}{name}.")
    if schema.model_config.get("extra") == "allow":
        options = dict.fromkeys([*getattr(schema, "USUAL_OPTIONS", ()), *(raw or {})])
        yield from (f"{prefix}{key}" for key in options if key not in schema.model_fields)


def _locate(schema: type[BaseModel], raw: dict[str, Any], error: ErrorDetails) -> _Location:
    keys: list[str | int] = []
    path, above, below, kinds, among = "", [schema], [schema], [schema], [schema]
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
            kinds, among = among, below
        else:  # pydantic's name of a kind of table, or of one of several kinds of value
            below = [table for table in below if _of_kind(table, part)] or below
            continue
        keys.append(part)
    return _Location(keys, path.lstrip("."), above, below, kinds)


def _of_kind(table: type[BaseModel], tag: str) -> bool:
    kind: Any = table.model_fields["kind"].annotation if "kind" in table.model_fields else None
    return tag in get_args(kind) or (kind is str and ":" in tag)


def _tables(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _nested(annotation: Any) -> list[type[BaseModel]]:
    """Return the tables that a value itself may be, without those inside its lists and named tables."""
    if get_origin(annotation) in (list, dict):
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _nested(part)]


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
            return f"{path}: unknown key{_hint(schema, raw, location, fields)}"
        case "missing":
            near = nearest(str(location.keys[-1]), given.keys() - fields)
            return f"{path}: missing; {f'it is written {near!r}' if near else 'add it'}"
        case "string_pattern_mismatch":
            return (
                f"{path}: {one_line(repr(given), 80)} is not a name; "
                "use letters, digits, '.', '_' and '-', 64 at most, beginning with a letter or digit "
                "and not ending with '.'"
            )
        case "value_error":  # raised by our own validators
            return f"{path}: {context['error']}" if path else str(context["error"])
        case "union_tag_not_found":
            return f"{path}.{context['discriminator'][1:-1]}: missing; add it"
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'()")  # the key in quotes, or the function that reads it
            path, given = f"{path}.{tag}", given[tag]
    # a value that may have one of several types has an error for each of them
    alike = [details for details in errors if _locate(schema, raw, details).path == location.path]
    wanted = " or ".join(dict.fromkeys(_wanted(details) for details in alike))
    keys = location.keys
    examples = (text for value, text in _candidates(first, location) if _accepts(schema, raw, keys, value))
    such_as = f" such as {text}" if (text := next(examples, "")) else ""
    values = re.findall("'([^']+)'", wanted) if kind in ("literal_error", "union_tag_invalid") else []
    meant = nearest(given, values) if isinstance(given, str) else None
    hint = f", did you mean {meant!r}?" if meant else ""
    return f"{path}: expected {wanted}{such_as}, got {one_line(repr(given), 80)}{hint}"


def _hint(schema: type[BaseModel], raw: dict[str, Any], location: _Location, fields: set[str]) -> str:
    """Return what an unknown key may stand for: here, in another kind of its table, or elsewhere."""
    name, known = str(location.keys[-1]), list(dotted_keys(schema, raw))
    above = [".".join([*map(str, location.keys[:-1]), key]) for key in fields]
    if usual := [key.rpartition(".")[2] for key in usual_keys(name) if key in above]:
        return f", did you mean {usual[0]!r}?"
    same = nearest(name, fields)
    if same is not None and plain_name(same) == plain_name(name):
        return f", did you mean {same!r}?"
    for table in location.kinds:
        if table not in location.above and name in table.model_fields and "kind" in table.model_fields:
            return f"; it belongs to kind = {json.dumps(_kind_of(table))}"
    value = raw.get(name)
    if len(location.keys) == 1 and isinstance(value, dict) and not usual_keys(name) and same is None:
        inner = {key: suggest_key(key, known) for key in islice(value, 100)}
        if said := [f"{place} for {key}" for key, place in inner.items() if place and place != key]:
            return f"; write {', '.join(said)}"
    if (same is None or usual_keys(name)) and (place := suggest_key(name, known)) is not None:
        return f"; write {place}"
    return suggest(name, fields) if fields else "; this table has none: remove it"


def _kind_of(table: type[BaseModel]) -> str:
    kinds = get_args(table.model_fields["kind"].annotation)
    return str(kinds[0]) if kinds else "package.module:function"


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
    """Return what was expected; in pydantic's words if we have none for this error."""
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
