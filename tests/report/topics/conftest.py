"""A study of which every topic has something to say."""

from __future__ import annotations

import pytest

from harness.analysis.findings import Findings
from tests.lab import Lab, MakeLab


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Three seeds of one variant, one of another, a failed run, a range test and a published number."""
    made = Lab(
        tmp_path_factory.mktemp("topics"),
        {
            "target": {"test_accuracy": 0.01},  # reached on any machine, however its sums are rounded
            "variants": {"no_cutout": {"augment.train": []}},
            "references": {"paper": {"test_accuracy": 0.9, "source": "a paper"}},
        },
    )
    for seed in range(3):
        made.finish("base", seed)
    made.finish("no_cutout", 1)
    made.fail("no_cutout", 2)
    made.sweep()
    return made.findings()


@pytest.fixture
def nothing(lab: MakeLab) -> Findings:
    """A study of which no run is there."""
    return lab().findings()
