"""From a study file to a validated study: what wins, what round-trips, and that nothing else ever happens."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.study_file.load import (
    MAX_FILE_BYTES,
    MAX_VARIANTS,
    builtin_studies,
    find_study,
    json_schema,
    load_study,
    resolve,
    studies_folder,
)

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


def with_variants(**variants: Any) -> Study:
    return resolve({**BASE, "variants": variants})


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "study.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def base_file(folder: Path, extra: str = "") -> Path:
    return write(folder, resolve(BASE).to_toml() + extra)


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(StudyError) as caught:
        attempt()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000, "one line"
    return message


# Variants


def test_base_is_the_file_itself_and_comes_before_the_variants_in_their_order() -> None:
    study = with_variants(zebra={"data.batch_size": 16}, ant={})
    assert list(study.recipes) == ["base", "zebra", "ant"]
    assert study.recipes["base"].data.batch_size == 32 == study.recipes["ant"].data.batch_size
    assert study.recipes["zebra"].data.batch_size == 16


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


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"optimizer": {"name": "Adam", "eps": 1e-7}}, {"eps": 1e-7}),
        ({"model": {"name": "resnet18"}}, {}),
        (
            {"schedule": {"kind": "constant", "epochs": 3, "lr": 0.1}},
            {"kind": "constant", "epochs": 3, "lr": 0.1},
        ),
    ],
)
def test_a_table_of_another_name_or_kind_begins_anew(
    changes: dict[str, Any], options: dict[str, Any]
) -> None:
    table = next(iter(changes))
    config = getattr(with_variants(x=changes).recipes["x"], table)
    assert (config.model_dump() if table == "schedule" else config.options) == options


def test_a_table_that_names_the_default_kind_or_model_is_the_same_table() -> None:
    raw = {**BASE, "model": {"width": 2}}
    raw["variants"] = {
        "x": {"schedule": {"kind": "triangle", "epochs": 9}, "model": {"name": "custom_resnet"}}
    }
    recipe = resolve(raw).recipes["x"]
    assert recipe.schedule.model_dump()["lr_max"] == 0.05 and recipe.schedule.epochs == 9
    assert recipe.model.options == {"width": 2}


def test_a_list_is_replaced_whole() -> None:
    recipe = with_variants(x={"augment.train": []}).recipes["x"]
    assert recipe.augment.train == []


def test_a_nested_table_of_options_merges() -> None:
    raw = {**BASE, "model": {"name": "m", "head": {"kind": "linear", "bias": True}}}
    raw["variants"] = {"x": {"model": {"head": {"bias": False}}}}
    assert resolve(raw).recipes["x"].model.options == {"head": {"kind": "linear", "bias": False}}


def test_a_variant_may_ask_for_a_range_test_of_its_own() -> None:
    study = with_variants(x={"range_test.iterations": 7})
    assert study.recipes["base"].range_test is None
    settings_ = study.recipes["x"].range_test
    assert settings_ is not None and settings_.iterations == 7


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        (
            {"x": {"data.batchsize": 8}},
            "study: variants.x: data.batchsize: unknown key, did you mean 'batch_size'?",
        ),
        (
            {"x": {"data.batch_size": 8.0}},
            "study: variants.x: data.batch_size: expected a whole number such as 8, got 8.0",
        ),
        (
            {"x": {"optimiser.name": "Adam"}},
            "study: variants.x.optimiser.name: a variant cannot change this, did you mean 'optimizer'?",
        ),
        ({"x": {"seeds": [1]}}, "study: variants.x.seeds: a variant cannot change this"),
        ({"x": {"target": {"test_accuracy": 0.1}}}, "study: variants.x.target: a variant cannot change this"),
        ({"x": {"augment.train.p": 1}}, "study: variants.x: augment.train.p: augment.train is not a table"),
        (
            {"x": {"optimizer.momentum": float("nan")}},
            "study: variants.x: optimizer: expected finite numbers, got nan",
        ),
        (
            {"x": {"schedule.peak_epoch": 3}},
            "study: variants.x: schedule: peak_epoch must lie between 0 and epochs",
        ),
        ({"x": {"": 1}}, "study: variants.x.: a variant cannot change this"),
        ({"x": 3}, "study: variants.x: expected a table, got 3"),
        ({"base": {}}, "study: variants.base: `base` is the file itself"),
        ({"Base": {}}, "study: variants.Base: differs from 'base' only in case"),
        ({"a": {}, "A": {}}, "study: variants.A: differs from 'a' only in case"),
        ([1], "study: variants: expected tables [variants.NAME]"),
    ],
)
def test_a_mistake_in_a_variant_is_named_with_the_variant_and_the_key(variants: Any, expected: str) -> None:
    assert refusal(lambda: resolve({**BASE, "variants": variants})).startswith(expected)


def test_the_baseline_must_be_a_variant() -> None:
    raw = {**BASE, "variants": {"wide": {}}}
    assert resolve({**raw, "baseline": "wide"}).baseline == "wide"
    message = refusal(lambda: resolve({**raw, "baseline": "wied"}))
    assert message == "study: baseline: no variant named 'wied', did you mean 'wide'?"


# Sizes


def test_a_thousand_variants_are_fine_and_more_are_refused() -> None:
    many = {f"v{n}": {"data.batch_size": n + 2} for n in range(MAX_VARIANTS)}
    assert len(resolve({**BASE, "variants": many}).recipes) == MAX_VARIANTS + 1
    too_many: dict[str, Any] = dict.fromkeys(map(str, range(100_000)), {})
    assert "100000 of them; 1000 is the most" in refusal(lambda: resolve({**BASE, "variants": too_many}))
    assert "1001 of them" in refusal(
        lambda: resolve(BASE, [("variants", dict.fromkeys(map(str, range(1001)), {}))])
    )


def test_a_file_of_more_than_a_mebibyte_is_no_study(tmp_path: Path) -> None:
    text = base_file(tmp_path).read_text()
    write(tmp_path, text + "#" * (MAX_FILE_BYTES - len(text)))
    assert load_study(str(tmp_path / "study.toml")).name == "tiny"
    path = write(tmp_path, text + "#" * (MAX_FILE_BYTES + 1 - len(text)))
    assert "larger than 1048576 bytes" in refusal(lambda: load_study(str(path)))


@pytest.mark.parametrize("depth", [40, 300, 20_000])
def test_tables_and_lists_nested_too_deep_are_refused(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for line in (
        f"model.a = {deep}",
        f"seeds = {deep}",
        f"variants.x.model.a = {deep}",
        f"augment.train = {deep}",
    ):
        path = write(tmp_path, line)
        message = refusal(lambda path=path: load_study(str(path)))
        assert "nested too deep" in message or "recursion" in message
    message = refusal(lambda: load_study("quickstart", settings=[f"model.a={deep}"]))
    assert "nested too deep" in message or "not a TOML value" in message
    key = ".".join(["model", *["a"] * depth])
    assert "nested too deep" in refusal(lambda: load_study("quickstart", settings=[f"{key}=1"]))
    assert "nested too deep" in refusal(lambda: with_variants(x={key: 1}))
    nested: Any = 1
    for _ in range(depth):
        nested = {"a": nested}
    assert "nested too deep" in refusal(lambda: resolve({**BASE, "model": nested}))
    while isinstance(nested, dict):  # freed a level at a time: all at once is as deep a recursion
        nested = nested["a"]


def test_augmentations_may_nest_as_deep_as_anyone_writes_them() -> None:
    transform: dict[str, Any] = {"transform": "HorizontalFlip"}
    for _ in range(8):
        transform = {"transform": "OneOf", "transforms": [transform]}
    assert with_variants(x={"augment.train": [transform]}).recipes["x"].augment.train == [transform]


@pytest.mark.parametrize(
    "path", ["schedule.epochs", "schedule.lr_max", "schedule.peak_epoch", "optimizer.eps", "seeds"]
)
@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, 10**400, 1 << 20_000], ids=["high", "low", "large", "huge"]
)
def test_an_integer_that_toml_has_not_is_refused(path: str, value: int) -> None:
    given_ = [value] if path == "seeds" else value
    assert (
        refusal(lambda: resolve(BASE, [(path, given_)]))
        == f"--set: {path}: a whole number this large does not fit 64 bits"
    )
    raw = copy.deepcopy(BASE)
    *tables, last = path.split(".")
    (raw[tables[0]] if tables else raw)[last] = given_
    assert refusal(lambda: resolve(raw)) == f"study: {path}: a whole number this large does not fit 64 bits"


# Files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name = ", "not valid TOML: "),
        (b'name = "\xff"', "not valid TOML: "),
        ('name = "x"'.encode("utf-16"), "not valid TOML: "),
        (b'name = "\\ud800"', "not valid TOML: "),
        (b"a = 1\na = 2", "not valid TOML: "),
        (b"\x00", "not valid TOML: "),
        (b"seeds = [" + b"9" * 5000 + b"]", "not a study: "),
        (b"seeds = [0x" + b"f" * 5000 + b"]", "seeds: a whole number this large does not fit 64 bits"),
        (b"", ": missing"),
    ],
)
def test_a_file_that_is_no_study_is_refused_by_its_name(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = write(tmp_path, content)
    message = refusal(lambda: load_study(str(path)))
    assert message.startswith(str(path)) and expected in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quikstart", "no study named 'quikstart', did you mean 'quickstart'?; --list shows"),
        ("nowhere/study.toml", "study file not found: nowhere/study.toml"),
        ("study.toml", "study file not found: study.toml"),
        ("a\nb.toml", "study file not found: a b.toml"),
        ("x" * 5000, "study file not found: xxx"),
        ("x" * 300 + "/y", "study file not found: xxx"),
        ("a\0b", "no study named"),
        ("", "no study named"),
        ("..", "no study named"),
    ],
)
def test_a_study_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: load_study(name)).startswith(expected)


def test_an_editors_byte_order_mark_and_line_ends_are_no_mistake(tmp_path: Path) -> None:
    text = builtin_studies()["quickstart"].read_bytes()
    path = write(tmp_path, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert load_study(str(path)).to_toml() == load_study("quickstart").to_toml()


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    assert "study file not found" in refusal(lambda: load_study(str(tmp_path)))


@pytest.mark.parametrize("name", sorted(builtin_studies()))
def test_every_built_in_study_loads_and_is_named_as_its_file(name: str) -> None:
    study = load_study(name)
    assert study.name == name and study.question.endswith("?")
    assert find_study(name) == studies_folder() / f"{name}.toml"


def test_the_built_in_studies_are_there() -> None:
    assert {"quickstart", "onecycle"} <= set(builtin_studies())


# --set


def test_a_setting_wins_over_the_file_and_its_variants(tmp_path: Path) -> None:
    path = base_file(tmp_path, '[variants.x]\n"data.batch_size" = 16\nprecision = "float32"\n')
    study = load_study(str(path), settings=["data.batch_size=8", "precision=bfloat16"])
    assert [recipe.data.batch_size for recipe in study.recipes.values()] == [8, 8]
    assert [recipe.precision for recipe in study.recipes.values()] == ["bfloat16"] * 2


def test_a_setting_replaces_the_value_at_its_path_whole(tmp_path: Path) -> None:
    path = base_file(tmp_path, "[variants.x]\n'optimizer.momentum' = 0.5\n")
    study = load_study(str(path), settings=['optimizer={name="Adam", eps=1e-7}'])
    for recipe in study.recipes.values():
        assert recipe.optimizer.name == "Adam" and recipe.optimizer.options == {"eps": 1e-7}


def test_settings_do_not_change_each_others_values() -> None:
    model = {"name": "m", "width": 1}
    study = resolve({**BASE, "variants": {"x": {}}}, [("model", model), ("model.width", 2)])
    assert model == {"name": "m", "width": 1}
    assert study.model.options == {"width": 2} == study.recipes["x"].model.options


def test_a_later_setting_wins_over_an_earlier_one(tmp_path: Path) -> None:
    study = load_study(str(base_file(tmp_path)), settings=["data.batch_size=8", "data.batch_size=4"])
    assert study.data.batch_size == 4


@pytest.mark.parametrize(
    "file",
    ['"data.batch_size" = 16', "data = {batch_size = 16}", 'data = {batch_size = 3}\n"data.batch_size" = 16'],
)
def test_a_setting_for_one_variant_wins_over_that_variant_alone(tmp_path: Path, file: str) -> None:
    path = base_file(tmp_path, f"[variants.x]\n{file}\n[variants.y]\n{file}\n")
    study = load_study(str(path), settings=["variants.x.data.batch_size=8"])
    assert [recipe.data.batch_size for recipe in study.recipes.values()] == [32, 8, 16]


def test_a_setting_can_add_a_variant(tmp_path: Path) -> None:
    study = load_study(str(base_file(tmp_path)), settings=["variants.wide.model.width=4"])
    assert study.recipes["wide"].model.options == {"width": 4}


def test_seeds_and_precision_are_settings_of_their_own(tmp_path: Path) -> None:
    path = base_file(tmp_path, '[variants.x]\nprecision = "float32"\n')
    study = load_study(str(path), settings=["seeds=[5]"], seeds=[7, 8], precision="bfloat16")
    assert study.seeds == [7, 8] and study.recipes["x"].precision == "bfloat16"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        (" 2 ", 2),
        ("bare", "bare"),
        ("two words", "two words"),
        ('"2"', "2"),
        ("2 # why", 2),
        ("", ""),
        ("1_0", 10),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("{b = 1}", {"b": 1}),
        ("0-4", "0-4"),
    ],
)
def test_a_setting_is_toml_and_a_bare_word_is_text(tmp_path: Path, text: str, value: Any) -> None:
    study = load_study(str(base_file(tmp_path)), settings=[f"model.option={text}"])
    assert study.model.options["option"] == value


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("epochs", "--set epochs: expected KEY=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("model.a=[1", "--set model.a=[1: '[1' is not a TOML value"),
        ('model.a="x', "--set model.a=\"x: '\"x' is not a TOML value"),
        ("model.a=1\nname='y'", "--set model.a=1 name='y': "),
        ("model.a=\n", "--set model.a=: "),
        ("a\nb", "--set a b: expected KEY=VALUE"),
        ("schedule.epoch=3", "schedule.epoch: unknown key, did you mean 'epochs'?"),
        ("schedul.epochs=3", "schedul: unknown key, did you mean 'schedule'?"),
        ("schedule.epochs=3.0", "schedule.epochs: expected a whole number such as 3, got 3.0"),
        ("schedule.lr_max=nan", "schedule.lr_max: expected a finite rate from 0 to 1e6, got nan"),
        ("model.a=inf", "model: expected finite numbers, got inf"),
        ("seeds.a=1", "--set: seeds.a: seeds is not a table"),
        ("seeds=0-4", "seeds: expected a list such as [0, 1, 2], got '0-4'"),
        ("name=../x", "name: '../x' is not a name"),
        ("variants=3", "variants: expected tables"),
        ("variants.base.data.batch_size=3", "variants.base: `base` is the file itself"),
        ("variants.x=3", "variants.x: expected a table, got 3"),
        ("_recipes.base=3", "_recipes: unknown key"),
        ("schedule..epochs=3", "schedule.: unknown key"),
        ("model.a=\udcff", r"--set: model.a: not valid UTF-8"),
        ("model.\udcff=1", r"--set: model.\udcff: not valid UTF-8"),
    ],
)
def test_a_mistake_in_a_setting_is_one_line(tmp_path: Path, setting: str, expected: str) -> None:
    path = base_file(tmp_path)
    assert expected in refusal(lambda: load_study(str(path), settings=[setting]))


def test_a_setting_that_cannot_be_written_down_is_refused_with_the_way_out() -> None:
    raw = {**BASE, "variants": {"adam": {"optimizer": {"name": "Adam"}}}}
    message = refusal(lambda: resolve(raw, [("optimizer.name", "SGD")]))
    assert message.startswith("study: variants.adam: optimizer: lacks what the file's own [optimizer] has")
    assert "--set 'optimizer={...}'" in message
    whole = resolve(raw, [("optimizer", {"name": "SGD"})])
    assert whole.recipes["adam"].optimizer == whole.optimizer


def test_the_schema_for_editors_is_current_and_takes_every_built_in_study() -> None:
    import jsonschema

    assert Path("docs/study.schema.json").read_text("utf-8") == json_schema()
    validator = jsonschema.Draft202012Validator(json.loads(json_schema()))
    for path in builtin_studies().values():
        validator.validate(tomllib.loads(path.read_text("utf-8")))
    assert not validator.is_valid({"name": "x", "seeds": [0], "target": {"test_accuracy": 0.5}, "modle": {}})
