"""Seed variance and test-set noise, and what is concluded from them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.findings import Findings
from harness.report.topics import variance
from harness.statistics.variance import SeedVariance
from tests.lab import MakeLab, rows, sections, text


def test_one_run_has_no_variance_over_seeds(findings: Findings) -> None:
    assert "no_cutout: one run. The variance over seeds needs at least two." in text(
        sections(findings, variance)
    )


@pytest.mark.parametrize(
    ("p_luck", "expected"),
    [
        (
            0.4,
            "no significant difference between seeds; std between runs: 0.12 to 1.30 points (95 % interval)",
        ),
        (
            0.001,
            "runs differ with a std of 0.12 to 1.30 points; sampling noise is about 25 % of the variance",
        ),
        (None, "every seed is right on the same images"),
    ],
)
def test_the_conclusion_names_real_differences_and_noise(p_luck: float | None, expected: str) -> None:
    found = SeedVariance(5, 10_000, 0.004, 0.002, 0.0018, 0.000012, p_luck, 0.0025, 0.0012, 0.013)
    assert variance.reading(found) == expected


def test_a_negative_estimate_is_named(lab: MakeLab) -> None:
    made = lab(seeds=[0, 1])
    for seed in (0, 1):  # each misses 20 others
        logits = made.logits(360)
        logits[20 * seed : 20 * seed + 20] = np.roll(logits[20 * seed : 20 * seed + 20], 1, axis=1)
        made.finish("base", seed, logits=logits)
    (first, *_) = rows(sections(made.findings(), variance))
    assert first[3] == "0 (estimate below 0)"
