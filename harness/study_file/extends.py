"""``extends``: a study file whose keys are changes against another study, its base."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.study_file.builtin import builtin_studies, find_study
from harness.study_file.changes import changed_keys
from harness.study_file.config import Recipe, Study
from harness.study_file.variants import DEFAULTS, DISCRIMINATORS, RECIPE_KEYS, override

MAX_CHAIN = 16  # studies that extend each other
OF_ONE_STUDY = {"name", "question", "references", "extends", "trial"}  # never inherited
REPLACED = {"target", "grid", "random", "search"}  # tables that a change replaces whole
LONGEST = 80  # characters of two values in a list of changes

Tables = dict[str, Any]


def bases_of(path: Path, read: Callable[[Path], Tables]) -> list[tuple[Path, Tables]]:
    """Read a study file and those that it extends, one after the other.

    Args:
        read: returns the tables of a file.

    Returns:
        The files with their tables, the given one first.

    Raises:
        StudyError: a base does not exist or cannot be read, or the files extend each other in a circle.
    """
    chain = [(path, read(path))]
    while (named := chain[-1][1].get("extends")) is not None and not isinstance(named, Mapping):
        place = f"{one_line(chain[-1][0])}: extends"
        if not isinstance(named, str) or not named.strip():
            given = one_line(repr(named), 80)
            raise StudyError(
                f'{place}: expected a built-in study\'s name, or a path such as "base.toml", got {given}'
            )
        base = _find_base(named, chain[-1][0], place)
        seen = [file.resolve() for file, _ in chain]
        if base.resolve() in seen or len(chain) >= MAX_CHAIN:
            way = " -> ".join(one_line(file.name) for file, _ in [*chain, (base, {})])
            wrong = (
                "a circle; remove one" if base.resolve() in seen else f"{MAX_CHAIN} are the most; write fewer"
            )
            raise StudyError(f"{place}: {one_line(way)}: {wrong}")
        chain.append((base, read(base)))
    return chain


def _find_base(named: str, file: Path, place: str) -> Path:
    """Return the file of a base: a built-in study's, or one whose path is relative to the file."""
    beside = file.parent / named
    try:
        return find_study(named if named in builtin_studies() else str(beside))
    except StudyError as error:
        if not named.endswith(".toml") and Path(f"{beside}.toml").is_file():
            raise StudyError(
                f"{place}: no built-in study is named {named!r}; write {named + '.toml'!r}"
            ) from None
        if not named.endswith(".toml") and Path(named).name == named:
            raise StudyError(
                f"{place}: no study named {named!r}{suggest(named, builtin_studies())}"
            ) from None
        raise StudyError(f"{place}: {error}") from None


def merge(base: Tables, changes: Tables, where: str) -> Tables:
    """Return the tables of a base with a file's changes, by the rules of a variant's.

    A key of the study's own replaces the base's. ``false`` removes such a key, a table or list of the recipe,
    a value of ``[data]``, or a variant.

    Raises:
        StudyError: a change does not fit what it changes.
    """
    inherited = {key: value for key, value in base.items() if key not in OF_ONE_STUDY}
    if "seeds" in changes and "looks" not in changes:
        inherited.pop("looks", None)  # they say after how many of these seeds
    recipe = deepcopy({key: inherited.pop(key) for key in list(inherited) if key in RECIPE_KEYS})
    own = {key: changes[key] for key in changes if key.split(".")[0] not in {*RECIPE_KEYS, "extends"}}
    ours = deepcopy({key: changes[key] for key in changes if key.split(".")[0] in RECIPE_KEYS})
    _remove(recipe, ours)
    recipe = override(recipe, ours, where)
    for key, value in own.items():
        if value is False and key in {*inherited, *Study.model_fields}:
            inherited.pop(key, None)
        elif key == "variants" and isinstance(value, dict):
            inherited[key] = _merge_variants(inherited.get(key, {}), value, recipe, where)
        elif isinstance(value, dict) and isinstance(inherited.get(key), dict) and key not in REPLACED:
            inherited[key] = inherited[key] | value
        else:
            inherited[key] = value
    return {**inherited, **recipe}


def _remove(tables: Tables, changes: Tables, above: str = "") -> None:
    """Carry out, and take out of the changes, those that remove a table, a list, or a value of ``[data]``."""
    for key, value in list(changes.items()):
        *parents, last = key.split(".")
        table: Any = tables
        for part in parents:
            table = table.get(part) if isinstance(table, dict) else None
        current = table.get(last) if isinstance(table, dict) else None
        if isinstance(value, dict) and isinstance(current, dict):
            _remove(current, value, f"{above}{key}.")
        elif value is False and current is not None:
            in_data = f"{above}{key}".startswith("data.") and not isinstance(current, bool)
            if in_data or isinstance(current, dict | list):
                del table[last], changes[key]


def _merge_variants(
    inherited: Mapping[str, Any], changes: Mapping[str, Any], shared: Tables, where: str
) -> Tables:
    """Return the base's variants, each with the changes of that name, and the new ones."""
    merged = dict(inherited)
    for name, tables in changes.items():
        if tables is False and name not in inherited:
            hint = suggest(name, inherited)
            raise StudyError(f"{where}: variants.{name} = false: its base has no such variant{hint}")
        if tables is False:
            del merged[name]
            continue
        earlier = merged.get(name)
        if isinstance(earlier, dict) and isinstance(tables, dict):
            tables = _layered(earlier, tables, shared)
        merged[name] = tables
    return merged


def _layered(earlier: Tables, changes: Tables, shared: Tables) -> Tables:
    """Return a variant's changes with further ones, as if they were applied one after the other."""
    layered = dict(earlier)
    for key, value in changes.items():
        before = layered.pop(key, None)  # a further change comes last
        if isinstance(before, dict) and isinstance(value, dict):
            if key in DISCRIMINATORS:
                kind = DISCRIMINATORS[key]
                usual = (shared.get(key) or {}).get(kind, DEFAULTS.get(key))
                before = {**({} if usual is None else {kind: usual}), **before}
            value = (
                override({key: before}, {key: value}, "variants")[key]
                if key in RECIPE_KEYS
                else {**before, **value}
            )
        layered[key] = value
    return layered


def differences(base: Study, study: Study) -> list[str]:
    """Return what a study changes of its base, a line for each key: ``schedule.epochs 24 -> 12``.

    These are the changes of the recipe, of the target and of the variants.
    """
    changes = [_change(*each) for each in changed_keys(_compared(base), _compared(study))]
    variants: dict[str, list[str]] = {"removed": [], "changed": [], "added": []}
    for name in dict.fromkeys([*base.variants, *study.variants]):
        if name not in study.variants:
            variants["removed"].append(name)
        elif name not in base.variants:
            variants["added"].append(name)
        elif study.variants[name] != base.variants[name]:
            variants["changed"].append(name)
    changes += [f"variants {', '.join(names)} {how}" for how, names in variants.items() if names]
    return changes


def _compared(study: Study) -> Tables:
    """Return the tables of a study's recipe, and its target."""
    return study.model_dump(include={*Recipe.model_fields, "target"}, exclude_none=True)


def _change(key: str, before: Any, after: Any) -> str:
    old, new = (
        "not set" if value is None else json.dumps(value, ensure_ascii=False) for value in (before, after)
    )
    if len(old) + len(new) <= LONGEST:
        return f"{key} {old} -> {new}"
    return f"{key} {'removed' if after is None else 'added' if before is None else 'changed'}"
