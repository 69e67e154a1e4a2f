"""Which parameters, and what of environment and data, differ between results that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.analysis.provenance import counted, origin
from harness.analysis.sides import Side
from harness.errors import StudyError
from harness.identity import LATER_KEYS
from harness.models import MODELS, model_options
from harness.schema import validate
from harness.store.sealed import canonical
from harness.study_file.config import Recipe

NOT_SET = "not set"
ORDER = "{} (order)"
CODE = ("model_source", "sources", "pretrained")  # of an identity: checksums of code and weights
DATA = ("data source", "data", "evaluated on", "train images", "evaluation images", "notes on the data")


@dataclass(frozen=True)
class Difference:
    """A key whose values differ; a value for each side."""

    key: str
    values: tuple[str, ...]


def parameter_differences(sides: Sequence[Side]) -> list[Difference]:
    """Return every key in which the resolved recipes differ, in the order of the study file.

    Keys that one version of the harness did not know have their defaults. A rate that was found, and the
    code or weights that a recipe names, count like its keys.
    """
    order = {table: place for place, table in enumerate(Recipe.model_fields)}
    found = _differences([_parameters(side) for side in sides], NOT_SET)
    return sorted(found, key=lambda each: order.get(each.key.partition(".")[0], len(order)))


def environment_differences(sides: Sequence[Side]) -> list[Difference]:
    """Return what differs of machine, versions and precision, in the order of the report."""
    return _differences([_environment(side, data=False) for side in sides], "not recorded")


def data_differences(sides: Sequence[Side]) -> list[Difference]:
    """Return what differs of the data; nothing where the images are the same."""
    return _differences([_environment(side, data=True) for side in sides], "not recorded")


def digest_of(side: Side) -> str | None:
    """Return the digest that all recorded runs share; None where they have none, or several."""
    digests = {run.record.digest for run in side.recorded if run.record is not None}
    return digests.pop() if len(digests) == 1 else None


def _differences(tables: Sequence[Mapping[str, str]], absent: str) -> list[Difference]:
    found = []
    known = [table for table in tables if table]  # a side without any record says nothing
    for key in dict.fromkeys(key for table in known for key in table):
        values = tuple(table.get(key, absent) for table in tables)
        if len({table.get(key, absent) for table in known}) > 1:
            found.append(Difference(key, values))
    return found


def _environment(side: Side, *, data: bool) -> dict[str, str]:
    """Return each property with the values that its runs have."""
    properties = [origin(run.record) for run in side.recorded if run.provenance]
    keys = dict.fromkeys(key for each in properties for key in each if (key in DATA) == data)
    table = {}
    for key in keys:
        values = Counter(each[key] for each in properties if key in each)
        if len(values) == 1 and values.total() == len(properties):
            table[key] = next(iter(values))
        else:
            table[key] = counted(Counter(each.get(key, "not recorded") for each in properties))
    return table


def _parameters(side: Side) -> dict[str, str]:
    recipe, run = _recipe(side), next(iter(side.recorded), None)
    table = {key: _text(value) for key, value in _flat(recipe, "")}
    if run is None:
        return table
    for name in ("lr_max", "lr_min"):
        rates = {rate for each in side.finished if (rate := each.number(name)) is not None}
        if rates and table.get(f"schedule.{name}") == "find":
            low, high = (f"{rate:.4g}" for rate in (min(rates), max(rates)))
            table[f"schedule.{name}"] = f"find: {low if low == high else f'{low} to {high}'}"
    named = {key: run.identity[key] for key in CODE if key in run.identity}
    return table | {f"{key} (SHA-256)": _text(value) for key, value in _flat(named, "")}


def _recipe(side: Side) -> dict[str, Any]:
    """Return a resolved recipe as plain data: the one that the runs recorded, else the study file's.

    Its transforms are the study file's, where the variant is in it: those of a record also have the mean and
    std of the train images.
    """
    recorded = next((run.recipe for run in side.recorded if run.recipe), None)
    if recorded is None:
        if side.recipe is None:
            return {}
        planned = side.recipe.model_dump(mode="json")
        return planned | {"model": _with_options(planned["model"])}
    known = dict(recorded)
    if side.recipe is not None:
        known["augment"] = side.recipe.augment.model_dump(mode="json")
    try:
        filled = validate(Recipe, known, side.place).model_dump(mode="json")
    except StudyError:  # the record of a version whose keys are no longer the same
        filled = _with_later_defaults(known)
    return filled | {"model": _with_options(filled.get("model") or {})}


def _with_options(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a network, in which one of ours has all its options."""
    options = {key: value for key, value in model.items() if key not in ("name", "pretrained")}
    with suppress(StudyError):
        if (name := model.get("name")) in MODELS:
            return {**model, **model_options(name, options).model_dump(mode="json")}
    return dict(model)


def _with_later_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    filled = {key: dict(value) if isinstance(value, Mapping) else value for key, value in recipe.items()}
    for dotted, default in LATER_KEYS.items():
        table, _, key = dotted.partition(".")
        if not key:
            filled.setdefault(table, default)
        elif isinstance(inner := filled.setdefault(table, {}), dict):
            inner.setdefault(key, default)
    return filled


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and plain values; a list of transforms is a table of these, and their order."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        names, counts = [], Counter[str]()
        for part in value:
            title = str(part.get("transform") or part.get("name") or "entry")
            counts[title] += 1
            names.append(title if counts[title] == 1 else f"{title} {counts[title]}")
        for name, part in zip(names, value, strict=True):
            rest = {key: inner for key, inner in part.items() if key != "transform"}
            yield from _flat(rest, f"{path}.{name}") if rest else [(f"{path}.{name}", "as it is")]
        yield ORDER.format(path), " > ".join(names)
    elif value is not None and value not in ([], {}):
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
