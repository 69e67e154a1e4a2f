"""From a study file to a validated study: built-in names, variants, ``--set``, one-line errors."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.schema import validate
from harness.study_file import grids as sweep
from harness.study_file.config import MAX_VARIANTS, Recipe, Study

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 32
# Tables that these keys tell apart are replaced whole when an override names another one: their keys differ.
DISCRIMINATORS = {"schedule": "kind", "model": "name", "optimizer": "name"}
MAX_KEY_PARTS = 1_000
MAX_RUNS = 100_000
RECIPE_KEYS = frozenset(Recipe.model_fields)
# Parts of a dotted key, one directly after the other.
_DOTTED = re.compile(r"(?<![\w-])(?:(?:[A-Za-z0-9_-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+)+")


def studies_folder() -> Path:
    """Where the built-in study files lie, in an installed package or in a checkout."""
    package = Path(__file__).parent.parent
    return package / "studies" if (package / "studies").is_dir() else package.parent / "studies"


def builtin_studies() -> dict[str, Path]:
    """Name -> file of every built-in study."""
    return {path.stem: path for path in sorted(studies_folder().glob("*.toml"))}


def known_results() -> dict[str, dict[str, Any]]:
    """Study -> ``variant``, ``mean``, ``std`` and ``n`` of the best that was measured and published."""
    found: dict[str, dict[str, Any]] = json.loads(
        (studies_folder() / "results.json").read_text(encoding="utf-8")
    )
    return found


def find_study(name_or_path: str) -> Path:
    """The file of a built-in study's name, or of a path.

    Raises:
        StudyError: neither is there.
    """
    builtin = builtin_studies()
    if name_or_path in builtin:
        return builtin[name_or_path]
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
    except OSError as error:  # a name that no file can have, a folder that may not be entered
        raise StudyError(f"study file not found: {one_line(name_or_path)}: {error.strerror}") from None
    if path.suffix == ".toml" or path.name != name_or_path:
        raise StudyError(f"study file not found: {one_line(name_or_path)}")
    raise StudyError(
        f"no study named {one_line(name_or_path)!r}{suggest(name_or_path, builtin)}; "
        "--list shows the built-in ones"
    )


def json_schema() -> str:
    """The study file's JSON Schema, for editors; ``docs/study.schema.json`` is this text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def load_study(
    name_or_path: Study | str | Path,
    *,
    settings: Mapping[str, Any] | Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    precision: str | None = None,
) -> Study:
    """Read, override and validate a study.

    Args:
        name_or_path: a built-in study's name, a path, or a study that was made in Python.
        settings: ``KEY=VALUE`` texts, or keys and values; they win over the file and its variants.
        seeds: instead of the study's.
        precision: instead of the study's and its variants'.

    Raises:
        StudyError: in one line, with the file and the path of the key.
    """
    if isinstance(name_or_path, Study):
        raw, where = name_or_path.model_dump(exclude_none=True), name_or_path.name
    else:
        raw, where = _read(find_study(str(name_or_path))), str(name_or_path)
    if isinstance(settings, Mapping):
        overrides = [(key, _as_toml(value)) for key, value in settings.items()]
    else:
        overrides = [_parse_setting(setting) for setting in settings]
    if seeds is not None:
        overrides.append(("seeds", list(seeds)))
    if precision is not None:
        overrides.append(("precision", precision))
    return resolve(raw, overrides, where=where)


def _read(path: Path) -> dict[str, Any]:
    """Return a study file's tables."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; a study is a small text file")
        return _parse_toml(path.read_text(encoding="utf-8-sig"))  # some editors put a mark first
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid TOML: {one_line(error)}") from None
    except (RecursionError, ValueError) as error:
        raise StudyError(f"{path}: not a study: {one_line(error)}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None


def _as_toml(value: Any) -> Any:
    """Return a value of Python's as TOML would give it: tuples are arrays."""
    if isinstance(value, Mapping):
        return {key: _as_toml(part) for key, part in value.items()}
    return [_as_toml(part) for part in value] if isinstance(value, list | tuple) else value


def resolve(raw: dict[str, Any], overrides: Iterable[tuple[str, Any]] = (), *, where: str = "study") -> Study:
    """Apply overrides, expand the variants and validate each of them.

    Raises:
        StudyError: in one line.
    """
    overrides = list(overrides)
    _check_toml(raw, where)
    raw = deepcopy(raw)
    for key, value in overrides:
        _check_toml({key: value}, "--set")
        _set_path(raw, key, value, where="--set")
    _check_variants(raw.get("variants", {}), where)
    study = validate(Study, raw, where)
    variants = {**study.variants, **_swept(study, overrides, where)}
    _check_variants(variants, where)
    shared = {key: value for key, value in raw.items() if key in RECIPE_KEYS}
    recipes = {"base": validate(Recipe, shared, where)}
    for name, changes in variants.items():
        place = f"{where}: variants.{name}"
        resolved = _override(shared, changes, place)
        for key, value in overrides:
            key = key.removeprefix(f"variants.{name}.")
            if key.split(".")[0] in RECIPE_KEYS:
                _set_path(resolved, key, value, where="--set")
        recipe = validate(Recipe, resolved, place)
        if name in study.variants or recipe != recipes["base"]:  # a cell that is the file itself is `base`
            recipes[name] = recipe
    if study.baseline not in recipes:
        raise StudyError(
            f"{where}: baseline: no variant named {study.baseline!r}{suggest(study.baseline, recipes)}"
        )
    for name, reference in study.references.items():
        if reference.variant is not None and reference.variant not in recipes and study.search is None:
            raise StudyError(
                f"{where}: references.{name}.variant: no variant named {reference.variant!r}"
                f"{suggest(reference.variant, recipes)}"
            )
    if len(recipes) * len(study.seeds) > MAX_RUNS:
        raise StudyError(
            f"{where}: {len(recipes)} variants x {len(study.seeds)} seeds; {MAX_RUNS} runs are the most"
        )
    changes = {}
    for name in list(recipes)[1:]:
        changes[name] = _differences(recipes["base"], recipes[name])
        _check_written(recipes["base"], changes[name], recipes[name], f"{where}: variants.{name}")
    study = study.model_copy(update={"variants": changes, "grid": {}, "random": None})
    study._recipes = recipes
    return study


def _swept(study: Study, overrides: Iterable[tuple[str, Any]], where: str) -> dict[str, dict[str, Any]]:
    """The variants that ``[grid]`` and ``[random]`` stand for.

    Raises:
        StudyError: an override would make all of them the same, or a name is taken.
    """
    for table, key in sweep.swept(study):
        for setting, _ in overrides:
            if f"{key}.".startswith(f"{setting}."):
                raise StudyError(
                    f"--set {setting}: [{table}] tries values of {key}; change these in the file"
                )
    made = sweep.expand(study.grid, study.random, where)
    if taken := made.keys() & study.variants.keys():
        raise StudyError(
            f"{where}: variants.{min(taken)}: [grid] or [random] makes one of this name; rename it"
        )
    return made


def _parse_toml(text: str) -> dict[str, Any]:
    """What tomllib says, which needs hours for a dotted key of many thousand parts."""
    if any(found[0].count(".") > MAX_KEY_PARTS for found in _DOTTED.finditer(text)):
        raise ValueError(f"a key of more than {MAX_KEY_PARTS} parts")
    return tomllib.loads(text)


# Where a value stands: its key, below where its table stands. As text only in an error: a long name with many
# keys below it would be as many long texts.
_Place = tuple["_Place", str] | None


def _check_toml(raw: dict[str, Any], where: str) -> None:
    """What TOML cannot say, or no study has, is refused before anything recursive or numeric meets it."""
    level: list[tuple[_Place, Any]] = [((None, key), value) for key, value in raw.items()]
    for _ in range(MAX_DEPTH):
        inner: list[tuple[_Place, Any]] = []
        for place, value in level:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise StudyError(f"{where}: {_path(place)}: a whole number this large does not fit 64 bits")
            if isinstance(value, dict):
                inner += [((place, key), part) for key, part in value.items()]
            elif isinstance(value, list):
                inner += [(place, part) for part in value]
            for text in (place[1] if place else "", value):
                if isinstance(text, str) and not _is_unicode(text):
                    raise StudyError(f"{where}: {_path(place)}: not valid UTF-8")
        level = inner
    if level:
        raise StudyError(f"{where}: {_path(level[0][0])}: tables nested too deep")


def _path(place: _Place) -> str:
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(ascii(key)[1:-1] if not _is_unicode(key) else key)
    return one_line(".".join(reversed(parts)))


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, in which the command line shows bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_variants(variants: Any, where: str) -> None:
    if not isinstance(variants, dict):
        raise StudyError(
            f"{where}: variants: expected tables [variants.NAME], got {one_line(repr(variants), 80)}"
        )
    if len(variants) > MAX_VARIANTS:
        raise StudyError(
            f"{where}: variants: {len(variants)} of them; {MAX_VARIANTS} is the most a study may have"
        )
    if "base" in variants:
        raise StudyError(f"{where}: variants.base: `base` is the file itself; give the variant another name")
    folded: dict[str, str] = {"base": "base"}
    for name in variants:
        other = folded.setdefault(name.lower(), name)
        if other != name:  # macOS and Windows would give both the same folder
            place = f"{where}: variants.{one_line(name, 80)}"
            raise StudyError(one_line(f"{place}: differs from {other!r} only in case; rename it"))


def _parse_setting(setting: str) -> tuple[str, Any]:
    key, separator, text = setting.partition("=")
    key = key.strip()
    if not separator or not key:
        raise StudyError(f"--set {one_line(setting)}: expected KEY=VALUE, such as schedule.epochs=2")
    try:
        parsed = _parse_toml(f"value = {text}")
        if len(parsed) == 1:
            return key, parsed["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        if not any(char in text for char in "\n[]{}\"'="):
            return key, text.strip()
    raise StudyError(f"--set {one_line(setting)}: {one_line(text)!r} is not a TOML value")


def _set_path(tables: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Replace the value at a dotted path whole, making tables on the way."""
    *parents, last = key.split(".")
    if len(parents) >= MAX_DEPTH:
        raise StudyError(f"{where}: {one_line(key, 80)}: tables nested too deep")
    table = tables
    for depth, parent in enumerate(parents):
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            parent = ".".join(parents[: depth + 1])
            raise StudyError(one_line(f"{where}: {key}: {parent} is not a table"))
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
            raise StudyError(f"{where}.{one_line(key, 80)}: a variant cannot change this{hint}")
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


def _check_written(base: Recipe, changes: dict[str, Any], recipe: Recipe, where: str) -> None:
    """study.toml can say what a variant changes and adds, not what it leaves out of the file's table."""
    again = _override(base.model_dump(exclude_none=True), changes, where)
    written = validate(Recipe, again, where)
    for table in Recipe.model_fields:
        if getattr(written, table) != getattr(recipe, table):
            raise StudyError(
                f"{where}: {table}: lacks what the file's own [{table}] has; "
                f"with --set, replace the table whole: --set '{table}={{...}}'"
            )
