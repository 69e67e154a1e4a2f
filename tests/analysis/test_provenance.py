"""Where the runs come from, and whether they shared a device."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.provenance import AT_ONCE, origins, times_note
from tests.lab import MakeLab


def test_runs_of_one_origin_give_no_warning_and_one_value_a_property(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0)
    place.finish("base", 1)
    assert place.findings().warnings == []
    found = dict(origins(place.results()))
    assert (found["precision"], found["threads"], found["code"]) == ("float32", "1", "0123456789ab")
    assert "bench" not in found.values()


@pytest.mark.parametrize(
    ("at_once", "fact", "words"),
    [
        ([[1, 1], [1, 1]], "1", None),
        ([[3, 3], [3, 3]], "3", "3 runs shared the device at once"),
        ([[1, 2], [1, 1]], "1 (1 run); 1 to 2 (1 run)", "1 to 2 runs shared the device at once"),
        (
            [[2, 2], None],
            "2 (1 run); not recorded (1 run)",
            "the number of runs at once on the device was not recorded",
        ),
        ([[2, 2], [3, 2]], "2 (1 run); not recorded (1 run)", "was not recorded"),
        ([[2, 2], ["a", True]], "2 (1 run); not recorded (1 run)", "was not recorded"),
    ],
)
def test_seconds_of_runs_that_shared_a_device_say_so(
    lab: MakeLab, at_once: list[Any], fact: str, words: str | None
) -> None:
    place = lab()
    for seed, counts in enumerate(at_once):
        place.finish("base", seed, timings={"runs_at_once": counts})
    results = place.results()
    assert dict(origins(results))[AT_ONCE] == fact
    note = times_note(results)
    assert note is None if words is None else note is not None and words in note
