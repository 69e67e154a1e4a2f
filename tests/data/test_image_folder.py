"""Folders of the user's own images."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from PIL import Image

from harness.data import image_folder, load_data
from harness.data.arrays import Request
from harness.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def put(path, value=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "test"):
        put(folder / split / "dog" / "a.png", 1)
        put(folder / split / "cat" / "b.png", 2)
        put(folder / split / "cat" / "deeper" / "a.png", 3)
    return folder


def load(root, which="train", **options):
    return image_folder.load(Request(root, which, progress=False, **options))


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def test_classes_and_files_are_sorted_by_name(root):
    split = load(root)
    assert split.classes == ("cat", "dog")
    assert split.labels.tolist() == [0, 0, 1]
    assert values(split) == [2, 3, 1]
    assert split.images.shape == (3, 6, 8, 3)


def test_path_is_relative_to_the_root_or_absolute(root):
    assert load(root.parent, path="data").sha256 == load(root).sha256
    assert load(root.parent / "elsewhere", path=str(root)).sha256 == load(root).sha256


def test_hidden_files_and_folders_are_passed_over(root):
    put(root / "train" / "cat" / ".hidden.png")
    put(root / "train" / "cat" / ".thumbnails" / "a.png")
    put(root / "train" / ".cache" / "a.png")
    assert len(load(root)) == 3
    assert load(root).classes == ("cat", "dog")


def test_files_that_are_no_images_are_passed_over_with_a_warning(root, caplog):
    (root / "train" / "cat" / "notes.txt").write_text("x")
    assert len(load(root)) == 3
    assert "1 files are no images" in caplog.text
    assert "notes.txt" in caplog.text


def test_images_of_several_sizes_need_image_size(root):
    put(root / "train" / "cat" / "z.png", size=(20, 10))
    with pytest.raises(DataError, match="8x6, .*z.png is 20x10.*: set data.image_size"):
        load(root)
    assert load(root, image_size=5).images.shape == (4, 5, 5, 3)


def test_unreadable_image_is_named(root):
    (root / "test" / "dog" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"test.dog.a\.png: "):
        load(root, "test")


def test_empty_class_is_refused(root):
    (root / "train" / "emu").mkdir()
    with pytest.raises(DataError, match="emu: no image"):
        load(root)


@pytest.mark.parametrize("extra", ["train", "test"])
def test_class_in_one_split_only_is_refused(root, extra):
    put(root / extra / "emu" / "a.png")
    with pytest.raises(DataError, match="not in both train and test: emu"):
        load(root, "test")


@pytest.mark.parametrize("which", ["train", "test"])
def test_missing_folder_is_refused_in_one_line(tmp_path, which):
    with pytest.raises(DataError, match="is not a folder; expected train/<class>/") as error:
        load(tmp_path / "nowhere", which)
    assert "\n" not in str(error.value)


def test_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no class folder"):
        load(tmp_path)


def test_new_image_is_seen_in_spite_of_the_cache(root):
    assert len(load(root)) == 3
    put(root / "train" / "cat" / "c.png", 9)
    assert values(load(root)) == [2, 9, 3, 1]


def test_data_folder_is_not_written_to(root):
    before = sorted(root.rglob("*"))
    load(root)
    load(root, "test", image_size=4)
    assert sorted(root.rglob("*")) == before


def test_images_are_the_ones_written(root):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "train" / "cat" / "b.png")
    assert (load(root).images[0] == noise).all()


def test_pipe_among_the_images_is_refused_and_not_waited_for(root):
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    with pytest.raises(DataError, match="pipe.png is not a regular file"):
        load(root)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_folder_that_may_not_be_entered_is_refused_and_not_taken_for_empty(root, monkeypatch):
    real = os.scandir

    def scandir(path):  # root may enter every folder
        if str(path).endswith("deeper"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="image_folder: .*deeper cannot be read: Permission denied"):
        load_data("image_folder", root, progress=False)
