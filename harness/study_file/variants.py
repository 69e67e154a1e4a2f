"""Variants: change a recipe by dotted keys and ``--set``, and find the changes between two recipes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line, suggest_key
from harness.schema import dotted_keys, validate
from harness.study_file.config import MAX_VARIANTS, Recipe, Study
from harness.study_file.parts import CROSS_ENTROPY

RECIPE_KEYS = frozenset(Recipe.model_fields)
# Key that names the kind of a table. An override that names another kind replaces the table: its keys differ.
DISCRIMINATORS = {
    "schedule": "kind", "model": "name", "optimizer": "name", "loss": "name", "averaging": "kind",
}  # fmt: skip
# what it is without one
DEFAULTS = {
    "schedule": "triangle", "model": "custom_resnet", "loss": CROSS_ENTROPY, "averaging": "none",
}  # fmt: skip
WHOLE = {"vary"}  # tables that an override replaces: the order of their keys has a meaning


def check_names(variants: Mapping[str, Any], where: str) -> None:
    """Refuse too many variants, and names that share a folder."""
    if len(variants) > MAX_VARIANTS:
        raise StudyError(
            f"{where}: variants: {len(variants)} of them; {MAX_VARIANTS} is the most a study may have"
        )
    if "base" in variants:
        raise StudyError(f"{where}: variants.base: `base` is the file itself; give the variant another name")
    folded = {"base": "base"}
    for name in variants:
        other = folded.setdefault(name.lower(), name)
        if other != name:  # on macOS and Windows both have the same folder
            raise StudyError(f"{where}: variants.{name}: differs from {other!r} only in case; rename it")


def set_path(tables: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set the value at a dotted path; make missing tables. A number is a place in a list, from 0."""
    *parents, last = key.split(".")
    table: Any = tables
    for depth, part in enumerate([*parents, last]):
        place = f"{where}: {key}: {'.'.join(parents[:depth])}"
        at: Any = part
        if isinstance(table, list):
            at = _index(table, part, place)
        elif not isinstance(table, dict):
            raise StudyError(one_line(f"{place} is not a table"))
        elif depth < len(parents):
            table.setdefault(part, {})
        if depth < len(parents):
            table = table[at]
        else:
            table[at] = deepcopy(value)


def _index(values: list[Any], part: str, place: str) -> int:
    """Return a key's part as a place in a list."""
    if not (part.isascii() and part.isdigit() and int(part[:9]) < len(values)):
        given = f"expected a place in it, from 0 to {len(values) - 1}" if values else "it is empty"
        raise StudyError(one_line(f"{place} is not a table but a list; {given}"))
    return int(part)


def override(shared: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a variant's tables: dotted keys replace values, another ``kind`` or ``name`` a whole table."""
    resolved = deepcopy(shared)

    def merge(path: list[str], value: Any) -> None:
        current: Any = resolved
        for part in path:
            current = current.get(part, {}) if isinstance(current, dict) else {}
        discriminator = DISCRIMINATORS.get(path[0]) if len(path) == 1 else None
        if isinstance(value, dict) and isinstance(current, dict) and path[0] not in WHOLE:
            before = current.get(discriminator, DEFAULTS.get(path[0]))
            renamed = discriminator in value and value[discriminator] != before
            if not renamed:
                for key, part in value.items():
                    merge([*path, *key.split(".")], part)
                return
        set_path(resolved, ".".join(path), value, where)

    for key, value in changes.items():
        top = key.split(".")[0]
        if top not in RECIPE_KEYS:
            raise StudyError(
                f"{where}.{one_line(key, 80)}: a variant cannot change this{_hint(key, resolved)}"
            )
        merge(key.split("."), value)
    return resolved


def _hint(key: str, tables: Mapping[str, Any]) -> str:
    """Return what a key that a variant cannot change may stand for."""
    if key.split(".")[0] in Study.model_fields:
        return "; it is the same for the whole study: write it at the top of the file"
    near = suggest_key(key, dotted_keys(Recipe, tables))
    return f"; write {near}" if near else f" (known: {', '.join(sorted(RECIPE_KEYS))})"


def written_changes(base: Recipe, recipe: Recipe, where: str) -> dict[str, Any]:
    """Return the dotted changes that make the recipe from the base, as study.toml has them.

    Raises:
        StudyError: it lacks an option of the base, which study.toml cannot express.
    """
    ours, theirs = base.model_dump(exclude_none=True), recipe.model_dump(exclude_none=True)
    changes: dict[str, Any] = {}
    for table, value in theirs.items():
        before, discriminator = ours.get(table), DISCRIMINATORS.get(table, "")
        if table in WHOLE:
            changes |= {} if getattr(recipe, table) == getattr(base, table) else {table: value}
        elif not (isinstance(value, dict) and isinstance(before, dict)):
            changes |= {} if value == before else {table: value}
        elif value.get(discriminator) != before.get(discriminator):
            changes[table] = value
        else:
            changes |= {f"{table}.{key}": part for key, part in value.items() if part != before.get(key)}
    written = validate(Recipe, override(ours, changes, where), where)
    for table in Recipe.model_fields:
        if getattr(written, table) != getattr(recipe, table):
            raise StudyError(
                f"{where}: {table}: lacks what the file's own [{table}] has; "
                f"with --set, replace the table whole: --set '{table}={{...}}'"
            )
    return changes
