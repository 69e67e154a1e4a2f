"""Which part of the spread is luck: and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.findings import Findings
from harness.report.topics import variance
from harness.statistics.variance import SeedVariance
from tests.lab import MakeLab, rows, sections, text


def test_of_one_run_no_part_of_the_spread_is_called_luck(findings: Findings) -> None:
    assert "no_cutout: one run, of which nobody can say" in text(sections(findings, variance))


@pytest.mark.parametrize(
    ("p_luck", "expected"),
    [
        (0.4, "runs are not shown to differ: their own std may be 0.12 to 1.30 points"),
        (
            0.001,
            "the runs differ genuinely, with a std of 0.12 to 1.30 points; "
            "luck on these images is about 25 % of the variance",
        ),
        (None, "every seed is right on the same images"),
    ],
)
def test_which_part_is_luck_is_said(p_luck: float | None, expected: str) -> None:
    found = SeedVariance(5, 10_000, 0.004, 0.002, 0.0018, 0.000012, p_luck, 0.0025, 0.0012, 0.013)
    assert variance.reading(found) == expected


def test_a_negative_estimate_is_named(lab: MakeLab) -> None:
    made = lab(seeds=[0, 1])
    for seed in (0, 1):  # each misses 20 others
        logits = made.logits(360)
        logits[20 * seed : 20 * seed + 20] = np.roll(logits[20 * seed : 20 * seed + 20], 1, axis=1)
        made.finish("base", seed, logits=logits)
    (first, *_) = rows(sections(made.findings(), variance))
    assert first[5] == "0 (estimate below 0)"
