"""The schema of a study: what it accepts, what it refuses, and in which words."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.study_file.load import resolve

BASE: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0],
    "target": {"accuracy": 0.9},
    "optimizer": {"name": "SGD"},
    "schedule": {"epochs": 4, "peak_epoch": 1},
    **{table: {} for table in ("data", "range_test", "loss", "attribution", "augment", "model")},
    "references": {
        "published": {"accuracy": 0.9},
        "shares": {"at_least": 0.94, "count": 35, "runs": 50},
    },
}


def with_value(path: str, value: Any) -> Study:
    """The base with one value replaced."""
    raw = copy.deepcopy(BASE)
    *parents, last = path.split(".")
    table = raw
    for parent in parents:
        table = table[parent]
    table[last] = value
    return resolve(raw)


def refusal(path: str, value: Any) -> str:
    with pytest.raises(StudyError) as caught:
        with_value(path, value)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    return message


def read(study: Study, path: str) -> Any:
    value: Any = study
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


FLOATS = [
    "target.accuracy", "references.published.accuracy", "schedule.peak_epoch", "schedule.lr_max",
    "schedule.lr_min", "schedule.final", "range_test.end_lr", "range_test.lr_min_divisor", "loss.l1",
]  # fmt: skip
INTEGERS = [
    "data.image_size", "data.bits", "data.batch_size", "data.holdout", "data.train_limit", "data.test_limit",
    "schedule.epochs", "range_test.iterations", "range_test.seed", "attribution.images",
    "references.published.runs",
]  # fmt: skip


@pytest.mark.parametrize("path", FLOATS)
def test_an_integer_is_good_enough_where_a_float_belongs(path: str) -> None:
    value = 2 if path in ("schedule.peak_epoch", "range_test.end_lr") else 1
    result = read(with_value(path, value), path)
    assert result == value and isinstance(result, float)


@pytest.mark.parametrize("path", INTEGERS)
@pytest.mark.parametrize("value", [20.0, True, "20", [20], float("nan")])
def test_only_an_integer_is_good_enough_where_an_integer_belongs(path: str, value: Any) -> None:
    assert refusal(path, value).startswith(f"study: {path}: expected a whole number")


@pytest.mark.parametrize("path", FLOATS)
@pytest.mark.parametrize("value", [True, "0.5", float("nan"), float("inf"), float("-inf"), [0.5]])
def test_only_a_finite_number_is_good_enough_where_a_float_belongs(path: str, value: Any) -> None:
    message = refusal(path, value)
    assert message.startswith(f"study: {path}: ") and repr(value) in message


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_free_form_values_are_finite_however_deep_they_lie(number: float) -> None:
    transform = {"transform": "OneOf", "transforms": [{"transform": "X", "scale": [1.0, number]}]}
    deep = {"a": [1, {"b": number}]}
    for path, value in (("augment.train", [transform]), ("optimizer.eps", number), ("model.deep", deep)):
        assert f"expected finite numbers, got {number!r}" in refusal(path, value)


@pytest.mark.parametrize(
    ("path", "below", "lowest", "highest", "above"),
    [
        ("target.accuracy", -0.01, 0, 1, 93),
        ("references.published.accuracy", -0.01, 0, 1, 93.18),
        ("references.shares.at_least", -0.01, 0, 1, 94),
        ("references.shares.count", -1, 0, 50, 51),
        ("data.batch_size", 1, 2, 65_536, 65_537),
        ("data.image_size", 7, 8, 1024, 1025),
        ("data.bits", 7, 8, 16, 17),
        ("data.train_limit", 0, 1, 100_000_000, 100_000_001),
        ("schedule.epochs", 1, 2, 100_000, 10**9),
        ("schedule.peak_epoch", 0, 1e-9, 3.999, 4),
        ("schedule.lr_max", -1e-9, 0, 1e6, 1.1e6),
        ("schedule.lr_min", -1e-9, 0, 1e6, 1.1e6),
        ("schedule.final", -1e-9, 0, 1e6, 1.1e6),
        ("range_test.iterations", 4, 5, 100_000, 10**9),
        ("range_test.start_lr", 0, 1e-12, 0.999, 1.0),
        ("range_test.end_lr", 1e-4, 1.1e-4, 1e6, 1.1e6),
        ("range_test.lr_min_divisor", 0.99, 1, 1e6, 1.1e6),
        ("loss.label_smoothing", -0.01, 0, 0.99, 1),
        ("loss.l1", -1e-9, 0, 1e6, 1.1e6),
        ("attribution.images", 0, 1, 100, 101),
        ("optimizer.momentum", -0.1, 0, 0.999, 1),
        ("optimizer.betas", [-0.1, 0.9], [0, 0.9], [0.9, 0.999], [0.9, 1]),
        ("optimizer.weight_decay", -1e-9, 0, 1e3, None),
        ("seeds", [-1], [0], [2**53 - 1], [2**53]),
    ],
)
def test_every_range_ends_where_it_says(path: str, below: Any, lowest: Any, highest: Any, above: Any) -> None:
    for inside in (lowest, highest):
        assert with_value(path, inside)
    for beyond in (below, above):
        if beyond is not None:
            assert refusal(path, beyond).startswith("study: " + path.split(".")[0])


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([{"transform": "Mixup"}], "batch[0].transform: expected 'MixUp' or 'CutMix', got 'Mixup'"),
        ([{"transform": "MixUp", "alpha": 0}], "batch[0].alpha: expected more than 0"),
        ([{"transform": "MixUp", "alpha": "1"}], "batch[0].alpha: expected a number"),
        ([{"transform": "MixUp", "p": 1.5}], "batch[0].p: expected a fraction"),
        ([{"transform": "MixUp", "num_classes": 3}], "batch[0].num_classes: unknown key"),
        ([{"alpha": 1.0}], "batch[0].transform: missing"),
        ([{"transform": "MixUp", "p": 0.7}, {"transform": "CutMix", "p": 0.7}], "add up to 1.4"),
        ([{"transform": "MixUp", "p": 1}, {"transform": "CutMix"}], "leave nothing to the transform without"),
        ([{"transform": "MixUp"}] * 11, "at most 10 values"),
        ({"transform": "MixUp"}, "expected a list"),
    ],
)
def test_what_mixes_batches_is_checked_before_any_library(batch: Any, words: str) -> None:
    message = refusal("augment.batch", batch)
    assert message.startswith("study: augment.batch") and words in message


@pytest.mark.parametrize("key", ["momentum", "weight_decay", "betas"])
@pytest.mark.parametrize("value", [True, "0.9", {"a": 0.9}, [[0.9]]])
def test_an_optimizers_known_numbers_must_be_numbers(key: str, value: Any) -> None:
    assert f"optimizer: {key} must be a number" in refusal(f"optimizer.{key}", value)


def test_the_rate_belongs_to_the_schedule() -> None:
    assert "lr is set by [schedule]" in refusal("optimizer.lr", 0.1)


@pytest.mark.parametrize("name", ["a", "1", "a.b-c_d", "A" * 64, "0..0", "v1.0"])
def test_a_name_is_letters_digits_and_some_marks(name: str) -> None:
    assert with_value("name", name).name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".locks", "a/b", "../a", "a\\b", "a\n", "\na", "a b", "a.", "-rf", "_a", "~", "é", 
     "A" * 65, "a\x00", "C:", "/etc"],
)  # fmt: skip
def test_no_name_leaves_its_folder(name: str) -> None:
    assert refusal("name", name).startswith("study: name: ")
    for table in ("variants", "references"):
        message = refusal(table, {name: {}})
        assert message.startswith(f"study: {table}.") and "is not a name; use letters, " in message


@pytest.mark.parametrize("name", [3, True, ["a"]])
def test_a_name_is_text(name: Any) -> None:
    assert refusal("name", name).startswith("study: name: expected text")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({}, "references.paper: expected a metric, such as accuracy, or at_least and count"),
        ({"runs": 3, "source": "x"}, "expected a metric, such as accuracy, or at_least and count"),
        ({"at_least": 0.9, "runs": 3}, "at_least goes with count"),
        ({"test_accuracy": 0.9, "count": 2, "runs": 3}, "count goes with at_least"),
        ({"at_least": 0.9, "count": 4, "runs": 3}, "count is 4 of only 3 runs"),
        ({"at_least": 0.9, "count": 2}, "give runs too"),
        ({"test_accuracy": 0.9, "statistic": "median"}, "give runs too"),
        ({"test_accuracy": 91.2}, "paper.test_accuracy: expected a fraction such as 0.912, got 91.2"),
        ({"at_least": 94, "count": 3, "runs": 5}, "at_least: expected a fraction such as 0.94, got 94"),
        (
            {"test_accuracy": 0.912, "statistic": "median", "at_least": 0.91, "count": 3, "runs": 20},
            "a median at least 0.91 cannot be with 3 of 20 runs at it",
        ),
        (
            {"test_accuracy": 0.9, "statistic": "median", "at_least": 0.91, "count": 12, "runs": 20},
            "a median below 0.91 cannot be with 12 of 20 runs at it",
        ),
        (0.912, "references.paper: expected a table such as { accuracy = 0.912 }, got 0.912"),
        ({"at_least": 0.9, "count": 1, "statistic": "median"}, "give one, such as accuracy, too"),
        ({"test_accuracy": 0.9, "statistic": "mode"}, "references.paper.statistic"),
        ({"test_accuracy": 0.9, "statistics": "median"}, "did you mean 'statistic'"),
        ({"at_least": 0.9, "count": 1.5, "runs": 3}, "references.paper.count"),
    ],
)
def test_a_reference_says_whole_what_was_published(reference: Any, words: str) -> None:
    assert words in refusal("references", {"paper": reference})


@pytest.mark.parametrize(
    ("path", "values", "words"),
    [
        ("seeds", [0, 1, 0], "seeds: 0 is named twice"),
        ("seeds", [*range(9_999), 9_998], "seeds: 9998 is named twice"),
        ("attribution.layers", ["prep", "prep"], "attribution.layers: 'prep' is named twice"),
    ],
)
def test_what_is_named_twice_is_refused(path: str, values: list[Any], words: str) -> None:
    assert refusal(path, values) == f"study: {words}"


@pytest.mark.parametrize("seeds", [[], list(range(10_001)), 3, "0-4", [0.0], [True], ["0"]])
def test_seeds_are_one_to_ten_thousand_integers(seeds: Any) -> None:
    assert refusal("seeds", seeds).startswith("study: seeds")


@pytest.mark.parametrize(
    "key", ["_recipes", "model_config", "model_fields", "__class__", "recipes", "Name", ""]
)
def test_a_top_level_key_that_is_not_the_schemas_is_refused_whatever_it_is_called(key: str) -> None:
    assert "unknown key" in refusal(key, {"base": 1})


@pytest.mark.parametrize("key", ["model_config", "options", "model_extra", "copy", "_private", "__class__"])
def test_an_option_may_have_the_name_of_something_inside_the_schema(key: str) -> None:
    config = with_value(f"optimizer.{key}", 3).optimizer
    assert config.name == "SGD" and config.options == {key: 3}


def test_text_has_bounds() -> None:
    assert "at most 2000 characters" in refusal("question", "?" * 2001)
    assert "at most 200 characters" in refusal("data.source", "s" * 201)


@pytest.mark.parametrize("path", ["precision", "data.source", "model.name", "baseline", "question"])
@pytest.mark.parametrize("value", [3, True, None, ["float32"], {}])
def test_text_is_text(path: str, value: Any) -> None:
    assert refusal(path, value).startswith(f"study: {path}")


def test_a_date_is_refused_wherever_options_are_free() -> None:
    date = datetime.date(2020, 1, 1)
    for path, value in (("optimizer.when", date), ("augment.train", [{"transform": "X", "when": date}])):
        assert "expected text, numbers, booleans, lists or tables, got date" in refusal(path, value)


def test_an_instance_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        with_value("name", "x").target.accuracy = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "more than 0"), (0.5, "less than 0.5"), (2, "less than 0.5"), ("0.2", "number"), (True, "")],
)
def test_a_margin_is_a_fraction_between_0_and_a_half(value: Any, words: str) -> None:
    message = refusal("margin", value)
    assert "margin" in message and words in message
    assert with_value("margin", 0.002).margin == 0.002
    assert with_value("question", "?").margin is None
