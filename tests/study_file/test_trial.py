"""Trials: what --set changed of a study file, in a title, a note and a folder's name."""

from __future__ import annotations

import tomllib

import pytest

from harness.request import make_request
from harness.study_file.config import Study
from harness.study_file.load import load_study, resolve

EPOCHS, LIMIT = "schedule.epochs=12", "data.train_limit=2000"


def loaded(*settings: str, **options: object) -> Study:
    (study,) = make_request(["onecycle"], {"settings": settings, **options}).load()
    return study


def test_a_title_and_a_note_name_the_changes() -> None:
    study = load_study("onecycle", settings=[EPOCHS, LIMIT])
    assert study.trial is not None
    assert study.title == (
        "onecycle (trial: data.train_limit = 2000, schedule.epochs = 12, schedule.peak_epoch = 2.5)"
    )
    assert "schedule.epochs = 12 (study file: 24)" in study.trial.note
    assert "data.train_limit = 2000 (study file: not set)" in study.trial.note
    assert study.asked.endswith(study.question) and study.asked != study.question


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("schedule.epochs=24",),
        ("precision=float32",),
        ("seeds=[7]",),
        ("name=other",),
        ("compile=false",),
        ("attribution.images=3",),
    ],
)
def test_what_changes_no_recipe_is_no_trial(settings: tuple[str, ...]) -> None:
    study = loaded(*settings)
    assert study.trial is None and study.title == study.name and study.asked == study.question


def test_a_trial_has_its_own_folder_unless_out_or_a_name_is_given() -> None:
    names = [loaded(EPOCHS).name, loaded(LIMIT).name, loaded(EPOCHS, LIMIT).name]
    assert len(set(names)) == 3 and all(name.startswith("onecycle-trial-") for name in names)
    assert loaded(LIMIT, EPOCHS).name == names[2]  # in any order
    assert loaded(EPOCHS, out="results").name == "onecycle"
    assert loaded(EPOCHS, "name=mine").name == "mine"
    assert loaded("target.accuracy=0.95").name == "onecycle"  # the same runs, judged differently


def test_a_resolved_trial_is_the_same_trial_and_can_be_changed_back() -> None:
    trial = loaded(EPOCHS)
    again = resolve(tomllib.loads(trial.to_toml()))
    assert (again.name, again.title, again.trial) == (trial.name, trial.title, trial.trial)
    (back,) = make_request([again], {"settings": ["schedule.epochs=24"]}).load()
    assert back.trial is None and back.name == "onecycle"
    (chosen,) = make_request([again.renamed("mine")], {"settings": ["schedule.epochs=24"]}).load()
    assert chosen.trial is None and chosen.name == "mine"
    (further,) = make_request([again], {"settings": [LIMIT]}).load()
    assert further.name == loaded(EPOCHS, LIMIT).name


@pytest.mark.parametrize("epochs", [1, 2, 7, 10, 100])
def test_what_was_moved_with_the_epochs_comes_back_as_it_was(epochs: int) -> None:
    averaging = {"kind": "swa", "start_epoch": 20}
    late = {"schedule": {"peak_epoch": 7}, "averaging.start_epoch": 22}
    first = resolve(
        {
            **tomllib.loads(load_study("onecycle").to_toml()),
            "averaging": averaging,
            "variants": {"late": late},
        }
    )
    (trial,) = make_request([first], {"settings": [f"schedule.epochs={epochs}"]}).load()
    again = resolve(tomllib.loads(trial.to_toml()))
    (back,) = make_request([again], {"settings": ["schedule.epochs=24"]}).load()
    assert back.trial is None and back.recipes == first.recipes
    (judged,) = make_request([again], {"settings": ["schedule.epochs=24", "target.accuracy=0.5"]}).load()
    assert judged.name == "onecycle" and judged.recipes == first.recipes  # the same runs, judged differently


def test_a_variants_own_value_that_is_replaced_makes_a_trial_of_every_kind_of_start() -> None:
    study = load_study("annealed", settings=["loss.label_smoothing=0.2"])  # the base's own value
    assert study.trial is not None and study.name == "annealed"
    assert "variants.davidnet.loss.label_smoothing = 0.2 (study file: 0.0)" in study.trial.note
    assert any("also replaces its own value in davidnet" in note for note in study.notes)
    again = resolve(tomllib.loads(study.to_toml()))
    (back,) = make_request([again], {"settings": ["variants.davidnet.loss.label_smoothing=0.0"]}).load()
    assert back.trial is None and back.recipes == load_study("annealed").recipes


def test_the_same_recipes_have_the_same_folder_from_the_file_and_from_the_resolved_study() -> None:
    resolved = resolve(tomllib.loads(load_study("quickstart").to_toml()))
    for setting in (
        "model.width=7",
        "loss.label_smoothing=0.1",
        "optimizer={name='Adam'}",
        "augment.train=[]",
    ):
        names = [
            make_request([start], {"settings": [setting]}).load()[0].name
            for start in ("quickstart", resolved)
        ]
        assert names[0] == names[1] != "quickstart"


def test_a_trial_that_is_changed_has_another_folder_below_out_too() -> None:
    trial = resolve(tomllib.loads(loaded(EPOCHS).to_toml()))
    (other,) = make_request([trial], {"settings": ["schedule.epochs=6"], "out": "results"}).load()
    assert other.name == loaded("schedule.epochs=6").name


def test_many_long_changes_make_a_short_title() -> None:
    study = load_study("onecycle", settings=[f"model.option_{at}='{'x' * 90}'" for at in range(9)])
    assert study.title.count("option_") == 4 and "and 5 more" in study.title and len(study.title) < 400
