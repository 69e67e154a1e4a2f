"""What ``--set`` has changed of a study file: the table of a trial, and the file as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from harness.messages import listed
from harness.study_file.config import Study
from harness.study_file.trial import Change, Trial
from harness.study_file.variants import RECIPE_KEYS

# Keys that do not change the study's question: names, seeds, how runs are computed and explained.
_UNTOLD = {
    "name", "question", "seeds", "precision", "compile", "resources", "trial", "extends",
    "attribution",
}  # fmt: skip
_RESOLVED = {*RECIPE_KEYS, "variants", "grid", "random"}  # compared in the recipes that they give
MOST_NAMED = 3  # variants in a note

Found = tuple[str, Any, Any]  # dotted key, value before and after


def with_trial(
    study: Study, written: Mapping[str, Any], changed: Mapping[str, Any], before: Study | None
) -> Study:
    """Return a changed study with its trial: what differs from the file, variant by variant.

    A change that is taken back is no change, and a study without any has its own name again.

    Args:
        written: the tables of the study file, or of a resolved study, which may be a trial already.
        changed: the same with all overrides.
        before: the study without the overrides; None where it is no study without them.
    """
    earlier = _trial(written)
    known = {} if earlier is None else {each.key: each for each in earlier.changes}
    for key, old, new in _differences(study, written, changed, before):
        if not _untold(key):
            first = known[key].before if key in known else old
            known[key] = Change(key=key, value=new, before=first)
    changes = [each for each in known.values() if each.value != each.before]
    if changes:
        of = str(written.get("name") or study.name) if earlier is None else earlier.of
        return study.model_copy(update={"trial": Trial(of=of, changes=changes)})
    name = study.name if earlier is None else earlier.original_name(study.name)
    return study.model_copy(update={"trial": None, "name": name})


def replaced_in_variants(study: Study, keys: Iterable[str]) -> list[str]:
    """Say which overridden keys have replaced values that variants had of their own."""
    changed = [] if study.trial is None else [each.key for each in study.trial.changes]
    said = []
    for key in keys:
        names = [name for name in study.variants if f"variants.{name}.{key}" in changed]
        if names:
            own = "its own value" if len(names) == 1 else "their own values"
            said.append(f"--set {key} also replaces {own} in {listed(names, MOST_NAMED)}")
    return said


def study_tables(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a study's file: those of a resolved trial with its changes taken back."""
    tables, trial = deepcopy(dict(written)), _trial(written)
    for change in [] if trial is None else trial.changes:
        table: Any = tables
        *parents, last = change.key.split(".")
        for name in tables.get("variants") or {}:  # a resolved variant has dotted keys
            if change.key.startswith(f"variants.{name}."):
                parents, last = ["variants", name], change.key.removeprefix(f"variants.{name}.")
        for part in parents:
            table = table.get(part) if isinstance(table, dict) else None
        if isinstance(table, dict) and change.before is None:
            table.pop(last, None)
        elif isinstance(table, dict):
            table[last] = change.before
    return tables


def changed_keys(before: Any, after: Any, path: str = "") -> Iterator[Found]:
    """Yield the dotted key of each value that differs, with the value before and after; lists are values."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if before != after or type(before) is not type(after):
            yield path, before, after
        return
    for key in dict.fromkeys([*before, *after]):
        dotted = f"{path}.{key}" if path else str(key)
        if key in before and key in after:
            yield from changed_keys(before[key], after[key], dotted)
        else:
            yield dotted, before.get(key), after.get(key)


def _trial(written: Mapping[str, Any]) -> Trial | None:
    """Return the trial that a file says it is; of a mistake in its table, the study's validation tells."""
    try:
        return Trial.model_validate(written.get("trial"))
    except ValidationError:
        return None


def _untold(key: str) -> bool:
    return key.split(".")[0] in _UNTOLD or (key.startswith("variants.") and ".attribution." in key)


def _differences(
    study: Study, written: Mapping[str, Any], changed: Mapping[str, Any], before: Study | None
) -> Iterator[Found]:
    if before is None:
        yield from changed_keys(written, changed)
        return
    own, changed_own = (
        {key: each[key] for key in each if key not in _RESOLVED} for each in (written, changed)
    )
    yield from changed_keys(own, changed_own)
    base = list(_of_recipe(before, study, "base"))
    yield from base
    for name in dict.fromkeys([*before.variants, *study.variants]):
        if name not in before.variants or name not in study.variants:
            yield f"variants.{name}", before.variants.get(name), study.variants.get(name)
            continue
        found = [each for each in _of_recipe(before, study, name) if each not in base]
        yield from ((f"variants.{name}.{key}", old, new) for key, old, new in found)


def _of_recipe(before: Study, after: Study, variant: str) -> Iterator[Found]:
    old, new = (study.recipes[variant].model_dump(exclude_none=True) for study in (before, after))
    return changed_keys(old, new)
