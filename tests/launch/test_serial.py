"""Launchers beside other processes."""

from __future__ import annotations

import time

import pytest

from tests.launch.conftest import Start


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [("serial",), pytest.param(("process", "--workers", "2"), marks=pytest.mark.slow)]
)
def test_two_processes_share_a_study_without_doing_anything_twice(
    start: Start, launcher: tuple[str, ...]
) -> None:
    both = []
    for _ in range(2):
        both.append(start("--launcher", *launcher, "--seeds", "0-5"))
        time.sleep(0.3)
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [line.split()[0] for text in said for line in text.splitlines() if " epoch 1 of 3" in line]
    assert sorted(trained) == [f"tiny/base/seed-{seed}" for seed in range(6)]
