"""Absurd sizes end in one line before memory or time is spent on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import DataError, StudyError
from harness.plan import make_plan
from harness.planning.states import Preview
from harness.preview import as_json
from harness.store.folders import StudyFolder
from harness.study_file.config import Recipe
from harness.study_file.load import load_study
from harness.study_file.seeds import parse_seeds

SECONDS, BILLION = 10.0, 10**9  # coverage makes it three times as slow
LARGE = '{transform = "Resize", height = 1024, width = 1024}, {transform = "Pad", padding = 1024}'


@pytest.fixture
def quickly() -> Iterator[None]:
    """The test may not take long, by this process's own clock."""
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


def load(recipe: Recipe) -> Data:
    options = recipe.data.model_dump(
        exclude={"source", "batch_size", "drop_last", "holdout_draws", "sampler"}
    )
    return load_data(recipe.data.source, Path(), **options)


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory, fragile: Path) -> None:
    """What is imported and read once is not what these tests measure."""
    study = load_study(str(fragile))
    make_plan(study, StudyFolder(tmp_path_factory.mktemp("none"), study.name), load, device="cpu")


def transform(name: str, **arguments: Any) -> str:
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items())
    return f'augment.train=[{{transform = "{name}", {pairs}}}]'


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("schedule.epochs=1000000000", "schedule.epochs"),
        ("schedule.epochs=1_000_000_000_000_000_000_000_000", "schedule.epochs"),
        ("model.width=1000000000", "model.width"),
        ("model.width=-1", "model.width"),
        ("data.batch_size=1000000000", "data.batch_size"),
        ("data.image_size=1000000000", "data.image_size"),
        ("data.train_limit=100000000", "train_limit"),
        ("data.holdout=100000000", "holdout"),
        ("range_test.iterations=1000000000", "range_test.iterations"),
        ("range_test.end_lr=1e300", "range_test.end_lr"),
        ("schedule.lr_max=nan", "schedule.lr_max"),
        ("schedule.lr_min=inf", "schedule.lr_min"),
        ("schedule.lr_max=-0.1", "schedule.lr_max"),
        ("attribution.images=1000000000", "attribution.images"),
        ("seeds=[1_000_000_000_000_000_000]", "seeds"),
        ("question=" + "x" * 100_000, "question"),
        ("model.x=[" + "0," * 60_000 + "]", "model"),
        (transform("CoarseDropout", num_holes_range=[1, 10**9]), "CoarseDropout.num_holes_range"),
        (transform("PadIfNeeded", min_height=10**9, min_width=10**9), "PadIfNeeded.min"),
        (transform("Resize", height=60_000, width=60_000), "Resize."),
        (transform("RandomScale", scale_limit=[1000, 1000]), "RandomScale.scale_limit"),
        (transform("CropAndPad", percent=4000.0), "CropAndPad.percent"),
        (transform("GridDropout", holes_number_xy=[4096, 4096]), "GridDropout.holes_number_xy"),
        (
            f"augment.train=[{{transform = 'OneOf', transforms=[{{transform='Pad', padding={BILLION}}}]}}]",
            "Pad.padding",
        ),
        (transform("PadIfNeeded", fill=[1] * 100_000), "numbers"),
        (f"augment={{train = [{LARGE}], test = [{LARGE}]}}", "3072x3072 pixels after Pad"),
    ],  # fmt: skip
)
def test_an_absurd_value_is_refused_at_once(
    quickly: None, fragile: Path, tmp_path: Path, setting: str, key: str
) -> None:
    with pytest.raises((StudyError, DataError)) as refused:
        study = load_study(str(fragile), settings=[setting])
        make_plan(study, StudyFolder(tmp_path, study.name), load, device="cpu")
    message = str(refused.value)
    assert key in message and message.isprintable() and len(message) < 600
    assert list(tmp_path.iterdir()) == []


BOMBS = {
    "variants": "".join(f"[variants.v{index}]\n" for index in range(1_001)),
    "a million variants": "".join(f"[variants.v{index}]\n" for index in range(1_000_000)),
    "a dotted key": "a." * 400_000 + "a = 1\n",
    "a dotted key of quoted parts": '"a".' * 200_000 + "a = 1\n",
    "long names above many keys": f'[x."{"k" * 500_000}"]\n' + "".join(f"a{n}=1\n" for n in range(60_000)),
    "deep lists": "x = " + "[" * 100_000 + "]" * 100_000 + "\n",
    "deep tables": "x = " + "{a=" * 50_000 + "1" + "}" * 50_000 + "\n",
    "a number of half a million digits": "x = " + "9" * 500_000 + "\n",
    "a hexadecimal number of half a million digits": "x = 0x" + "f" * 500_000 + "\n",
    "references": "".join(f"[references.r{n}]\ntest_accuracy = 0.5\n" for n in range(20_000)),
    "a name of a million letters": "a" * 1_000_000 + " = 1\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_made_to_burst_is_refused_at_once(
    quickly: None, fragile: Path, tmp_path: Path, bomb: str
) -> None:
    file = tmp_path / "bomb.toml"
    text = BOMBS[bomb]
    file.write_text(fragile.read_text() + text if text.startswith("[") else text + fragile.read_text())
    with pytest.raises(StudyError) as refused:
        load_study(str(file))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600


@pytest.mark.parametrize("seeds", ["0-1000000000", "0-9999,10000-19999", "9" * 5_000, "0-" + "9" * 5_000])
def test_too_many_seeds_are_refused_at_once(quickly: None, seeds: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_seeds(seeds)
    assert len(str(refused.value)) < 300


def test_more_runs_than_a_folder_can_hold_are_refused_at_once(quickly: None, fragile: Path) -> None:
    variants = ", ".join(f'v{index} = {{"model.width" = 3}}' for index in range(100))
    with pytest.raises(StudyError, match="101 variants x 10000 seeds; 100000 runs are the most"):
        load_study(str(fragile), settings=[f"variants={{{variants}}}"], seeds=list(range(10_000)))


def test_a_network_larger_than_the_memory_costs_nothing_to_plan(
    quickly: None, fragile: Path, tmp_path: Path
) -> None:
    study = load_study(str(fragile), settings=["model.width=1024"])  # 6.7 GB of weights
    plan = make_plan(study, StudyFolder(tmp_path, study.name), load, device="cpu")
    assert plan.variants[0].outline.parameters > 1_600_000_000


SCHEDULES = [
    "schedule={epochs = 100000, peak_epoch = 500.0, lr_max = 0.1, lr_min = 0.01}",
    'schedule={kind = "constant", epochs = 100000, lr = 0.1}',
    'schedule={kind = "one_cycle_lr", epochs = 100000, lr_max = 0.1, pct_start = 0.3, step = "epoch"}',
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_of_a_hundred_thousand_epochs_is_previewed_at_once(
    quickly: None, fragile: Path, tmp_path: Path, schedule: str
) -> None:
    study = load_study(str(fragile), settings=[schedule])
    preview = Preview(study, StudyFolder(tmp_path, study.name), load, None, "cpu")
    (described,) = json.loads(as_json([preview]))
    assert len(described["variants"][0]["learning_rates"]) == 100_000
