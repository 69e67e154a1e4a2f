"""``--set schedule.epochs=3``: what a study places by epochs moves with their number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from harness.errors import StudyError
from harness.study_file.variants import RECIPE_KEYS, override

EPOCHS = "schedule.epochs"


def _scaled(value: Any, ratio: float) -> Any:
    """Return a place with six decimals; one that was scaled and rounded before comes back as it was."""
    moved, plain = round(value * ratio, 6), round(value * ratio, 2)
    return plain if abs(moved - plain) <= 1e-6 * max(1, ratio) else moved


def _corners(points: Any, ratio: float) -> Any:
    return [[_scaled(epoch, ratio), value] for epoch, value in points]


def _epoch(value: Any, ratio: float) -> Any:
    """Return the epoch that contains the same share of the training; the first one is 1."""
    return 1 + int((value - 1) * ratio + 1e-9)


# Keys that are counted in epochs, or in steps of the whole training.
PLACED: dict[str, Callable[[Any, float], Any]] = {
    "schedule.peak_epoch": _scaled,
    "schedule.points": _corners,
    "schedule.momentum_points": _corners,
    "schedule.warmup_epochs": _scaled,
    "schedule.cycle_epochs": _scaled,
    "schedule.milestones": lambda epochs, ratio: [_scaled(epoch, ratio) for epoch in epochs],
    "schedule.every": _scaled,
    "schedule.total_steps": lambda steps, ratio: max(1, round(steps * ratio)),
    "averaging.start_epoch": _epoch,
}


def scale_to_epochs(
    before: Mapping[str, Any], after: dict[str, Any], given: Collection[str], first: Mapping[str, Any]
) -> list[str]:
    """Move what is placed by epochs with a number of epochs that an override has changed.

    Args:
        before: the tables of a recipe without overrides.
        after: the same with them; it is changed.
        given: dotted keys that must stay as they are; ``schedule.epochs`` itself is an override only if it is
            among them.
        first: the tables of the study file; others than ``before`` in a trial. A value that was moved for the
            trial is moved from there, so that it comes back as it was.

    Returns:
        A sentence for each key that was moved.
    """
    if EPOCHS not in given:
        return []
    earlier, later = _at(before, EPOCHS), _at(after, EPOCHS)
    if not all(isinstance(epochs, int) and epochs > 0 for epochs in (earlier, later)) or earlier == later:
        return []
    said = []
    for key, scale in PLACED.items():
        table, _, last = key.partition(".")
        value = _at(before, key)
        own = any(f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.") for each in given)
        if own or value is None or _at(after, key) != value:
            continue
        origin, epochs = _at(first, key), _at(first, EPOCHS)
        if _moved(scale, origin, epochs, earlier) != value:
            origin, epochs = value, earlier
        moved = _moved(scale, origin, epochs, later)
        if moved is not None and moved != value:
            after[table] = {**after[table], last: moved}
            said.append(
                f"{key} = {moved} for {later} epoch{'' if later == 1 else 's'}, in proportion "
                f"({value} for {earlier}); --set {key}=... changes it"
            )
    return said


def scale_variant(
    written: Mapping[str, Any],
    first: Mapping[str, Any],
    name: str,
    tables: dict[str, Any],
    resolved: dict[str, Any],
    given: set[str],
) -> list[str]:
    """Scale a variant to an overridden number of epochs, but for what a grid or draw tries."""
    if EPOCHS not in given:
        return []
    try:
        before, at_first = (_variant_of(each, name, tables) for each in (written, first))
    except StudyError:  # the file has a mistake that an override replaces
        return []
    own = isinstance(variants := written.get("variants"), dict) and variants.get(name) is not None
    return scale_to_epochs(before, resolved, given if own else given | tables.keys(), at_first)


def _variant_of(study: Mapping[str, Any], name: str, made: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's tables of a variant of the study's, or of one that a grid or draw made."""
    variants = study.get("variants")
    own = variants.get(name) if isinstance(variants, dict) else None
    shared = {key: value for key, value in study.items() if key in RECIPE_KEYS}
    return override(shared, own if isinstance(own, dict) else made, name)


def _moved(scale: Callable[[Any, float], Any], value: Any, earlier: Any, later: int) -> Any:
    """Return a value for another number of epochs; None where it is no number, as validation says."""
    if earlier == later:
        return value
    try:
        return scale(value, later / earlier)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None


def _at(tables: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; None where there is none."""
    value: Any = tables
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
