"""The cache of arrays: when it is used, when not believed, and that it never stands in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.data.arrays import split_of
from harness.data.cache import cache_folder, cached, cached_arrays
from harness.errors import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def split(value=1):
    images = np.full((3, 4, 4, 3), value, dtype=np.uint8)
    return split_of(images, np.array([0, 1, 1]), ["kat", "Hündin"])


class Build:
    """Counts how often it is asked."""

    def __init__(self, value=1):
        self.value = value
        self.times = 0

    def __call__(self):
        self.times += 1
        return split(self.value)


def get(file, build, place=("here", None), which="train"):
    return cached("source", which, place, [file], build)


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_second_start_reads_the_same_split_without_building(file):
    build = Build()
    first, second = get(file, build), get(file, build)
    assert build.times == 1
    assert second.sha256 == first.sha256
    assert second.classes == ("kat", "Hündin")
    assert (second.images == first.images).all()
    assert (second.labels == first.labels).all()


def test_arrays_from_the_cache_can_be_written_to(file):
    get(file, Build())
    get(file, Build()).images[0] = 7  # torch.from_numpy warns of read-only arrays


def test_changed_file_is_read_again(file):
    get(file, Build(1))
    file.write_bytes(b"longer")
    assert (get(file, Build(2)).images == 2).all()


def test_files_of_one_size_and_time_are_told_apart_by_their_content(file):
    get(file, Build(1))
    about, content = file.stat(), file.read_bytes()
    file.write_bytes(bytes(byte ^ 1 for byte in content))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file.stat().st_size == about.st_size and file.stat().st_mtime_ns == about.st_mtime_ns
    assert (get(file, Build(2)).images == 2).all()


def test_a_file_that_was_only_touched_is_not_read_again(file):
    get(file, Build(1))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    assert (get(file, Build(2)).images == 1).all()


@pytest.mark.parametrize("other", [{"place": ("there", None)}, {"place": ("here", 32)}, {"which": "test"}])
def test_other_folder_option_or_split_has_its_own_entry(file, folder, other):
    get(file, Build(1))
    assert (get(file, Build(2), **other).images == 2).all()
    assert len(entries(folder)) == 2


def test_new_decoder_does_not_read_what_the_old_one_wrote(file, monkeypatch):
    get(file, Build(1))
    monkeypatch.setattr("harness.data.decode.VERSION", -1)
    assert (get(file, Build(2)).images == 2).all()


def flip_last_byte(entry):
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)


def truncate(entry):
    entry.write_bytes(entry.read_bytes()[:-10])


def empty(entry):
    entry.write_bytes(b"")


def without_metadata(entry):
    from safetensors.numpy import save_file

    save_file({"images": split().images, "labels": split().labels}, entry)


@pytest.mark.parametrize("damage", [flip_last_byte, truncate, empty, without_metadata])
def test_damaged_entry_is_noticed_said_in_one_line_and_built_again(file, folder, caplog, damage):
    get(file, Build())
    damage(folder / entries(folder)[0])
    build = Build()
    assert get(file, build).sha256 == split().sha256
    assert build.times == 1
    assert [("damaged" in record.message, "\n" in record.message) for record in caplog.records] == [
        (True, False)
    ]
    get(file, build)
    assert build.times == 1


def test_folder_that_changes_keeps_one_entry(file, folder):
    for content in (b"1", b"22", b"333"):
        file.write_bytes(content)
        get(file, Build())
    assert len(entries(folder)) == 1


def test_only_abandoned_temporary_files_are_removed(file, folder):
    get(file, Build())
    stem = entries(folder)[0].removesuffix(".safetensors")
    (folder / f"{stem}old.tmp").touch()
    (folder / f"{stem}new.tmp").touch()
    yesterday = time.time() - 86400
    os.utime(folder / f"{stem}old.tmp", (yesterday, yesterday))
    file.write_bytes(b"changed")
    get(file, Build())
    assert [name for name in entries(folder) if name.endswith(".tmp")] == [f"{stem}new.tmp"]


def test_cache_that_cannot_be_written_is_no_error(file, folder, caplog):
    folder.write_text("a file where the folder should be")
    assert get(file, Build()).sha256 == split().sha256
    assert "HARNESS_CACHE" in caplog.text


def test_cache_that_may_not_be_entered_is_no_error(file, folder, monkeypatch):
    real = Path.exists

    def exists(path):  # root may enter every folder
        if path.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert get(file, Build()).sha256 == split().sha256


def test_write_that_fails_half_way_leaves_nothing(file, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    get(file, Build())
    assert entries(folder) == []


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match="gone cannot be read"):
        get(tmp_path / "gone", Build())


START = """
import sys
from pathlib import Path
import numpy as np
from harness.data.arrays import split_of
from harness.data.cache import cached

split = split_of(np.ones((3, 4, 4, 3), dtype=np.uint8), np.array([0, 1, 1]), ["a", "b"])
for _ in range(20):
    found = cached("source", "train", ["here"], [Path(sys.argv[1])], lambda: split)
    Path(sys.argv[1]).touch()  # every start finds a changed file: all processes write, replace and remove
    print(found.sha256)
"""


def test_processes_share_the_cache(file, folder):
    command = [sys.executable, "-c", START, str(file)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outcomes = [process.communicate() for process in processes]
    assert {errors for _, errors in outcomes} == {""}
    assert len({line for output, _ in outcomes for line in output.splitlines()}) == 1
    get(file, Build(), place=["here"])
    assert len(entries(folder)) == 1


def test_cache_lies_in_the_users_cache_folder_by_default(monkeypatch):
    import platformdirs

    monkeypatch.delenv("HARNESS_CACHE")
    assert cache_folder().is_relative_to(platformdirs.user_cache_path())


NUMBERS = {
    "turned": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    "none": np.empty((0, 4)),
    "bytes": np.frombuffer(b"names", dtype=np.uint8),
    "nan": np.array([np.nan, 1.0]),
}


def numbers(key, asked):
    def build():
        asked.append(key)
        return {name: key["times"] * array for name, array in NUMBERS.items()}

    return cached_arrays("numbers", key, build)


def test_arrays_of_a_key_are_built_once(folder):
    asked = []
    key, other = {"times": 1, "of": ["a", None]}, {"times": 2, "of": ["a", None]}
    for _ in range(2):
        for wanted in (key, other):
            found = numbers(wanted, asked)
            assert found.keys() == NUMBERS.keys()
            for name, array in NUMBERS.items():
                np.testing.assert_array_equal(found[name], wanted["times"] * array)
    assert asked == [key, other]
    assert all(name.startswith("numbers-") for name in entries(folder))


@pytest.mark.parametrize("place", [0.02, 0.5, 0.99])
def test_damaged_arrays_are_built_again_with_a_warning(folder, caplog, place):
    asked = []
    key = {"times": 1}
    numbers(key, asked)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    found = numbers(key, asked)
    np.testing.assert_array_equal(found["turned"], NUMBERS["turned"])
    assert len(asked) == 2 and "damaged and built again" in caplog.text
    numbers(key, asked)
    assert len(asked) == 2


def test_arrays_that_cannot_be_kept_are_no_error(folder, caplog):
    folder.write_text("a file where the folder should be")
    np.testing.assert_array_equal(numbers({"times": 3}, [])["nan"], [np.nan, 3])
    assert "HARNESS_CACHE" in caplog.text
