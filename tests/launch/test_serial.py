"""The serial launcher beside other processes."""

from __future__ import annotations

import time

from tests.launch.conftest import Start, each_trained_once


def test_two_processes_share_a_study_without_doing_anything_twice(start: Start) -> None:
    both = []
    for _ in range(2):
        both.append(start("--launcher", "serial", "--seeds", "0-5"))
        time.sleep(0.3)
    each_trained_once(both, 6)
