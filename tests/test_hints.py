"""What is written in other programs, and what the command says to write here."""

from __future__ import annotations

import shlex
import sys

import click
import pytest

from harness.errors import StudyError
from harness.hints import _OPTIONS, option_hint
from harness.messages import nearest, suggest_key
from harness.models.custom_resnet import CustomResNetOptions
from harness.schema import dotted_keys
from harness.study import command, main
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.study_file.parts import ModelConfig
from harness.synonyms import KEYS

TYPED = [
    ("--epochs 3", "--set schedule.epochs=3"),
    ("--epochs=3", "--set schedule.epochs=3"),
    ("-e 3", "--set schedule.epochs=3"),
    ("-epochs 3", "--set schedule.epochs=3"),
    ("--lr 0.1", "--set schedule.lr_max=0.1"),
    ("--batch-size 64", "--set data.batch_size=64"),
    ("--weight-decay -1", "--set optimizer.weight_decay=-1"),
    ("--wd 1e-4", "--set optimizer.weight_decay=1e-4"),
    ("--width 8", "--set model.width=8"),
    ("--gamma 0.5", "--set schedule.gamma=0.5"),
    ("--name trial", "--set name=trial"),
    ("--name 'two words'", "--set 'name=two words'"),
    ("--optimizer Adam", "--set optimizer.name=Adam"),
    ("--kind step", "--set schedule.kind=step or --set averaging.kind=step"),
    ("--seed 3", "--seeds 3"),
    ("--num-seeds 3", "--n-seeds 3"),
    ("--gpu 1", "--device cuda:1"),
    ("--gpu", "--device cuda:0"),
    ("--gpus 2", "--devices 2"),
    ("-j4", "--workers 4"),
    ("--output-dir x", "--out x"),
    ("--fp16", "--precision float16"),
    ("--dryrun", "--dry-run"),
    ("--overwrite", "--force"),
    ("--worker 4", "--workers 4"),
    ("--varaints a", "--variants a"),
    ("--target 0.8", "--set target.accuracy=0.8"),
    ("--extends x", "extends in the study file: docs/study-file.md"),
    ("--sweep lr", "grid in the study file: docs/study-file.md"),
]


def said_of(arguments: list[str]) -> str:
    with pytest.raises(StudyError) as caught:
        command.main(arguments, standalone_mode=False)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(("typed", "right"), TYPED, ids=[typed for typed, _ in TYPED])
def test_an_option_of_another_program_is_answered_with_ours(typed: str, right: str) -> None:
    message = said_of(["quickstart", *shlex.split(typed)])
    assert message.startswith("there is no option -") and message.endswith(f"; write {right}")


def test_every_answer_names_an_option_or_key_that_exists() -> None:
    options = {name[2:]: isinstance(each, click.Option) and not each.is_flag
               for each in command.params for name in each.opts if name.startswith("--")}  # fmt: skip
    assert {option for option, _ in _OPTIONS.values()} <= options.keys()
    keys = set(dotted_keys(Study, None))
    assert {key for found in KEYS.values() for key in found} <= keys
    for name in {*_OPTIONS, *KEYS}:
        hint = option_hint(f"--{name}", ["--x"], options)
        assert hint.startswith(("; write --", ": ")) or hint.endswith(
            " in the study file: docs/study-file.md"
        ), (name, hint)


def test_an_option_that_means_nothing_is_answered_with_the_list() -> None:
    assert said_of(["--frobnicate"]) == "there is no option --frobnicate; --help lists the options"
    assert said_of(["--resume"]).endswith(": run the same command again to resume")
    assert said_of(["--seeds"]) == "Option '--seeds' requires an argument. Write --seeds LIST"


def test_options_of_the_network_are_known_without_loading_it() -> None:
    assert set(ModelConfig.USUAL_OPTIONS) == set(CustomResNetOptions.model_fields)


@pytest.mark.parametrize(
    ("key", "whole", "value"),
    [
        ("epochs", "schedule.epochs", 5),
        ("lr_max", "schedule.lr_max", 0.5),
        ("batch_size", "data.batch_size", 8),
        ("width", "model.width", 8),
        ("weight_decay", "optimizer.weight_decay", 0.5),
        ("label_smoothing", "loss.label_smoothing", 0.5),
        ("train_limit", "data.train_limit", 50),
        ("accuracy", "target.accuracy", 0.5),
    ],
)
def test_the_last_part_of_a_key_is_enough_where_no_other_key_ends_in_it(
    key: str, whole: str, value: float
) -> None:
    short, long = (load_study("quickstart", settings={name: value}) for name in (key, whole))
    assert short.to_toml() == long.to_toml() and short.notes[0] == f"--set {key} sets {whole}"
    assert f"--set {key} sets {whole}" not in long.notes


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("kind=step", "--set kind: several keys end in it; write schedule.kind or averaging.kind"),
        ("lr=0.1", "quickstart: lr: unknown key; write schedule.lr_max"),
        ("seed=3", "quickstart: seed: unknown key, did you mean 'seeds'?"),
        ("schedule.lr=0.1", "quickstart: schedule.lr: unknown key, did you mean 'lr_max'?"),
        ("schedule.gamma=1", 'quickstart: schedule.gamma: unknown key; it belongs to kind = "step"'),
        ("data.epochs=3", "quickstart: data.epochs: unknown key; write schedule.epochs"),
        ("criterion=1", "quickstart: criterion: unknown key; write loss.name or range_test.criterion"),
        ("wdith=3", "quickstart: wdith: unknown key; write model.width"),
        ("training={epochs=3, lr=1}",
         "quickstart: training: unknown key; write schedule.epochs for epochs, schedule.lr_max for lr"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_one_is_answered_with_the_right_one(setting: str, expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study("quickstart", settings=[setting])
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("Adma", ["Adam", "Adamax", "AdamW", "NAdam"], "Adam"),
        ("adam_w", ["Adam", "AdamW"], "AdamW"),
        ("cifar100", ["cifar10", "torchvision:CIFAR10", "torchvision:CIFAR100"], "torchvision:CIFAR100"),
        ("CIFAR-10", ["cifar10", "torchvision:CIFAR10"], "cifar10"),
        ("resnet50", ["resnet18", "timm:resnet50"], "timm:resnet50"),
        ("imagenet", ["image_folder", "torchvision:Imagenette"], "image_folder"),
        ("fp16", ["float16", "float32"], "float16"),
        ("zzz", ["Adam", "SGD"], None),
    ],
)
def test_the_nearest_name_is_the_one_that_is_meant(given: str, known: list[str], meant: str | None) -> None:
    assert nearest(given, known) == meant


def test_a_dotted_key_with_a_misspelt_table_is_found() -> None:
    assert suggest_key("optimiser.name", dotted_keys(Study, {})) == "optimizer.name"


def test_how_a_setting_was_understood_is_said_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "quickstart", "--set", "width=2", "--dry-run", "--json"])
    with pytest.raises(SystemExit) as done:
        main()
    captured = capsys.readouterr()
    assert done.value.code == 0 and captured.out.startswith("[")
    assert captured.err == "quickstart: --set width sets model.width\n"
