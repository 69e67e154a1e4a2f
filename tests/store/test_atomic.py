"""Files that are written whole or not at all, and read only where they are files."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.store.atomic import atomic_write, open_regular


def test_a_write_makes_folders_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    atomic_write(path, "é old")
    assert path.read_text(encoding="utf-8") == "é old"
    atomic_write(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
    assert list(path.parent.iterdir()) == [path]


def test_a_path_below_a_file_cannot_be_written_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        RunError, match=r"file/below: cannot be written: (Not a directory|File exists)$"
    ) as caught:
        atomic_write(tmp_path / "file" / "below", "y")
    assert isinstance(caught.value.__cause__, OSError), "what the disk said decides the kind of failure"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_files_place_stays_and_no_part_is_left(tmp_path: Path) -> None:
    (tmp_path / "target" / "inner").mkdir(parents=True)
    with pytest.raises(RunError, match="target: cannot be written: "):
        atomic_write(tmp_path / "target", "y")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
"""
INTERRUPT = """
import os
def interrupted(handle):
    raise KeyboardInterrupt
os.fsync = interrupted
"""


@pytest.mark.parametrize(
    ("cause", "said"),
    [(FULL_DISK, "file: cannot be written: File too large"), (INTERRUPT, "KeyboardInterrupt")],
)
def test_a_write_that_ends_early_leaves_the_old_file_and_no_part_of_the_new_one(
    tmp_path: Path, cause: str, said: str
) -> None:
    atomic_write(tmp_path / "file", "old")
    write = "import sys; from pathlib import Path; from harness.store.atomic import atomic_write"
    code = f"{write}{cause}atomic_write(Path(sys.argv[1]), b'x' * 100_000)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True)
    assert any(line.endswith(said) for line in done.stderr.splitlines()), done.stderr
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_many_writers_of_one_file_leave_one_whole_content(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([65 + n]) * 50_000 for n in range(8)]
    with ThreadPoolExecutor(len(contents)) as pool:
        writers = [pool.submit(atomic_write, path, content) for content in 10 * contents]
        while not all(writer.done() for writer in writers):
            if path.exists():
                assert path.read_bytes() in contents
        assert [writer.result() for writer in writers] == [None] * len(writers)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content\r\n")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content\r\n"


def test_what_is_no_file_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path(os.devnull)):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
