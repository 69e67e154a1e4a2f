"""From a study file to a validated study: built-in names, variants, ``--set``, one-line errors."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.config import Recipe, Study
from harness.errors import StudyError
from harness.schema import one_line, suggest, validate

MAX_FILE_BYTES = 1 << 20
MAX_VARIANTS = 1_000
# Tables that these keys tell apart are replaced whole when an override names another one: their keys differ.
DISCRIMINATORS = {"schedule": "kind", "model": "name", "optimizer": "name"}
RECIPE_KEYS = frozenset(Recipe.model_fields)


def studies_folder() -> Path:
    """Where the built-in study files lie, in an installed package or in a checkout."""
    package = Path(__file__).parent
    return package / "studies" if (package / "studies").is_dir() else package.parent / "studies"


def builtin_studies() -> dict[str, Path]:
    """Name -> file of every built-in study."""
    return {path.stem: path for path in sorted(studies_folder().glob("*.toml"))}


def find_study(name_or_path: str) -> Path:
    """The file of a built-in study's name, or of a path.

    Raises:
        StudyError: neither is there.
    """
    builtin = builtin_studies()
    if name_or_path in builtin:
        return builtin[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or path.name != name_or_path:
        raise StudyError(f"study file not found: {name_or_path}")
    raise StudyError(
        f"no study named {name_or_path!r}{suggest(name_or_path, builtin)}; --list shows the built-in ones"
    )


def load_study(
    name_or_path: str,
    *,
    settings: Iterable[str] = (),
    seeds: list[int] | None = None,
    precision: str | None = None,
) -> Study:
    """Read, override and validate a study.

    Args:
        name_or_path: a built-in study's name or a path.
        settings: ``KEY=VALUE`` overrides; they win over the file and its variants.
        seeds: instead of the study's.
        precision: instead of the study's and its variants'.

    Raises:
        StudyError: in one line, with the file and the path of the key.
    """
    path = find_study(name_or_path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; a study is a small text file")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid TOML: {one_line(error)}") from None
    except (RecursionError, ValueError) as error:
        raise StudyError(f"{path}: not a study: {one_line(error)}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    overrides = [_parse_setting(setting) for setting in settings]
    if seeds is not None:
        overrides.append(("seeds", seeds))
    if precision is not None:
        overrides.append(("precision", precision))
    return resolve(raw, overrides, where=str(name_or_path))


def resolve(raw: dict[str, Any], overrides: Iterable[tuple[str, Any]] = (), *, where: str = "study") -> Study:
    """Apply overrides, expand the variants and validate each of them.

    Raises:
        StudyError: in one line.
    """
    overrides = list(overrides)
    try:
        raw = deepcopy(raw)
    except RecursionError:
        raise StudyError(f"{where}: tables nested too deep") from None
    variants = raw.get("variants", {})
    if not isinstance(variants, dict):
        raise StudyError(f"{where}: variants: expected tables [variants.NAME]")
    if len(variants) > MAX_VARIANTS:
        raise StudyError(
            f"{where}: variants: {len(variants)} of them; {MAX_VARIANTS} is the most a study may have"
        )
    for key, value in overrides:
        _set_path(raw, key, value, where="--set")
    study = validate(Study, raw, where)
    if "base" in study.variants:
        raise StudyError(f"{where}: variants.base: `base` is the file itself; give the variant another name")
    shared = {key: value for key, value in raw.items() if key in RECIPE_KEYS}
    recipes = {"base": validate(Recipe, shared, where)}
    for name, changes in study.variants.items():
        place = f"{where}: variants.{name}"
        resolved = _override(shared, changes, place)
        for key, value in overrides:
            if key.split(".")[0] in RECIPE_KEYS:
                _set_path(resolved, key, value, where="--set")
        recipes[name] = validate(Recipe, resolved, place)
    if study.baseline not in recipes:
        raise StudyError(
            f"{where}: baseline: no variant named {study.baseline!r}{suggest(study.baseline, recipes)}"
        )
    changes = {
        name: _differences(recipes["base"], recipe) for name, recipe in recipes.items() if name != "base"
    }
    study = study.model_copy(update={"variants": changes})
    study._recipes = recipes
    return study


def _parse_setting(setting: str) -> tuple[str, Any]:
    key, separator, text = setting.partition("=")
    key = key.strip()
    if not separator or not key:
        raise StudyError(f"--set {setting}: expected KEY=VALUE, such as schedule.epochs=2")
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        if any(char in text for char in "\n[]{}\"'="):
            raise StudyError(f"--set {setting}: {text.strip()!r} is not a TOML value") from None
        return key, text.strip()


def _set_path(tables: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Replace the value at a dotted path whole, making tables on the way."""
    *parents, last = key.split(".")
    table = tables
    for depth, parent in enumerate(parents):
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise StudyError(f"{where}: {key}: {'.'.join(parents[: depth + 1])} is not a table")
    table[last] = deepcopy(value)


def _override(shared: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """A variant's tables: dotted keys replace values; another ``kind`` or ``name`` a whole table."""
    resolved = deepcopy(shared)

    def merge(path: tuple[str, ...], value: Any) -> None:
        current: Any = resolved
        for part in path:
            current = current.get(part, {}) if isinstance(current, dict) else {}
        discriminator = DISCRIMINATORS.get(path[0]) if len(path) == 1 else None
        default = "triangle" if discriminator == "kind" else "custom_resnet"
        if isinstance(value, dict) and isinstance(current, dict):
            renamed = discriminator in value and value[discriminator] != current.get(discriminator, default)
            if not renamed:
                for key, part in value.items():
                    merge((*path, *key.split(".")), part)
                return
        _set_path(resolved, ".".join(path), value, where)

    for key, value in changes.items():
        top = key.split(".")[0]
        if top not in RECIPE_KEYS:
            hint = suggest(top, RECIPE_KEYS)
            raise StudyError(f"{where}.{key}: a variant cannot change this{hint}")
        merge(tuple(key.split(".")), value)
    return resolved


def _differences(base: Recipe, recipe: Recipe) -> dict[str, Any]:
    """Dotted changes that make the recipe from the base; a table of another kind or name is given whole."""
    ours, theirs = base.model_dump(exclude_none=True), recipe.model_dump(exclude_none=True)
    changes: dict[str, Any] = {}
    for table, value in theirs.items():
        before = ours.get(table)
        if value == before:
            continue
        discriminator = DISCRIMINATORS.get(table)
        if (
            not isinstance(value, dict)
            or not isinstance(before, dict)
            or discriminator
            and value[discriminator] != before[discriminator]
        ):
            changes[table] = value
        else:
            for key, part in value.items():
                if part != before.get(key):
                    changes[f"{table}.{key}"] = part
    return changes
