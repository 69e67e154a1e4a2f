"""Studies by their name or path: the built-in ones, and what is said of one that does not exist."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from harness.errors import StudyError
from harness.study_file.builtin import builtin_studies, find_study, studies_folder
from harness.study_file.load import load_study


def test_the_built_in_studies_are_there() -> None:
    assert {"quickstart", "onecycle"} <= set(builtin_studies())


@pytest.mark.parametrize("name", sorted(builtin_studies()))
def test_every_built_in_study_loads_and_is_named_as_its_file(name: str) -> None:
    study = load_study(name)
    assert study.name == name and study.question.endswith("?")
    assert find_study(name) == studies_folder() / f"{name}.toml"


def test_the_schema_for_editors_takes_every_built_in_study() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(Path("docs/study.schema.json").read_text("utf-8")))
    for path in builtin_studies().values():
        validator.validate(tomllib.loads(path.read_text("utf-8")))
    assert not validator.is_valid({"name": "x", "seeds": [0], "target": {"test_accuracy": 0.5}, "modle": {}})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quikstart", "no study named 'quikstart', did you mean 'quickstart'?; --list shows"),
        ("nowhere/study.toml", "study file not found: nowhere/study.toml"),
        ("study.toml", "study file not found: study.toml"),
        ("a\nb.toml", "study file not found: a b.toml"),
        ("x" * 5000, "study file not found: xxx"),
        ("a\0b", "no study named"),
        ("", "no study named"),
        ("..", "no study named"),
        ("./", "study file not found: ./"),
    ],
)
def test_a_study_that_does_not_exist_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as caught:
        find_study(name)
    assert str(caught.value).startswith(expected) and str(caught.value).isprintable()
