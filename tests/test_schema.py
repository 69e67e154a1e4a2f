"""Strict schemas, and errors of one line that name the place and the nearest name."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from harness.errors import StudyError
from harness.messages import one_line, suggest
from harness.schema import Strict, _tables, validate
from harness.study_file.config import Study
from harness.study_file.load import resolve
from tests.conftest import TINY


class Inner(Strict):
    """A table in a table."""

    height: int = 1
    width: Annotated[float, Field(ge=0)] = 1.0


class Box(Strict):
    """A table of a union, told apart by its kind."""

    kind: Literal["box"]
    edges: int


class Ball(Strict):
    """The other one."""

    kind: Literal["ball"]
    radius: float


class Empty(Strict):
    """A table without keys."""


class Outer(Strict):
    """A file."""

    name: str
    inner: Inner = Inner()
    empty: Empty = Empty()
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    words: list[str] = []
    either: bool | Literal["auto"] = "auto"
    shape: Annotated[Box | Ball, Field(discriminator="kind")] = Box(kind="box", edges=12)


def refusal(**raw: Any) -> str:
    with pytest.raises(StudyError) as caught:
        validate(Outer, {"name": "x", **raw}, "file.toml")
    return str(caught.value)


def test_a_valid_table_becomes_an_instance_that_does_not_change() -> None:
    inner = validate(Outer, {"name": "x", "inner": {"height": 3, "width": 2}}, "file").inner
    assert inner.height == 3 and inner.width == 2.0 and isinstance(inner.width, float)
    with pytest.raises(ValueError, match="frozen"):
        inner.height = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"nane": "y"}, "nane: unknown key, did you mean 'name'?"),
        ({"inner": {"heigth": 1}}, "inner.heigth: unknown key, did you mean 'height'?"),
        ({"inner": {"zzz": 1}}, "inner.zzz: unknown key (known: height, width)"),
        ({"many": [{}, {"widht": 1.0}]}, "many[1].widht: unknown key, did you mean 'width'?"),
        ({"named": {"a": {"widht": 1.0}}}, "named.a.widht: unknown key, did you mean 'width'?"),
        ({"shape": {"kind": "box", "edges": 1, "edge": 2}}, "shape.edge: unknown key, did you mean 'edges'?"),
        (
            {"shape": {"kind": "ball", "radius": 1, "edges": 2}},
            'shape.edges: unknown key; it belongs to kind = "box"',
        ),
        (
            {"shape": {"kind": "box", "edge": 3}},
            "shape.edge: unknown key, did you mean 'edges'?",
        ),  # also missing
        ({"shape": {"kind": "box"}}, "shape.edges: missing; add it"),
        ({"empty": {"width": 3}}, "empty.width: unknown key; write inner.width"),
        ({"empty": {"zzz": 3}}, "empty.zzz: unknown key; this table has none: remove it"),
        ({"inner": {"edge": 3}}, "inner.edge: unknown key (known: height, width)"),
        ({"heigth": 3}, "heigth: unknown key; write inner.height"),
        ({"inn": {"height": 3}}, "inn: unknown key, did you mean 'inner'?"),
        (
            {"size": {"height": 3, "lr": 1}},
            "size: unknown key; write inner.height for height, schedule.lr_max for lr",
        ),
        ({"inner": {"height": 1.0}}, "inner.height: expected a whole number such as 1, got 1.0"),
        ({"inner": {"height": True}}, "inner.height: expected a whole number such as 3, got True"),
        ({"inner": {"width": "1"}}, "inner.width: expected a number such as 1.0, got '1'"),
        ({"inner": {"width": True}}, "inner.width: expected a number such as 0.1, got True"),
        ({"inner": {"width": -1}}, "inner.width: expected at least 0, got -1"),
        ({"inner": {"width": float("nan")}}, "inner.width: expected a finite number, got nan"),
        ({"inner": {"width": float("inf")}}, "inner.width: expected a finite number, got inf"),
        ({"inner": 3}, "inner: expected a table such as { height = 3 }, got 3"),
        ({"many": {}}, "many: expected a list, got {}"),
        ({"many": [1]}, "many[0]: expected a table such as { height = 1 }, got 1"),
        ({"named": []}, "named: expected a table, got []"),
        ({"name": 7}, 'name: expected text in quotes such as "7", got 7'),
        ({"words": "one"}, "words: expected a list such as [\"one\"], got 'one'"),
        ({"either": "yes"}, "either: expected true or false or 'auto', got 'yes'"),
        ({"shape": "box"}, "shape: expected a table, got 'box'"),  # it takes more than one key
        ({"shape": {"kind": "cone"}}, "shape.kind: expected 'box', 'ball', got 'cone'"),
        (
            {"shape": {"kind": "boxx"}},
            "shape.kind: expected 'box', 'ball', got 'boxx', did you mean 'box'?",
        ),
        ({"shape": {}}, "shape.kind: missing; add it"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_what_was_expected(raw: dict[str, Any], expected: str) -> None:
    assert refusal(**raw) == f"file.toml: {expected}"


def test_a_prefix_stands_before_the_path_of_a_table_inside_a_file() -> None:
    with pytest.raises(StudyError, match=r"^study: model\.heigth: unknown key, did you mean 'height'\?$"):
        validate(Inner, {"heigth": 1}, "study", prefix="model")


def test_a_key_or_value_of_a_megabyte_makes_no_message_of_a_megabyte() -> None:
    assert len(refusal(**{"k" * 1_000_000: 1})) < 500
    assert len(refusal(inner={"height": "v" * 1_000_000})) < 500


@given(st.text(max_size=400))
def test_one_line_is_one_bounded_line_of_printable_characters(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100 and (line.isprintable() or not line)


def test_suggest_says_nothing_where_there_is_nothing_near_and_too_much_to_list() -> None:
    assert suggest("zzz", [f"name{n}" for n in range(25)]) == ""
    assert suggest("zzz", ["b", "a"]) == " (known: a, b)"
    assert suggest("epoch", ["epochs", "seeds"]) == ", did you mean 'epochs'?"


class Loose(BaseModel):
    """A table that may hold more."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str


def test_a_required_key_of_a_table_that_may_hold_more_is_found_under_another_spelling() -> None:
    with pytest.raises(StudyError, match="^file: name: missing; it is written 'nmae'$"):
        validate(Loose, {"nmae": "SGD", "momentum": 0.9}, "file")
    with pytest.raises(StudyError, match="^file: name: missing; add it$"):
        validate(Loose, {"momentum": 0.9}, "file")


KEYS = [
    f"{name}.{key}"
    for name, field in Study.model_fields.items()
    for table in _tables(field.annotation)
    for key in table.model_fields
]


@given(
    key=st.sampled_from([*Study.model_fields, *KEYS]),
    value=st.sampled_from([3, -3, 0.5, "x", "12", True, [], ["x"], [1.5], {}, {"x": 1}, float("nan"), "0-4"]),
)
def test_a_wrong_value_of_any_key_is_said_in_our_words_with_an_example_that_is_right(
    key: str, value: Any
) -> None:
    try:
        resolve(TINY, [(key, value)])
    except StudyError as error:
        said = str(error)
        assert said.isprintable() and not re.search("input|valid |should|pydantic|validation", said.lower())
        if found := re.fullmatch(r"study: (\S+): expected .* such as (.*), got .*", said):
            place, example = found.groups()
            right = tomllib.loads(f"value = {example}")["value"]
            again = [(key, [right])] if "[" in place else [(place, right)]
            with suppress(StudyError):
                resolve(TINY, again)
                return
            with pytest.raises(StudyError) as second:
                resolve(TINY, again)
            assert not str(second.value).startswith(f"study: {place}: expected "), (said, str(second.value))
