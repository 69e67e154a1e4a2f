"""Variants: what merges, what begins anew, and how a mistake in one is named."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.config import MAX_VARIANTS, Study
from harness.study_file.load import resolve
from tests.conftest import TINY

BASE = {**TINY, "optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True}}


def with_variants(**variants: Any) -> Study:
    return resolve({**BASE, "variants": variants})


def refusal(raw: dict[str, Any], *overrides: tuple[str, Any]) -> str:
    with pytest.raises(StudyError) as caught:
        resolve({**BASE, **raw}, overrides)
    return str(caught.value)


def test_base_is_the_file_itself_and_comes_before_the_variants_in_their_order() -> None:
    study = with_variants(zebra={"data.batch_size": 16}, ant={})
    sizes = {name: recipe.data.batch_size for name, recipe in study.recipes.items()}
    assert sizes == {"base": 32, "zebra": 16, "ant": 32} and list(sizes) == ["base", "zebra", "ant"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.momentum": 0.5},
        {"optimizer": {"momentum": 0.5}},
        {"optimizer": {"name": "SGD", "momentum": 0.5}},
    ],
)
def test_a_dotted_key_and_a_table_of_the_same_name_change_one_value(changes: dict[str, Any]) -> None:
    recipe = with_variants(x=changes).recipes["x"]
    assert recipe.optimizer.options == {"momentum": 0.5, "nesterov": True}


def test_a_table_of_another_name_or_kind_begins_anew() -> None:
    constant = {"kind": "constant", "epochs": 3, "lr": 0.1}
    changes = {
        "optimizer": {"name": "Adam", "eps": 1e-7},
        "model": {"name": "resnet18"},
        "schedule": constant,
    }
    recipe = with_variants(x=changes).recipes["x"]
    assert recipe.optimizer.options == {"eps": 1e-7} and recipe.model.options == {}
    assert recipe.schedule.model_dump() == constant


def test_a_table_that_names_the_default_kind_or_model_is_the_same_table() -> None:
    changes = {"schedule": {"kind": "triangle", "epochs": 9}, "model": {"name": "custom_resnet"}}
    recipe = resolve({**BASE, "model": {"width": 2}, "variants": {"x": changes}}).recipes["x"]
    assert recipe.schedule.model_dump()["lr_max"] == 0.05 and recipe.schedule.epochs == 9
    assert recipe.model.options == {"width": 2}


def test_a_list_is_replaced_whole_and_a_nested_table_of_options_merges() -> None:
    raw = {**BASE, "model": {"name": "m", "head": {"kind": "linear", "bias": True}}}
    changes = {"model": {"head": {"bias": False}}, "augment.train": []}
    recipe = resolve({**raw, "variants": {"x": changes}}).recipes["x"]
    assert recipe.model.options == {"head": {"kind": "linear", "bias": False}} and recipe.augment.train == []


def test_a_variant_may_ask_for_a_range_test_of_its_own() -> None:
    recipes = with_variants(x={"range_test.iterations": 7}).recipes
    assert recipes["base"].range_test is None
    assert recipes["x"].range_test is not None and recipes["x"].range_test.iterations == 7


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ({"x": {"data.batchsize": 8}}, "variants.x: data.batchsize: unknown key, did you mean 'batch_size'?"),
        (
            {"x": {"data.batch_size": 8.0}},
            "variants.x: data.batch_size: expected a whole number such as 8, got",
        ),
        (
            {"x": {"optimiser.name": "Adam"}},
            "variants.x.optimiser.name: a variant cannot change this; write optimizer.name",
        ),
        ({"x": {"epochs": 1}}, "variants.x.epochs: a variant cannot change this; write schedule.epochs"),
        ({"x": {"lr": 1}}, "variants.x.lr: a variant cannot change this; write schedule.lr_max"),
        ({"x": {"seeds": [1]}}, "variants.x.seeds: a variant cannot change this; it is the same for"),
        ({"x": {"target": {"test_accuracy": 0.1}}}, "variants.x.target: a variant cannot change this"),
        ({"x": {"augment.train.p": 1}}, "variants.x: augment.train.p: augment.train is not a table"),
        (
            {"x": {"optimizer.momentum": float("nan")}},
            "variants.x: optimizer: expected finite numbers, got nan",
        ),
        ({"x": {"schedule.peak_epoch": 3}}, "variants.x: schedule: peak_epoch must lie between 0 and epochs"),
        ({"x": {"": 1}}, "variants.x.: a variant cannot change this"),
        ({"x": 3}, "variants.x: expected a table, got 3"),
        ({"base": {}}, "variants.base: `base` is the file itself"),
        ({"Base": {}}, "variants.Base: differs from 'base' only in case"),
        ({"a": {}, "A": {}}, "variants.A: differs from 'a' only in case"),
        ([1], "variants: expected tables [variants.NAME]"),
    ],
)
def test_a_mistake_in_a_variant_is_named_with_the_variant_and_the_key(variants: Any, expected: str) -> None:
    assert refusal({"variants": variants}).startswith(f"study: {expected}")


def test_the_baseline_must_be_a_variant() -> None:
    raw: dict[str, Any] = {"variants": {"wide": {}}}
    assert resolve({**BASE, **raw, "baseline": "wide"}).baseline == "wide"
    message = refusal({**raw, "baseline": "wied"})
    assert message == "study: baseline: no variant named 'wied', did you mean 'wide'?"


def test_a_thousand_variants_are_fine_and_more_are_refused() -> None:
    many = {f"v{n}": {"data.batch_size": n + 2} for n in range(MAX_VARIANTS)}
    assert len(resolve({**BASE, "variants": many}).recipes) == MAX_VARIANTS + 1
    for count in (1_001, 100_000):
        more: dict[str, Any] = dict.fromkeys(map(str, range(count)), {})
        assert f"{count} of them; 1000 is the most" in refusal({"variants": more})
    assert "1001 of them" in refusal({}, ("variants", {str(n): {} for n in range(1_001)}))


def test_a_setting_that_cannot_be_written_down_is_refused_with_the_way_out() -> None:
    raw = {"variants": {"adam": {"optimizer": {"name": "Adam"}}}}
    message = refusal(raw, ("optimizer.name", "SGD"))
    assert message.startswith("study: variants.adam: optimizer: lacks what the file's own [optimizer] has")
    assert "--set 'optimizer={...}'" in message
    whole = resolve({**BASE, **raw}, [("optimizer", {"name": "SGD"})])
    assert whole.recipes["adam"].optimizer == whole.optimizer


GROUPS = {
    "optimizer": {"name": "SGD", "groups": [{"match": "*.bias"}, {"type": "*Norm*", "weight_decay": 0.0}]}
}


def test_a_dotted_key_reaches_into_a_list() -> None:
    study = resolve(
        {**TINY, **GROUPS, "variants": {"faster": {"optimizer.groups.0.lr_factor": 64.0}}},
        [("optimizer.groups.1.weight_decay", 0.1)],
    )
    base, faster = (study.recipes[name].optimizer.groups for name in ("base", "faster"))
    assert [group.lr_factor for group in base] == [1.0, 1.0] and base[1].options == {"weight_decay": 0.1}
    assert [group.lr_factor for group in faster] == [64.0, 1.0] and faster[1] == base[1]
    again = resolve(tomllib.loads(study.to_toml()))
    assert again.recipes == study.recipes


@pytest.mark.parametrize(
    "key", ["2.lr_factor", "-1.lr_factor", "first.lr_factor", "9999999999.lr_factor", "2"]
)
def test_a_place_that_a_list_lacks_is_refused(key: str) -> None:
    with pytest.raises(
        StudyError, match="optimizer.groups is not a table but a list; expected a place in it, from 0 to 1"
    ):
        resolve({**TINY, **GROUPS, "variants": {"x": {f"optimizer.groups.{key}": 2.0}}})
