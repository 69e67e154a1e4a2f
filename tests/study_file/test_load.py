"""From a study file to a validated study: what ``--set`` wins over, and which files are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.builtin import builtin_studies
from harness.study_file.load import MAX_FILE_BYTES, load_study, resolve
from tests.conftest import TINY


def write(folder: Path, content: bytes | str) -> str:
    path = folder / "study.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def base_file(folder: Path, extra: str = "") -> str:
    return write(folder, resolve(TINY).to_toml() + extra)


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(StudyError) as caught:
        attempt()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000, "one line"
    return message


def test_a_file_of_more_than_a_mebibyte_is_no_study(tmp_path: Path) -> None:
    text = resolve(TINY).to_toml()
    assert load_study(write(tmp_path, text + "#" * (MAX_FILE_BYTES - len(text)))).name == "tiny"
    path = write(tmp_path, text + "#" * (MAX_FILE_BYTES + 1 - len(text)))
    assert "larger than 1048576 bytes" in refusal(lambda: load_study(path))


@pytest.mark.parametrize("depth", [40, 20_000])
def test_tables_and_lists_nested_too_deep_are_refused(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for key in ("model.a", "seeds", "variants.x.model.a", "augment.train"):
        path = write(tmp_path, f"{key} = {deep}")
        message = refusal(lambda path=path: load_study(path))  # type: ignore[misc]
        assert "nested too deep" in message or "recursion" in message
    message = refusal(lambda: load_study("quickstart", settings=[f"model.a={deep}"]))
    assert "nested too deep" in message or "not a TOML value" in message
    key = ".".join(["model", *["a"] * depth])
    assert "nested too deep" in refusal(lambda: load_study("quickstart", settings=[f"{key}=1"]))
    assert "nested too deep" in refusal(lambda: resolve({**TINY, "variants": {"x": {key: 1}}}))
    nested: Any = 1
    for _ in range(depth):
        nested = {"a": nested}
    assert "nested too deep" in refusal(lambda: resolve({**TINY, "model": nested}))
    while isinstance(nested, dict):  # freed a level at a time: all at once is as deep a recursion
        nested = nested["a"]


def test_augmentations_may_nest_as_deep_as_anyone_writes_them() -> None:
    transform: dict[str, Any] = {"transform": "HorizontalFlip"}
    for _ in range(8):
        transform = {"transform": "OneOf", "transforms": [transform]}
    assert resolve(TINY, [("augment.train", [transform])]).augment.train == [transform]


@pytest.mark.parametrize("path", ["schedule.epochs", "schedule.lr_max", "optimizer.eps", "seeds"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1 << 20_000], ids=["high", "low", "huge"])
def test_an_integer_that_toml_has_not_is_refused(path: str, value: int) -> None:
    changed = [value] if path == "seeds" else value
    words = f"{path}: a whole number this large does not fit 64 bits"
    assert refusal(lambda: resolve(TINY, [(path, changed)])) == f"--set: {words}"
    raw = copy.deepcopy(TINY)
    *tables, last = path.split(".")
    (raw[tables[0]] if tables else raw)[last] = changed
    assert refusal(lambda: resolve(raw)) == f"study: {words}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name = ", "not valid TOML: "),
        (b'name = "\xff"', "not valid TOML: "),
        ('name = "x"'.encode("utf-16"), "not valid TOML: "),
        (b'name = "\\ud800"', "not valid TOML: "),
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
    message = refusal(lambda: load_study(path))
    assert message.startswith(path) and expected in message


def test_an_editors_byte_order_mark_and_line_ends_are_no_mistake(tmp_path: Path) -> None:
    text = builtin_studies()["quickstart"].read_bytes()
    path = write(tmp_path, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert load_study(path).to_toml() == load_study("quickstart").to_toml()


# --set


def test_a_setting_wins_over_the_file_and_its_variants(tmp_path: Path) -> None:
    path = base_file(tmp_path, '[variants.x]\n"data.batch_size" = 16\n"optimizer.momentum" = 0.5\n')
    study = load_study(path, settings=["data.batch_size=8", 'optimizer={name="Adam", eps=1e-7}'])
    for recipe in study.recipes.values():  # the value at its path is replaced whole
        assert recipe.data.batch_size == 8
        assert recipe.optimizer.name == "Adam" and recipe.optimizer.options == {"eps": 1e-7}


def test_settings_do_not_change_each_others_values() -> None:
    model = {"name": "m", "width": 1}
    study = resolve({**TINY, "variants": {"x": {}}}, [("model", model), ("model.width", 2)])
    assert model == {"name": "m", "width": 1}
    assert study.model.options == {"width": 2} == study.recipes["x"].model.options


def test_a_later_setting_wins_over_an_earlier_one(tmp_path: Path) -> None:
    study = load_study(base_file(tmp_path), settings=["data.batch_size=8", "data.batch_size=4"])
    assert study.data.batch_size == 4


@pytest.mark.parametrize(
    "file",
    ['"data.batch_size" = 16', "data = {batch_size = 16}", 'data = {batch_size = 3}\n"data.batch_size" = 16'],
)
def test_a_setting_for_one_variant_wins_over_that_variant_alone(tmp_path: Path, file: str) -> None:
    path = base_file(tmp_path, f"[variants.x]\n{file}\n[variants.y]\n{file}\n")
    study = load_study(path, settings=["variants.x.data.batch_size=8"])
    assert [recipe.data.batch_size for recipe in study.recipes.values()] == [32, 8, 16]


def test_a_setting_can_add_a_variant(tmp_path: Path) -> None:
    study = load_study(base_file(tmp_path), settings=["variants.wide.model.width=4"])
    assert study.recipes["wide"].model.options == {"width": 4}


def test_seeds_and_precision_are_settings_of_their_own(tmp_path: Path) -> None:
    path = base_file(tmp_path, '[variants.x]\nprecision = "float32"\n')
    study = load_study(path, settings=["seeds=[5]"], seeds=[7, 8], precision="bfloat16")
    assert study.seeds == [7, 8] and study.recipes["x"].precision == "bfloat16"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" 2 ", 2), ("bare", "bare"), ("two words", "two words"), ('"2"', "2"), ("2 # why", 2), ("", ""),
        ("1_0", 10), ("true", True), ("[1, 2]", [1, 2]), ("{b = 1}", {"b": 1}), ("0-4", "0-4"),
    ],
)  # fmt: skip
def test_a_setting_is_toml_and_a_bare_word_is_text(tmp_path: Path, text: str, value: Any) -> None:
    study = load_study(base_file(tmp_path), settings=[f"model.option={text}"])
    assert study.model.options["option"] == value


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("epochs", "--set epochs: expected KEY=VALUE"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("model.a=[1", "--set model.a=[1: '[1' is not a TOML value"),
        ('model.a="x', "--set model.a=\"x: '\"x' is not a TOML value"),
        ("model.a=1\nname='y'", "--set model.a=1 name='y': "),
        ("a\nb", "--set a b: expected KEY=VALUE"),
        ("schedule.epoch=3", "schedule.epoch: unknown key, did you mean 'epochs'?"),
        ("schedul.epochs=3", "schedul: unknown key, did you mean 'schedule'?"),
        ("schedule.epochs=3.0", "schedule.epochs: expected a whole number such as 3, got 3.0"),
        ("schedule.lr_max=nan", "schedule.lr_max: expected a finite rate from 0 to 1e6, got nan"),
        ("model.a=inf", "model: expected finite numbers, got inf"),
        ("seeds.a=1", "--set: seeds.a: seeds is not a table"),
        ("seeds=0-4", "seeds: expected a list such as [0, 1, 2], got '0-4'"),
        ("seeds=1979-05-27", "seeds: expected a list such as [0, 1, 2], got datetime.date(1979, 5, 27)"),
        ("attribution.layers=1979-05-27", "attribution.layers: expected a list, got datetime.date"),
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
    assert expected in refusal(lambda: load_study(path, settings=[setting]))
