"""The cache of arrays: when it is used, when not believed, and that it never stands in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
from safetensors.numpy import save_file

from harness.data.arrays import Split, split_of
from harness.data.cache import cache_folder, cached, cached_arrays
from harness.errors import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"one")
    return tmp_path / "file"


class Build:
    """Makes a split of one value and counts how often it is asked."""

    def __init__(self, value: int = 1) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> Split:
        self.times += 1
        images = np.full((3, 4, 4, 3), self.value, dtype=np.uint8)
        return split_of(images, np.array([0, 1, 1]), ["kat", "Hündin"])


def get(file: Path, build: Build, place: Any = ("here", None), which: str = "train") -> Split:
    return cached("source", which, place, [file], build)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_second_start_reads_the_same_split_without_building(file: Path) -> None:
    build = Build()
    first, second = get(file, build), get(file, build)
    assert build.times == 1 and second.sha256 == first.sha256 and second.classes == ("kat", "Hündin")
    assert (second.images == first.images).all() and (second.labels == first.labels).all()
    second.images[0] = 7  # torch.from_numpy warns of read-only arrays


@pytest.mark.parametrize("content", [b"longer", b"two"])
def test_a_changed_file_is_read_again_even_of_the_same_size_and_time(file: Path, content: bytes) -> None:
    get(file, Build(1))
    about = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (get(file, Build(2)).images == 2).all()


def test_a_file_that_was_only_touched_is_not_read_again(file: Path) -> None:
    get(file, Build(1))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    assert (get(file, Build(2)).images == 1).all()


@pytest.mark.parametrize("other", [{"place": ("there", None)}, {"place": ("here", 32)}, {"which": "test"}])
def test_other_folder_option_or_split_has_its_own_entry(
    file: Path, folder: Path, other: dict[str, Any]
) -> None:
    get(file, Build(1))
    assert (get(file, Build(2), **other).images == 2).all() and len(entries(folder)) == 2


def test_new_decoder_does_not_read_what_the_old_one_wrote(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(file, Build(1))
    monkeypatch.setattr("harness.data.decode.VERSION", -1)
    assert (get(file, Build(2)).images == 2).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.write_bytes(entry.read_bytes()[:-1] + bytes([entry.read_bytes()[-1] ^ 1])),
        lambda entry: entry.write_bytes(entry.read_bytes()[:-10]),
        lambda entry: entry.write_bytes(b""),
        lambda entry: save_file({"images": Build()().images, "labels": Build()().labels}, entry),
    ],
)
def test_damaged_entry_is_noticed_said_in_one_line_and_built_again(
    file: Path, folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Any]
) -> None:
    get(file, Build())
    damage(folder / entries(folder)[0])
    build = Build()
    assert get(file, build).sha256 == Build()().sha256 and build.times == 1
    (message,) = caplog.messages
    assert "damaged" in message and "\n" not in message
    get(file, build)
    assert build.times == 1


def test_folder_that_changes_keeps_one_entry(file: Path, folder: Path) -> None:
    for content in (b"1", b"22", b"333"):
        file.write_bytes(content)
        get(file, Build())
    assert len(entries(folder)) == 1


def test_only_abandoned_temporary_files_are_removed(file: Path, folder: Path) -> None:
    get(file, Build())
    stem = entries(folder)[0].removesuffix(".safetensors")
    old, new = folder / f"{stem}old.tmp", folder / f"{stem}new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 86400,) * 2)
    file.write_bytes(b"changed")
    get(file, Build())
    assert new.exists() and not old.exists()


def test_cache_that_cannot_be_written_is_no_error(
    file: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")
    assert get(file, Build()).sha256 == Build()().sha256
    np.testing.assert_array_equal(numbers({"times": 3}, [])["nan"], [np.nan, 3])
    assert ["HARNESS_CACHE" in message for message in caplog.messages].count(True) == 2


def test_write_that_fails_half_way_leaves_nothing(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    get(file, Build())
    assert entries(folder) == []


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
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


def test_processes_share_the_cache(file: Path, folder: Path) -> None:
    command, pipe = [sys.executable, "-c", START, str(file)], subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    outcomes = [process.communicate() for process in processes]
    assert {errors for _, errors in outcomes} == {""}
    assert len({line for output, _ in outcomes for line in output.splitlines()}) == 1
    get(file, Build(), place=["here"])
    assert len(entries(folder)) == 1


def test_cache_lies_in_the_users_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_CACHE")
    assert cache_folder().is_relative_to(platformdirs.user_cache_path())


NUMBERS = {
    "turned": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    "none": np.empty((0, 4)),
    "bytes": np.frombuffer(b"names", dtype=np.uint8),
    "nan": np.array([np.nan, 1.0]),
}


def numbers(key: dict[str, Any], asked: list[Any]) -> dict[str, Any]:
    def build() -> dict[str, Any]:
        asked.append(key)
        return {name: key["times"] * array for name, array in NUMBERS.items()}

    return cached_arrays("numbers", key, build)


def test_arrays_of_a_key_are_built_once(folder: Path) -> None:
    asked: list[Any] = []
    key, other = {"times": 1, "of": ["a", None]}, {"times": 2, "of": ["a", None]}
    for wanted in (key, other, key, other):
        arrays = numbers(wanted, asked)
        assert arrays.keys() == NUMBERS.keys()
        for name, array in NUMBERS.items():
            np.testing.assert_array_equal(arrays[name], wanted["times"] * array)
    assert asked == [key, other] and all(name.startswith("numbers-") for name in entries(folder))


@pytest.mark.parametrize("place", [0.02, 0.5, 0.99])
def test_damaged_arrays_are_built_again_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, place: float
) -> None:
    asked: list[Any] = []
    numbers({"times": 1}, asked)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    for _ in range(2):
        np.testing.assert_array_equal(numbers({"times": 1}, asked)["turned"], NUMBERS["turned"])
        assert len(asked) == 2 and "damaged, rebuilding it" in caplog.text
