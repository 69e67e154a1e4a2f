"""How many runs are on a device: counted across processes, whatever became of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.training.sharing import count_runs_on

HOLD = """
import sys
from harness.training.sharing import count_runs_on
with count_runs_on("cpu"):
    print("counted", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path


def other_process() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "counted\n"
    return process


def test_runs_of_other_processes_are_counted_and_a_killed_one_is_not(cache: Path) -> None:
    first, second = other_process(), other_process()
    with count_runs_on("cpu") as runs_now:
        assert runs_now() == 3
        first.kill()
        first.communicate()
        assert runs_now() == 2
        second.communicate("")  # comes to its end
        assert runs_now() == 1
    assert not list(cache.rglob("*.lock"))


def test_runs_on_other_devices_are_not_counted() -> None:
    with count_runs_on("cpu") as on_cpu, count_runs_on("mps") as on_mps:
        assert (on_cpu(), on_mps()) == (1, 1)


def test_a_cache_folder_that_cannot_be_used_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with count_runs_on("cpu") as runs_now:
        assert runs_now() is None
