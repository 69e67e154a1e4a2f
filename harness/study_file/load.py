"""Load and validate a study file: TOML, its base, ``--set``, variants, errors of one line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.errors import StudyError
from harness.messages import keys_ending_in, one_line, suggest, usual_keys
from harness.schema import dotted_keys, validate
from harness.study_file.builtin import builtin_studies, find_study
from harness.study_file.changes import replaced_in_variants, study_tables, with_trial
from harness.study_file.config import MAX_COMPARED, Extended, Recipe, Study
from harness.study_file.extends import bases_of, differences, merge
from harness.study_file.grids import expand, tried_keys
from harness.study_file.scaling import scale_to_epochs, scale_variant
from harness.study_file.seeds import first_seeds
from harness.study_file.variants import RECIPE_KEYS, check_names, override, set_path, written_changes
from harness.study_file.vary import count_runs

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_KEY_PARTS = 1_000
MAX_RUNS = 100_000


def load_study(
    name_or_path: Study | str | Path,
    *,
    settings: Mapping[str, Any] | Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    n_seeds: int | None = None,
    precision: str | None = None,
) -> Study:
    """Read a study, apply overrides and validate it.

    Args:
        name_or_path: a built-in study's name, a path, or a study that was made in Python.
        settings: ``KEY=VALUE`` texts, or keys and values; they override the file and its variants. The last
            part of a key is enough if it is unique.
        seeds: override the study's. If the study plans looks, these must be some of its seeds.
        n_seeds: the number of seeds, instead of ``seeds``: the study's first ones; more than it has continue
            after its highest.
        precision: overrides that of the study and its variants.

    Raises:
        StudyError: a mistake, in one line, with the file and the path of the key.
    """
    base = None
    if isinstance(name_or_path, Study):
        raw, where = name_or_path.model_dump(exclude_none=True), name_or_path.name
    else:
        (raw, base), where = _with_bases(find_study(str(name_or_path))), str(name_or_path)
    if isinstance(settings, Mapping):
        given = [(str(key), _as_toml(value)) for key, value in settings.items()]
    else:
        texts = [settings] if isinstance(settings, str) else list(settings)
        if not all(isinstance(text, str) for text in texts):
            raise StudyError("settings: expected a table such as {'schedule.epochs': 2}, or texts KEY=VALUE")
        given = [_parse_setting(setting) for setting in texts]
    overrides = [(_whole_key(key, raw), value) for key, value in given]
    understood = [
        f"--set {key} sets {whole}"
        for (key, _), (whole, _) in zip(given, overrides, strict=True)
        if key != whole
    ]
    if n_seeds is not None:
        seeds = first_seeds(dict(overrides).get("seeds", raw.get("seeds")), n_seeds)
    planned = dict(overrides).get("looks", raw.get("looks")) is not None
    if seeds is not None and not planned:
        overrides.append(("seeds", list(seeds)))
    if precision is not None:
        overrides.append(("precision", precision))
    study = resolve(raw, overrides, where=where)
    if planned and (others := sorted(set(seeds or ()) - set(study.seeds))):
        option = "--seeds" if n_seeds is None else "--n-seeds"
        raise StudyError(
            f"{option}: seed {others[0]} is not one of the {len(study.seeds)} seeds that {where} plans; "
            "name some of these, or change seeds and looks in the file before the first run"
        )
    if base is not None:
        changes = Extended(study=raw["extends"]["study"], changes=differences(base, study))
        study = study.model_copy(update={"extends": changes})
    study._notes[:0] = understood
    return study


def study_folders(name_or_path: str | Path) -> list[Path]:
    """Return the folders of a study file and of those that it extends, without those of built-in studies.

    Raises:
        StudyError: a file does not exist or cannot be read.
    """
    builtin = builtin_studies().values()
    files = [file for file, _ in bases_of(find_study(str(name_or_path)), _read)]
    return list(dict.fromkeys(file.parent for file in files if file not in builtin))


def _with_bases(path: Path) -> tuple[dict[str, Any], Study | None]:
    """Return a file's tables, complete with what it inherits; and its base, if it extends one."""
    (_, tables), *bases = bases_of(path, _read)
    if not bases:
        return tables, None
    raw: dict[str, Any] = {}
    for file, changes in reversed(bases):
        _check_toml(changes, str(file))
        raw = merge(raw, changes, str(file)) if raw else changes
        base = resolve(raw, where=str(file))  # a mistake in it is named with its own file
    _check_toml(tables, str(path))
    return {**merge(raw, tables, str(path)), "extends": {"study": tables["extends"]}}, base


def _whole_key(key: str, raw: Mapping[str, Any]) -> str:
    """Return the dotted key that a setting's key names: itself, or the one that ends in it.

    Raises:
        StudyError: several end in it.
    """
    if "." in key or usual_keys(key):
        return key
    known = [each for each in dotted_keys(Study, raw) if not each.startswith(("trial.", "extends."))]
    found = [key] if key in known else [each for each in keys_ending_in(key, known) if "." in each]
    if len(found) > 1:
        raise StudyError(f"--set {one_line(key, 80)}: several keys end in it; write {' or '.join(found)}")
    return found[0] if found else key


def _read(path: Path) -> dict[str, Any]:
    """Return a study file's tables."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; a study is a small text file")
        return _parse_toml(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not valid TOML: {one_line(error)}") from None
    except (RecursionError, ValueError) as error:
        raise StudyError(f"{path}: not a study: {one_line(error)}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None


def _as_toml(value: Any) -> Any:
    """Return a Python value as TOML would give it: tuples, sets, generators and arrays become lists."""
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _as_toml(part) for key, part in value.items()}
    if isinstance(value, list | tuple | range | set | frozenset | Iterator):
        return [_as_toml(part) for part in value]
    return value


def resolve(raw: dict[str, Any], overrides: Iterable[tuple[str, Any]] = (), *, where: str = "study") -> Study:
    """Apply overrides, expand the variants and validate each of them.

    Args:
        raw: the tables of a study file.
        overrides: dotted keys and values; they win over the file and its variants.

    Raises:
        StudyError: in one line.
    """
    overrides = list(overrides)
    _check_toml(raw, where)
    written, raw = raw, deepcopy(raw)
    for key, value in overrides:
        _check_toml({key: value}, "--set")
        _keep_one_metric(raw, key)
        if (table := key.split(".")[0]) in ("trial", "extends"):
            how = (
                "the harness writes this table"
                if table == "trial"
                else "only a study file can extend another"
            )
            raise StudyError(f"--set {one_line(key, 80)}: {how}; leave it out")
        set_path(raw, key, value, "--set")
    if not isinstance(variants := raw.get("variants", {}), dict):
        raise StudyError(
            f"{where}: variants: expected tables [variants.NAME], got {one_line(repr(variants), 80)}"
        )
    shared = {key: value for key, value in raw.items() if key in RECIPE_KEYS}
    first = study_tables(written)
    notes = scale_to_epochs(written, raw, {key for key, _ in overrides}, first)
    study = validate(Study, raw, where)
    if isinstance(study.extends, str):
        raise StudyError(f"{where}: extends: only a study file can extend another; write it there")
    base = validate(Recipe, {key: raw[key] for key in shared}, where)
    recipes, changes = {"base": base}, {}
    for name, tables in _all_variants(study, overrides, where).items():
        place = f"{where}: variants.{name}"
        resolved = override(shared, tables, place)
        ours = [(key.removeprefix(f"variants.{name}."), value) for key, value in overrides]
        for key, value in ours:
            if key.split(".")[0] in RECIPE_KEYS:
                set_path(resolved, key, value, "--set")
        moved = scale_variant(written, first, name, tables, resolved, {key for key, _ in ours})
        notes += [f"{name}: {note}" for note in moved if note not in notes]
        recipe = validate(Recipe, resolved, place)
        if name in study.variants or recipe != base:  # a cell without a change is `base`
            recipes[name], changes[name] = recipe, written_changes(base, recipe, place)
    _check_named(study, recipes, where)
    study = study.model_copy(update={"variants": changes, "grid": {}, "random": None})
    study._recipes, study._notes = recipes, notes
    if {key for key, _ in overrides} - {"seeds"}:  # other seeds make no trial
        study = with_trial(study, written, raw, _without_overrides(written, where))
        study._notes += replaced_in_variants(study, [key for key, _ in overrides])
    return study


def _without_overrides(written: dict[str, Any], where: str) -> Study | None:
    try:
        return resolve(written, where=where)
    except StudyError:  # a mistake that an override replaces
        return None


def _keep_one_metric(raw: dict[str, Any], key: str) -> None:
    """Take the file's own metric out of the target, where ``--set target.macro_f1=0.9`` names another."""
    table, _, name = key.partition(".")
    if table == "target" and name and isinstance(target := raw.get("target"), dict):
        together = ("metric", "value") if name in ("metric", "value") else (name,)
        raw["target"] = {key: value for key, value in target.items() if key in together}


def _all_variants(study: Study, overrides: list[tuple[str, Any]], where: str) -> dict[str, dict[str, Any]]:
    """Return the file's variants, and those that ``[grid]`` and ``[random]`` make."""
    for table, key in tried_keys(study):
        for setting, _ in overrides:
            if f"{key}.".startswith(f"{setting}."):  # it would make all of these variants equal
                raise StudyError(
                    f"--set {setting}: [{table}] tries values of {key}; change these in the file"
                )
    expanded = expand(study, where)
    if taken := expanded.keys() & study.variants.keys():
        raise StudyError(
            f"{where}: variants.{min(taken)}: [grid] or [random] makes one of this name; rename it"
        )
    variants = {**study.variants, **expanded}
    check_names(variants, where)
    return variants


def _check_named(study: Study, recipes: dict[str, Recipe], where: str) -> None:
    """Refuse names of variants that do not exist, and more runs than a folder can hold."""
    named = {"baseline": study.baseline}
    for name, reference in study.references.items():
        if reference.variant is not None and study.search is None:  # trials of a search do not exist yet
            named[f"references.{name}.variant"] = reference.variant
    for key, variant in named.items():
        if variant not in recipes:
            raise StudyError(f"{where}: {key}: no variant named {variant!r}{suggest(variant, recipes)}")
    if study.looks is not None:
        _check_compared(study, recipes, where)
    for name, recipe in recipes.items():
        runs, place = count_runs(recipe.vary), f"variants.{name}.vary" if name != "base" else "vary"
        if runs is not None and (outside := [seed for seed in study.seeds if seed >= runs]):
            raise StudyError(
                f"{where}: seeds: {outside[0]} is no run of {place}, whose levels have {runs} combinations; "
                f"use seeds from 0 to {runs - 1}"
            )
    if len(recipes) * len(study.seeds) > MAX_RUNS:
        raise StudyError(
            f"{where}: {len(recipes)} variants x {len(study.seeds)} seeds; {MAX_RUNS} runs are the most"
        )


def _check_compared(study: Study, recipes: Mapping[str, Recipe], where: str) -> None:
    """Refuse looks at no comparison, at too many, or at runs that are not independent."""
    variants = len(recipes)
    pairs = variants * (variants - 1) // 2 if study.comparisons == "all" else variants - 1
    if not pairs:
        raise StudyError(f"{where}: looks: there is one variant; add a [variants.NAME], or leave looks out")
    for name, recipe in recipes.items():
        if not recipe.independent:
            raise StudyError(
                f"{where}: looks: the runs of {name} share levels or images, and are not independent; "
                "leave out looks, or vary and data.holdout_draws"
            )
    if pairs > MAX_COMPARED:
        raise StudyError(f"{where}: looks: {pairs} comparisons; {MAX_COMPARED} are the most, fewer variants")


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


def _parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; refuse dotted keys of many thousand parts, for which tomllib would need hours."""
    if any(part.count(".") > MAX_KEY_PARTS for part in re.split("[=,\n]", text)):
        raise ValueError(f"a key of more than {MAX_KEY_PARTS} parts")
    return tomllib.loads(text)


def _check_toml(value: Any, where: str, place: str = "", depth: int = 0) -> None:
    """Refuse values that TOML cannot have or no study needs, before code that they could break."""
    if depth > MAX_DEPTH:
        raise StudyError(f"{where}: {place}: tables nested too deep")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise StudyError(f"{where}: {place}: a whole number this large does not fit 64 bits")
    if isinstance(value, str) and _SURROGATE.search(value):
        raise StudyError(f"{where}: {place}: not valid UTF-8")
    if isinstance(value, list):
        for part in value:
            _check_toml(part, where, place, depth + 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            shown = one_line(f"{place}.{key}".lstrip(".").encode(errors="backslashreplace").decode())
            if _SURROGATE.search(key):
                raise StudyError(f"{where}: {shown}: not valid UTF-8")
            _check_toml(part, where, shown, depth + 1 + key.count("."))


# Half of a surrogate pair: Python's form of command-line bytes that are not UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")
