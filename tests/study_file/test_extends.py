"""``extends``: what a study inherits, what its changes do, and which bases are refused."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness.errors import StudyError
from harness.plan import make_plan
from harness.request import make_request
from harness.runner import LoadedData
from harness.store.folders import StudyFolder
from harness.study_file.config import Extended, Study
from harness.study_file.load import load_study, resolve
from tests.conftest import TINY

ADAM = {"optimizer": {"name": "Adam", "eps": 1e-7}}
BASE: dict[str, Any] = {
    **TINY,
    "question": "Of the base?",
    "references": {"published": {"accuracy": 0.5}},
    "variants": {"adam": ADAM, "wide": {"model.width": 4}},
}


def write(folder: Path, name: str, tables: dict[str, Any]) -> Path:
    path = folder / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(tomli_w.dumps({"name": path.stem, **tables}))
    return path


def extend(folder: Path, base: dict[str, Any] = BASE, **changes: Any) -> Study:
    """A study whose base lies beside it."""
    write(folder, "base", {**base, "name": "base"})
    return load_study(write(folder, "child", {"extends": "base.toml", **changes}))


def refusal(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(path)
    message = str(caught.value)
    assert message.isprintable()
    return message


def words(study: Study) -> str:
    assert isinstance(study.extends, Extended)
    return study.extends.in_words()


def test_all_is_inherited_but_what_is_said_of_one_study_alone(tmp_path: Path) -> None:
    study, base = extend(tmp_path), resolve({**BASE, "name": "base"})
    assert study.recipes == base.recipes and study.seeds == base.seeds and study.target == base.target
    assert (study.name, study.question, study.references) == ("child", "", {})
    assert words(study) == "extends base.toml; changes: none"
    write(tmp_path, "child", {"extends": "base.toml"})
    path = tmp_path / "child.toml"
    path.write_text('extends = "base.toml"\n')
    assert refusal(path) == f"{path}: name: missing; add it"


def test_changes_merge_as_those_of_a_variant_do(tmp_path: Path) -> None:
    study = extend(tmp_path, schedule={"epochs": 5}, optimizer={"name": "AdamW"}, data={"batch_size": 8})
    assert study.schedule.epochs == 5 and study.schedule.model_dump()["lr_max"] == 0.05
    assert study.optimizer.options == {} and study.data.batch_size == 8 and study.data.train_limit == 160
    assert "schedule.epochs 3 -> 5, " in f"{words(study)}, "
    assert 'optimizer.name "SGD" -> "AdamW"' in words(study)
    assert "optimizer.momentum 0.9 -> not set" in words(study)


def test_a_target_is_replaced_and_false_removes(tmp_path: Path) -> None:
    base = {**BASE, "looks": [2], "margin": 0.01, "range_test": {"iterations": 7}}
    study = extend(
        tmp_path, base, target={"macro_f1": 0.3}, margin=False, range_test=False, augment={"train": False},
        data={"train_limit": False}, looks=False, variants={"adam": False},
    )  # fmt: skip
    assert study.target.of == "macro_f1" and study.looks is None and study.margin is None
    assert study.range_test is None and study.augment.train == [] and study.data.train_limit is None
    assert list(study.recipes) == ["base", "wide"] and "variants adam removed" in words(study)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quesiton": False}, "did you mean 'question'"),
        (
            {"variants": {"adma": False}},
            "variants.adma = false: its base has no such variant, did you mean 'adam'",
        ),
    ],
)
def test_a_misspelt_key_is_not_removed_in_silence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        extend(tmp_path, **changes)


def test_looks_are_inherited_only_with_the_seeds(tmp_path: Path) -> None:
    base = {**BASE, "looks": [2]}
    assert extend(tmp_path, base).looks == [2] and extend(tmp_path, base, seeds=[0, 1, 2]).looks is None


def test_a_variant_is_changed_or_added(tmp_path: Path) -> None:
    study = extend(
        tmp_path, variants={"adam": {"optimizer": {"weight_decay": 0.1}}, "narrow": {"model.width": 1}}
    )
    assert study.recipes["adam"].optimizer.options == {"eps": 1e-7, "weight_decay": 0.1}
    assert study.recipes["narrow"].model.options == {"width": 1}
    assert "variants adam changed, variants narrow added" in words(study)
    other = extend(tmp_path, variants={"adam": {"optimizer": {"name": "RMSprop"}}})
    assert other.recipes["adam"].optimizer.options == {}, "another name begins anew"


def test_a_chain_of_studies_is_followed_and_paths_are_those_of_each_file(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE)
    write(tmp_path, "below/middle", {"extends": "../base.toml", "schedule": {"epochs": 4}})
    study = load_study(write(tmp_path, "last", {"extends": "below/middle.toml", "seeds": [7]}))
    assert study.schedule.epochs == 4 and study.seeds == [7]
    assert words(study) == "extends below/middle.toml; changes: none"


def test_a_built_in_study_is_extended_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, "half", {"extends": "onecycle", "schedule": {"epochs": 12}})
    assert words(load_study(path)) == "extends onecycle; changes: schedule.epochs 24 -> 12"
    said = words(load_study(path, settings=["schedule.epochs=6"]))
    assert said == "extends onecycle; changes: schedule.epochs 24 -> 6, schedule.peak_epoch 5.0 -> 2.5"


def test_the_resolved_study_is_complete_without_its_base(tmp_path: Path) -> None:
    study = extend(tmp_path, schedule={"epochs": 5})
    (tmp_path / "base.toml").unlink()
    again = resolve(tomllib.loads(study.to_toml()))
    assert again.recipes == study.recipes and again.extends == study.extends


def test_its_digest_is_that_of_the_same_study_written_in_full(tmp_path: Path) -> None:
    study = extend(tmp_path, schedule={"epochs": 5}, variants={"adam": False})
    schedule, wide = {**TINY["schedule"], "epochs": 5}, BASE["variants"]["wide"]
    full = resolve({**TINY, "name": "child", "schedule": schedule, "variants": {"wide": wide}})
    folder, load = StudyFolder(tmp_path, "child"), LoadedData(None)
    plans = [make_plan(each, folder, load, device="cpu") for each in (study, full)]
    digests = [[variant.digest for variant in plan.variants] for plan in plans]
    assert digests[0] == digests[1] and len(set(digests[0])) == 2


def test_a_circle_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "first", {"extends": "second.toml"})
    second = write(tmp_path, "second", {"extends": "./first.toml"})
    assert (
        refusal(first) == f"{second}: extends: first.toml -> second.toml -> first.toml: a circle; remove one"
    )
    itself = write(tmp_path, "itself", {"extends": "itself.toml"})
    assert "itself.toml -> itself.toml: a circle" in refusal(itself)


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("onecyle", "no study named 'onecyle', did you mean 'onecycle'?"),
        ("base", "no built-in study is named 'base'; write 'base.toml'"),
        ("bsae.toml", "did you mean "),
        ("none/such.toml", "study file not found: "),
        (".", "it is a folder: write the file, such as "),
        ("", "expected a built-in study's name, or a path"),
        (3, "expected a built-in study's name, or a path"),
    ],
)
def test_a_base_that_is_not_there_is_named(tmp_path: Path, extends: object, expected: str) -> None:
    write(tmp_path, "base", BASE)
    path = write(tmp_path, "child", {"extends": extends})
    message = refusal(path)
    assert message.startswith(f"{path}: extends: ") and expected in message


def test_a_mistake_is_named_with_the_file_that_has_it(tmp_path: Path) -> None:
    base = write(tmp_path, "base", {**BASE, "schedule": {**TINY["schedule"], "epoch": 3}})
    path = write(tmp_path, "child", {"extends": "base.toml", "schedule": {"epoch": 4}})
    assert refusal(path).startswith(f"{base}: schedule.epoch: unknown key")
    write(tmp_path, "base", BASE)
    assert refusal(path).startswith(f"{path}: schedule.epoch: unknown key")


def test_only_a_file_extends(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="extends: only a study file can extend another"):
        load_study("quickstart", settings=["extends=onecycle"])


def test_code_beside_the_base_may_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_ALLOW", "")
    monkeypatch.setenv("HARNESS_PATH", "")
    write(tmp_path, "below/base", BASE)
    path = write(tmp_path, "child", {"extends": "below/base.toml"})
    make_request([path], {"allow": ["my_net"]}).load()
    assert str(tmp_path / "below") in os.environ["HARNESS_PATH"].split(os.pathsep)
