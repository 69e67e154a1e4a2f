"""Folders of the user's own images."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data import image_folder, load_data
from harness.data.arrays import SourceRequest, Split, Which
from harness.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def put(path: Path, value: int = 0, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for split in ("train", "test"):
        put(folder / split / "dog" / "a.png", 1)
        put(folder / split / "cat" / "b.png", 2)
        put(folder / split / "cat" / "deeper" / "a.png", 3)
    return folder


def load(root: Path, which: Which = "train", **options: Any) -> Split:
    return image_folder.load(SourceRequest(root, which, progress=False, **options))


def values(split: Split) -> list[int]:
    return [int(image[0, 0, 0]) for image in split.images]


def test_classes_and_files_are_sorted_by_name(root: Path) -> None:
    split = load(root)
    assert split.classes == ("cat", "dog")
    assert split.labels.tolist() == [0, 0, 1]
    assert values(split) == [2, 3, 1]
    assert split.images.shape == (3, 6, 8, 3)


def test_path_is_relative_to_the_root_or_absolute(root: Path) -> None:
    assert load(root.parent, path="data").sha256 == load(root).sha256
    assert load(root.parent / "elsewhere", path=str(root)).sha256 == load(root).sha256


def test_linked_folders_and_files_are_followed(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "c.png", 7)
    put(tmp_path / "elsewhere" / "deep" / "d.png", 8)
    (root / "train" / "cat" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "train" / "cat" / "one.png").symlink_to(tmp_path / "elsewhere" / "c.png")
    for name in ("train", "test"):
        (root / name / "emu").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    split = load(root)
    assert split.classes == ("cat", "dog", "emu")
    assert values(split) == [2, 3, 7, 8, 7, 1, 7, 8] and split.labels.tolist() == [0] * 5 + [1, 2, 2]
    (root / "test" / "emu" / "more").symlink_to(root / "test" / "cat", target_is_directory=True)
    assert len(load(root, "test")) == 3 + 4  # a folder that is linked twice is no circle


@pytest.mark.parametrize("target", [".", "..", "../..", "../../dog"])
def test_a_link_round_in_a_circle_is_refused(root: Path, target: str) -> None:
    (root / "train" / "cat" / "deeper" / "round").symlink_to(target, target_is_directory=True)
    (root / "train" / "dog" / "other").symlink_to(root / "train" / "cat", target_is_directory=True)
    with pytest.raises(DataError, match="this link is circular"):
        load(root)


@pytest.mark.parametrize("place", ["train/emu", "train/cat/gone", "train/cat/gone.png", "train/cat/deeper/x"])
def test_a_link_that_leads_nowhere_is_named(root: Path, place: str) -> None:
    (root / place).symlink_to("/no/such/place")
    with pytest.raises(DataError, match=f"{place}: this link is broken"):
        load(root)


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.jpg.bak", "a", "a.pnm"])
def test_an_image_is_one_whatever_its_name(root: Path, name: str) -> None:
    image = io.BytesIO()
    Image.new("RGB", (8, 6), (9, 9, 9)).save(image, "PPM" if name.endswith("pnm") else "JPEG")
    (root / "train" / "dog" / name).write_bytes(image.getvalue())
    assert len(load(root)) == 4


def test_what_is_passed_over_is_counted_and_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("notes.txt", "deeper/Thumbs.db", ".DS_Store"):
        (root / "train" / "cat" / name).write_text("x")
    put(root / "train" / ".cache" / "a.png")
    put(root / "train" / "cat" / ".thumbnails" / "a.png")
    put(root / "train" / "stray.png")
    before = sorted(root.rglob("*"))
    assert load(root).notes == (
        "train: 2 skipped, no images, such as cat/deeper/Thumbs.db",
        "train: 1 skipped, in no class folder, such as stray.png",
        "train: 3 skipped, hidden, such as .cache",
    )
    assert len(load(root)) == 3 and load(root).classes == ("cat", "dog")
    assert "2 files are no images" in caplog.text and "Thumbs.db" in caplog.text
    data = load_data("image_folder", root, holdout=1, progress=False)
    assert data.notes == list(load(root).notes) and load(root, "test").notes == ()
    assert sorted(root.rglob("*")) == before, "nothing is written into the data folder"


def test_new_images_and_images_exchanged_between_classes_are_noticed(root: Path) -> None:
    assert len(load(root)) == 3
    files = [root / "train" / name for name in ("cat/x.bmp", "dog/x.bmp")]
    for value, file in zip((20, 30), files, strict=True):
        put(file, value)
        os.utime(file, ns=(10**18, 10**18))
    before = load(root)
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
        os.utime(file, ns=(10**18, 10**18))
    after = load(root)
    assert values(before) == [2, 3, 20, 1, 30] and values(after) == [2, 3, 30, 1, 20]
    assert before.sha256 != after.sha256


def test_images_of_several_sizes_need_image_size(root: Path) -> None:
    put(root / "train" / "cat" / "z.png", size=(20, 10))
    with pytest.raises(DataError, match="8x6, .*z.png is 20x10.*: set data.image_size"):
        load(root)
    assert load(root, image_size=5).images.shape == (4, 5, 5, 3)


def test_one_number_of_bits_holds_for_both_splits(root: Path) -> None:
    for split, value in (("train", 4095), ("test", 1000)):
        file = root / split / "cat" / "deep.png"
        Image.fromarray(np.full((6, 8), value, np.uint16)).save(file)
    with pytest.raises(DataError, match="train: no value .* is above 4095: set data.bits = 12"):
        load_data("image_folder", root, progress=False)
    for bits, train, test in ((12, 255, 62), (16, 15, 3)):
        data = load_data("image_folder", root, bits=bits, progress=False)
        assert (data.train.images.max(), data.evaluation.images.max()) == (train, test)


def test_unreadable_image_is_named(root: Path) -> None:
    (root / "test" / "dog" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"test.dog.a\.png: "):
        load(root, "test")


def test_empty_class_is_refused(root: Path) -> None:
    (root / "train" / "emu").mkdir()
    with pytest.raises(DataError, match="emu: no image"):
        load(root)


@pytest.mark.parametrize("extra", ["train", "test"])
def test_class_in_one_split_only_is_refused(root: Path, extra: str) -> None:
    put(root / extra / "emu" / "a.png")
    with pytest.raises(DataError, match="not in both train and test: 'emu'"):
        load(root, "test")


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_class_names_are_the_same_in_both_unicode_forms(root: Path) -> None:
    put(root / "train" / DECOMPOSED / "a.png", 4)
    put(root / "test" / COMPOSED / "a.png", 4)
    assert load(root).classes == load(root, "test").classes == (COMPOSED, "cat", "dog")
    data = load_data("image_folder", root, progress=False)
    assert values(data.train) == [4, 2, 3, 1] and data.train.classes == data.evaluation.classes


def test_two_folders_of_one_class_name_are_refused(root: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        put(root / "train" / name / f"{len(name)}.png")
    if len(os.listdir(root / "train")) < 4:
        pytest.skip("the file system has one name for both")
    with pytest.raises(DataError, match=r"train: folders 'caf.*' and 'caf.*' have one name"):
        load(root)


@pytest.mark.parametrize("which", ["train", "test"])
def test_missing_folder_is_refused_in_one_line(tmp_path: Path, which: Which) -> None:
    with pytest.raises(DataError, match="is not a folder; expected train/<class>/") as error:
        load(tmp_path / "nowhere", which)
    assert "\n" not in str(error.value)


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no class folder"):
        load(tmp_path)


def test_pipe_among_the_images_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    with pytest.raises(DataError, match="pipe.png is not a regular file"):
        load(root)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_folder_that_may_not_be_entered_is_refused_and_not_taken_for_empty(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:  # root may enter every folder
        if str(path).endswith("deeper"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="image_folder: .*deeper cannot be read: Permission denied"):
        load_data("image_folder", root, progress=False)
