"""Whatever a study file says: it reads back as the same study, or one line says why it cannot."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StudyError
from harness.study_file.config import Recipe, Study
from harness.study_file.load import load_study, resolve

BASE: dict[str, Any] = {
    "name": "tiny",
    "question": 'Does "it" \\ run?\n',
    "seeds": [3, 1],
    "target": {"test_accuracy": 1},
    "data": {"batch_size": 32},
    "augment": {"train": [{"transform": "HorizontalFlip", "p": 0.5}]},
    "model": {"name": "custom_resnet", "width": 2},
    "optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True},
    "schedule": {"epochs": 3, "peak_epoch": 1, "lr_max": 0.05, "lr_min": 0.005},
}


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "study.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Round trip

SETTINGS: list[list[tuple[str, Any]]] = [
    [],
    [("data.batch_size", 8)],
    [("optimizer", {"name": "AdamW", "betas": [0.9, 0.99]})],
    [("schedule", {"kind": "constant", "epochs": 2, "lr": "find"})],
    [("precision", "float32"), ("augment.train", [])],
    [("variants.more.model.width", 7)],
]
VARIANTS: dict[str, Any] = {
    "a": {},
    "b": {"schedule": {"kind": "one_cycle_lr", "epochs": 3, "lr_max": 1, "pct_start": 0.5}},
    "c": {"optimizer": {"name": "Adam"}, "model.width": 9, "range_test": {"iterations": 10}},
    "d": {
        "augment.test": [
            {"transform": "OneOf", "transforms": [{"transform": "X"}, {"transform": "Y", "p": 1}]}
        ]
    },
    "e.1": {"model": {"name": "other", "a": {"b": [1, {"c": 2.5}]}}, "loss.l1": 1e-5},
    "f": {"data.path": 'a "quoted" \\ \t path', "precision": "bfloat16"},
}


@pytest.mark.parametrize("overrides", SETTINGS)
def test_a_resolved_study_reads_back_as_the_same_study(overrides: list[tuple[str, Any]]) -> None:
    study = resolve({**BASE, "variants": VARIANTS, "baseline": "c"}, overrides)
    again = resolve(tomllib.loads(study.to_toml()))
    assert again == study and again.recipes == study.recipes and list(again.recipes) == list(study.recipes)
    assert again.to_toml() == study.to_toml()


plain = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(keys.filter(lambda key: key not in ("name", "lr", "kind")), values, max_size=3)
words = st.sampled_from(["a", "b"])
variants = st.dictionaries(
    st.sampled_from(["v", "w.1", "x-y"]),
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.fixed_dictionaries({}, optional={"name": words, "a": values, "b.c": values}),
            "model.a": values,
            "model.name": words,
            "optimizer": st.fixed_dictionaries({"name": words}),
            "optimizer.eps": plain,
            "augment.train": st.lists(options, max_size=2),
            "data": st.fixed_dictionaries(
                {}, optional={"batch_size": st.integers(2, 9), "path": st.just("p")}
            ),
            "schedule": st.just({"kind": "constant", "epochs": 1, "lr": 0.5}),
            "schedule.epochs": st.integers(2, 9),
        },
    ),
    max_size=3,
)
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(
    options,
    variants,
    st.lists(st.tuples(st.sampled_from(["model", "model.a", "optimizer.eps"]), values), max_size=2),
)
def test_whatever_resolves_reads_back_as_the_same_recipes(
    extra: dict[str, Any], changes: dict[str, Any], overrides: list[tuple[str, Any]]
) -> None:
    raw = {**BASE, "model": {"name": "a", **extra}, "variants": changes}
    try:
        study = resolve(raw, overrides)
    except StudyError:
        return
    again = resolve(tomllib.loads(study.to_toml()))
    assert again.recipes == study.recipes and again == study


# Anything at all

hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 10**400, -1, 0]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["find", "lr_min", "triangle", "constant", "one_cycle_lr", "\ud800", "a.b", "..", "base"]
    ),
    st.dates(),
    st.binary(max_size=3),
)
NAMES = sorted(
    {
        *Study.model_fields,
        *Recipe.model_fields,
        "kind",
        "lr",
        "epochs",
        "x",
        "data.path",
        "a.b.c",
        "",
        "_recipes",
    }
)
any_key = st.sampled_from(NAMES) | st.text(max_size=5)
anything = st.recursive(
    hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_key, inner, max_size=4),
    max_leaves=12,
)


def study_or_one_line(raw: dict[str, Any], overrides: list[tuple[str, Any]]) -> None:
    before = copy.deepcopy((raw, overrides))
    try:
        study = resolve(raw, overrides)
        assert isinstance(study, Study) and study.to_toml()
    except StudyError as error:
        assert str(error).isprintable()
    assert repr((raw, overrides)) == repr(before), "resolving changes nothing that it is given"


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(st.dictionaries(any_key, anything, max_size=8))
def test_any_tables_give_a_study_or_one_line(raw: dict[str, Any]) -> None:
    study_or_one_line(raw, [])


def paths(tables: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in tables.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += [*paths(value, f"{prefix}{key}."), f"{prefix}{key}.new"]
    return found


VALID = {
    **BASE,
    "variants": {"v": {"schedule.epochs": 5, "model": {"width": 3}}},
    "references": {},
    "range_test": {},
}


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(st.lists(st.tuples(st.sampled_from(paths(VALID)), anything), min_size=1, max_size=3))
def test_a_valid_study_with_anything_in_any_place_gives_a_study_or_one_line(
    changes: list[tuple[str, Any]],
) -> None:
    study_or_one_line(VALID, changes)
    raw = copy.deepcopy(VALID)
    for path, value in changes:
        table: Any = raw
        *parents, last = path.split(".")
        for parent in parents:
            table = table.get(parent) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[last] = copy.deepcopy(value)
    study_or_one_line(raw, [])


@settings(max_examples=100, deadline=None, suppress_health_check=[*SLOW, HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_gives_a_study_or_one_line(tmp_path: Path, at: int, byte: int, cut: bool) -> None:
    content = bytearray(resolve(BASE).to_toml().encode())
    at %= len(content)
    content[at] = byte
    path = write(tmp_path, bytes(content[:at] if cut else content))
    try:
        assert isinstance(load_study(str(path)), Study)
    except StudyError as error:
        assert str(error).isprintable()
