"""[target] and [references]: one metric each, under its own key, under accuracy's old name, or by path."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import StudyError
from harness.metrics import METRICS
from harness.study_file.config import Study
from harness.study_file.load import load_study, resolve
from harness.study_file.targets import METRIC_KEYS, Reference, Target

RAW: dict[str, Any] = {
    "name": "x",
    "seeds": [0],
    "optimizer": {"name": "SGD"},
    "schedule": {"epochs": 2, "peak_epoch": 1, "lr_max": 0.1, "lr_min": 0.01},
}


def study(target: dict[str, Any], **more: Any) -> Study:
    return resolve({**RAW, "target": target, **more})


def refusal(target: dict[str, Any], **more: Any) -> str:
    with pytest.raises(StudyError) as refused:
        study(target, **more)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_metric_has_a_key() -> None:
    assert list(METRIC_KEYS) == list(METRICS)
    for name in METRIC_KEYS:
        target = study({name: 0.4}).target
        assert (target.of, target.level) == (name, 0.4)


def test_the_old_name_of_accuracy_is_read_and_no_longer_written() -> None:
    old = study({"test_accuracy": 0.9}, references={"paper": {"test_accuracy": 0.8}})
    new = study({"accuracy": 0.9}, references={"paper": {"accuracy": 0.8}})
    assert old.target == new.target == Target(accuracy=0.9)
    assert old.references == new.references == {"paper": Reference(accuracy=0.8)}
    assert old.target.test_accuracy == new.target.test_accuracy == 0.9  # as scripts may read it
    assert old.to_toml() == new.to_toml() and "test_accuracy" not in old.to_toml()


def test_a_study_that_was_written_is_read_again() -> None:
    first = study({"metric": "mine:metric", "value": -3}, metrics=["mine:other"])
    assert (first.target.of, first.target.level) == ("mine:metric", -3.0)
    assert first.own_metrics == ["mine:other", "mine:metric"]
    import tomllib

    assert resolve(tomllib.loads(first.to_toml())).target == first.target
    assert "metrics" not in study({"nll": 0.3}).to_toml()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "target: expected one metric, such as `accuracy = 0.9`, of accuracy, balanced_accuracy, "),
        ({"accuracy": 0.9, "nll": 0.3}, "target: accuracy and nll are given: name one metric"),
        ({"accuracy": 0.9, "test_accuracy": 0.8}, "target: test_accuracy is the old name of accuracy"),
        ({"macro_f1": 90}, "target.macro_f1: expected a fraction such as 0.9, got 90"),
        ({"nll": 0}, "target.nll: "),
        ({"nll": -0.1}, "target.nll: "),
        ({"macro_f": 0.9}, "target.macro_f: unknown key, did you mean 'macro_f1'"),
        ({"metric": "mine:metric"}, "target: metric goes with value"),
        ({"value": 3.0}, "target: metric goes with value"),
        ({"metric": "mine", "value": 3.0}, "target.metric: expected package.module:name"),
        (
            {"metric": "auroc", "value": 0.9},
            "target.metric: auroc is no metric of your own: every run has it",
        ),
        ({"metric": "mine:m", "value": 3.0, "nll": 0.1}, "nll and mine:m are given: name one metric"),
    ],
)
def test_a_target_is_exactly_one_metric(target: dict[str, Any], words: str) -> None:
    assert words in refusal(target)


def test_a_share_of_runs_goes_with_metrics_of_which_higher_is_better() -> None:
    at_least: dict[str, Any] = {"at_least": 0.5, "count": 1, "runs": 2}
    assert (
        study({"nll": 0.3}, references={"p": {"macro_f1": 0.6, **at_least}}).references["p"].of == "macro_f1"
    )
    assert Reference(**at_least).of == "accuracy"
    assert "of nll lower is better" in refusal({"nll": 0.3}, references={"p": {"nll": 0.6, **at_least}})


@pytest.mark.parametrize("metrics", [["mine"], ["mine:"], [":m"], ["accuracy"], ["m:n", "m:n"], "m:n", [3]])
def test_further_metrics_are_import_paths_named_once(metrics: Any) -> None:
    assert "metrics" in refusal({"nll": 0.3}, metrics=metrics)


@pytest.mark.parametrize(
    ("settings", "of"),
    [
        (["target.macro_f1=0.9"], "macro_f1"),
        (["target.test_accuracy=0.9"], "accuracy"),
        (["target.metric=m:n", "target.value=3"], "m:n"),
        (["target={ nll = 0.2 }"], "nll"),
        (["target.nll=0.2", "target.auroc=0.9"], "auroc"),
    ],
)
def test_set_names_another_metric_in_place_of_the_files(settings: list[str], of: str) -> None:
    for name in ("quickstart", study({"metric": "m:n", "value": 1.0})):
        assert load_study(name, settings=settings).target.of == of


def test_no_target_changes_a_recipe() -> None:
    one, other = study({"accuracy": 0.9}), study({"nll": 0.9}, metrics=["m:n"])
    assert one.recipes == other.recipes
