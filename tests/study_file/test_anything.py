"""Whatever a study file says: it reads back as the same study, or one line says why it cannot."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.study_file.load import resolve
from tests.conftest import TINY

BASE = {**TINY, "question": 'Does "it" \\ run?\n', "seeds": [3, 1]}
VARIANTS: dict[str, Any] = {
    "a": {},
    "b": {"schedule": {"kind": "one_cycle_lr", "epochs": 3, "lr_max": 1, "pct_start": 0.5}},
    "c": {"optimizer": {"name": "Adam"}, "model.width": 9, "range_test": {"iterations": 10}},
    "d": {"augment.test": [{"transform": "OneOf", "transforms": [{"transform": "X"}, {"transform": "Y"}]}]},
    "e.1": {"model": {"name": "other", "a": {"b": [1, {"c": 2.5}]}}, "loss.l1": 1e-5},
    "f": {"data.path": 'a "quoted" \\ \t path', "precision": "bfloat16"},
}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [("optimizer", {"name": "AdamW", "betas": [0.9, 0.99]})],
        [("schedule", {"kind": "constant", "epochs": 2, "lr": "find"})],
        [("precision", "float32"), ("augment.train", [])],
        [("variants.more.model.width", 7)],
    ],
)
def test_a_resolved_study_reads_back_as_the_same_study(overrides: list[tuple[str, Any]]) -> None:
    study = resolve({**BASE, "variants": VARIANTS, "baseline": "c"}, overrides)
    again = resolve(tomllib.loads(study.to_toml()))
    assert (
        again.model_dump() == study.model_dump()
        and again.recipes == study.recipes
        and list(again.recipes) == list(study.recipes)
    )
    assert again.to_toml() == study.to_toml()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
plain = st.one_of(
    text,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(text.filter(lambda key: key not in ("name", "lr", "kind")), values, max_size=3)
words = st.sampled_from(["a", "b"])
changes: dict[str, st.SearchStrategy[Any]] = {
    "model": st.fixed_dictionaries({}, optional={"name": words, "a": values, "b.c": values}),
    "model.a": values,
    "model.name": words,
    "optimizer": st.fixed_dictionaries({"name": words}),
    "optimizer.eps": plain,
    "augment.train": st.lists(options, max_size=2),
    "data": st.fixed_dictionaries({}, optional={"batch_size": st.integers(2, 9), "path": st.just("p")}),
    "schedule": st.just({"kind": "constant", "epochs": 1, "lr": 0.5}),
    "schedule.epochs": st.integers(2, 9),
}
variants = st.dictionaries(
    st.sampled_from(["v", "w.1", "x-y"]), st.fixed_dictionaries({}, optional=changes), max_size=3
)
settled = st.lists(st.tuples(st.sampled_from(["model", "model.a", "optimizer.eps"]), values), max_size=2)
often = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@often
@given(options, variants, settled)
def test_whatever_resolves_reads_back_as_the_same_recipes(
    extra: dict[str, Any], variants: dict[str, Any], overrides: list[tuple[str, Any]]
) -> None:
    try:
        study = resolve({**BASE, "model": {"name": "a", **extra}, "variants": variants}, overrides)
    except StudyError:
        return
    again = resolve(tomllib.loads(study.to_toml()))
    assert again.recipes == study.recipes and again.model_dump() == study.model_dump()


hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        [2**63, 10**400, -1, 0, "find", "triangle", "one_cycle_lr", "\ud800", "a.b", "..", "base"]
    ),
    st.dates(),
    st.binary(max_size=3),
)
NAMES = sorted({*Study.model_fields, "kind", "lr", "epochs", "x", "data.path", "a.b.c", "", "_recipes"})
anything = st.recursive(
    hostile,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
VALID = {
    **BASE,
    "variants": {"v": {"schedule.epochs": 5, "model": {"width": 3}}},
    "references": {},
    "range_test": {},
    "grid": {},
}
PATHS = sorted(
    {*NAMES}
    | {
        f"{table}.{key}"
        for table, inner in VALID.items()
        if isinstance(inner, dict)
        for key in (*inner, "new")
    }
)


@often
@given(st.lists(st.tuples(st.sampled_from(PATHS), anything), min_size=1, max_size=3))
def test_a_valid_study_with_anything_in_any_place_gives_a_study_or_one_line(
    changes: list[tuple[str, Any]],
) -> None:
    raw = copy.deepcopy(VALID)
    for path, value in changes:
        table, _, key = path.rpartition(".")
        inner = raw.get(table) if table else raw
        if isinstance(inner, dict):
            inner[key] = copy.deepcopy(value)
    for tables, overrides in ((VALID, changes), (raw, [])):
        before = repr((tables, overrides))
        try:
            assert resolve(tables, overrides).to_toml()
        except StudyError as error:
            assert str(error).isprintable()
        assert repr((tables, overrides)) == before, "resolving changes nothing that it is given"
