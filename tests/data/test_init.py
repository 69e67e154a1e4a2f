"""``load_data``: sources by name, hold-outs and limits, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from harness.data import SOURCES, default_root, load_data, sources
from harness.errors import AbsentDataError, DataError, StudyError


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_DATA", raising=False)


def put(path: Path, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_holdout_takes_the_place_of_a_test_split_that_is_not_opened(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "train" / "a" / f"{number}.png")
        put(tmp_path / "train" / "b" / f"{number}.png")
    (tmp_path / "test").write_text("opening this as a folder would fail")
    data = load_data("image_folder", tmp_path, holdout=2)
    assert data.evaluated_on == "holdout"
    assert np.bincount(data.train.labels).tolist() == [3, 3]
    assert np.bincount(data.evaluation.labels).tolist() == [1, 1]


def test_limits_hold_for_train_and_test_and_count_what_the_holdout_left(tmp_path: Path) -> None:
    data = load_data("digits", tmp_path, train_limit=50, test_limit=20)
    assert np.bincount(data.train.labels).tolist() == [5] * 10
    assert np.bincount(data.evaluation.labels).tolist() == [2] * 10
    data = load_data("digits", tmp_path, holdout=1400, train_limit=37, test_limit=1400)
    assert (len(data.train), len(data.evaluation)) == (37, 1400)
    with pytest.raises(StudyError, match="data.train_limit = 38: expected 1 to 37"):
        load_data("digits", tmp_path, holdout=1400, train_limit=38)


@pytest.mark.parametrize("key", ["holdout", "train_limit", "test_limit"])
def test_more_images_than_there_are_is_one_line(tmp_path: Path, key: str) -> None:
    with pytest.raises(StudyError, match=rf"data.{key} = 5000: expected 1 to \d+") as error:
        load_data("digits", tmp_path, **cast(Any, {key: 5000}))
    assert "\n" not in str(error.value)


def test_every_choice_changes_the_checksum(tmp_path: Path) -> None:
    choices: list[Any] = [{}, {"holdout": 100}, {"train_limit": 100}, {"test_limit": 100}, {"holdout": 360}]
    assert len({load_data("digits", tmp_path, **choice).sha256 for choice in choices}) == len(choices)


def test_unknown_source_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'cifar-10' is not a data source, did you mean 'cifar10'"):
        load_data("cifar-10", tmp_path)
    with pytest.raises(DataError, match=f"known: {', '.join(sorted(SOURCES))}.$"):
        load_data("zzz", tmp_path)


@pytest.mark.parametrize("source", SOURCES)
def test_data_folder_that_does_not_exist_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match="does not exist: create it, or name another with --data"):
        load_data(source, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_users_cache_folder_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert len(load_data("digits", default_root()).train) == 1437
    with pytest.raises(DataError, match="CIFAR-10 is not in"):
        load_data("cifar10", default_root(), download=False)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("source", ["image_folder", "parquet"])
@pytest.mark.parametrize("path", [None, "mine"])
def test_images_are_absent_only_where_nobody_named_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, path: str | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with pytest.raises(AbsentDataError):
        load_data(source, default_root(), path=path)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    for named in (path, str(tmp_path)):
        with pytest.raises(DataError) as error:
            load_data(source, default_root(), path=named)
        assert type(error.value) is DataError


def test_what_can_be_downloaded_is_absent_until_some_of_it_is_there(tmp_path: Path) -> None:
    with pytest.raises(AbsentDataError):
        load_data("cifar10", tmp_path, download=False)
    (tmp_path / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(DataError, match="data_batch_1 cannot be read") as error:
        load_data("cifar10", tmp_path, download=False)
    assert type(error.value) is DataError


def test_environment_names_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.setenv("HARNESS_DATA", "")
    assert default_root().name == "data"


def test_train_and_test_images_of_other_sizes_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / "train" / name / "0.png", (8, 4))
        put(tmp_path / "test" / name / "0.png", (4, 4))
    with pytest.raises(DataError, match="train images are 8x4 pixels, test images 4x4: set data.image_size"):
        load_data("image_folder", tmp_path)
    assert load_data("image_folder", tmp_path, image_size=4).train.images.shape == (2, 4, 4, 3)


@pytest.mark.parametrize(("on_disk", "written"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_path_is_found_in_either_unicode_form(tmp_path: Path, on_disk: str, written: str) -> None:
    for place in ("train/a", "train/b", "test/a", "test/b"):
        put(tmp_path / on_disk / place / "0.png")
    assert len(load_data("image_folder", tmp_path, path=written).train) == 2


def test_a_channel_that_never_varies_is_said_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            put(tmp_path / split / name / "0.png")
            Image.new("RGB", (4, 4), (number, 90 * number, 7)).save(tmp_path / split / name / "0.png")
    notes = [f"{split}: blue is always 7 in all images" for split in ("train", "test")]
    assert load_data("image_folder", tmp_path).notes == notes
    assert "image_folder, train split: blue is always 7 in all images; check that" in caplog.text
    for name in "ab":
        Image.new("RGB", (4, 4), (0, 9, 7)).save(tmp_path / "test" / name / "0.png")
    with pytest.raises(
        DataError, match="test split: red is always 0, green is always 9, blue is always 7 in"
    ):
        load_data("image_folder", tmp_path)


OWN_SOURCE = """
import numpy as np
from harness.data.arrays import split_of

def load(request):
    count = {"train": 6, "test": 4}[request.which]
    labels = np.arange(count) % (3 if request.path == "empty" else 2)
    classes = ["a", "b", "c", "d"] if request.path == "empty" else ["a", "b"]
    if request.path == "one":
        labels, classes = np.zeros_like(labels), ["a"]
    if request.path == "differ":
        classes = [f"{request.which} a", "b"]
    images = np.arange(count * 48).astype(np.uint8).reshape(count, 4, 4, 3)
    return split_of(images, labels, classes)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of the user's that brings a source, as ``pip install`` would leave it."""
    site = tmp_path / "site"
    (site / "theirs-1.0.dist-info").mkdir(parents=True)
    (site / "theirs-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n"
    )
    points = "[harness.sources]\ntheirs = their_source:load\nbroken = their_missing:load\n"
    (site / "theirs-1.0.dist-info" / "entry_points.txt").write_text(points)
    (site / "their_source.py").write_text(OWN_SOURCE)
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("their_source", None)


def test_installed_package_brings_its_own_source_and_one_that_is_broken_is_one_line(
    tmp_path: Path, installed: None
) -> None:
    assert sources()["theirs"] == "their_source:load"
    data = load_data("theirs", tmp_path)
    assert (len(data.train), len(data.evaluation)) == (6, 4)
    with pytest.raises(DataError, match="their_missing:load cannot be imported"):
        load_data("broken", tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("empty", "theirs, train split: no image of class 'd'"),
        ("one", "theirs, train split: only the class 'a'"),
        ("differ", "different classes .*'test a', 'train a'"),
    ],
)
def test_classes_that_cannot_be_learnt_are_refused(
    tmp_path: Path, installed: None, path: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_data("theirs", tmp_path, path=path)


def test_naming_the_sources_imports_none_of_them() -> None:
    slow = ("pyarrow", "sklearn", "torch", "PIL")
    code = f"import sys, harness.data as d; d.sources(); print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
