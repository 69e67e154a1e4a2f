"""What is mixed or doubtful in a group of runs is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.store.folders import WEIGHTS
from tests.lab import MakeLab


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 2}, "thread counts: 1 (1 run); 2 (1 run)"),
        ({"precision": "bfloat16"}, "precisions: bfloat16 (1 run); float32 (1 run)"),
        ({"device": "cuda"}, "devices: cpu (1 run); cuda (1 run)"),
        ({"hardware": {"processor": "another"}}, "processors: a processor (1 run); another (1 run)"),
        (
            {"hardware": {"processor": "a processor", "accelerator": {"name": "GPU", "memory_bytes": 2**34}}},
            "accelerators: GPU, 16.0 GiB (1 run); not recorded (1 run)",
        ),
        ({"git": {"commit": "f" * 40, "dirty": True}}, "ffffffffffff with local changes (1 run)"),
        (
            {"versions": {"python": "3.11.2", "torch": "2.14.0"}},
            "torch versions: 2.13.0 (1 run); 2.14.0 (1 run)",
        ),
    ],
)
def test_a_mixture_inside_a_variant_is_said(lab: MakeLab, change: dict[str, Any], words: str) -> None:
    place = lab()
    place.finish("base", 0)
    place.finish("base", 1, provenance=change)
    (line,) = place.findings().warnings
    assert line.startswith("The runs of base mix different ") and words in line


def test_what_a_rehearsal_doubted_is_on_the_page(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, doubts=["an image's logits depend on its batch"])
    assert place.findings().warnings == ["base: an image's logits depend on its batch."]


def test_runs_evaluated_in_another_precision_are_not_mixed_in_silence(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    place.finish("base", 0)
    place.finish("base", 1, provenance={"evaluated_in": "float32"})
    expected = (
        "The runs of base mix different precisions of evaluation: float32 (1 run); not recorded (1 run)."
    )
    assert place.findings().warnings == [expected]


def test_ties_are_counted_and_said(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0)
    assert place.findings().warnings == []
    logits = np.eye(10)[np.arange(8)]
    logits[2, 7] = logits[5, 1] = 1
    place.finish("base", 1, logits=logits)
    assert place.findings().warnings == [
        "Ties: in 1 run of 2 up to 2 images have several classes with the largest logit; the first of them "
        "counts."
    ]


def test_weights_that_are_gone_are_said_in_one_line(lab: MakeLab) -> None:
    place = lab(variants={"other": {"loss.l1": 1}, "third": {"loss.l1": 2}, "failed": {"loss.l1": 3}})
    for variant in ("base", "other", "third"):
        (place.finish(variant) / WEIGHTS).unlink()
    place.finish("third", 1)
    place.fail("failed")
    assert place.findings().warnings == [f"No Grad-CAM of base, other: no run has its weights ({WEIGHTS})."]


def test_a_difference_between_variants_is_said(lab: MakeLab) -> None:
    place = lab(variants={"other": {"precision": "bfloat16"}})
    place.finish("base", 0)
    place.finish("other", 0, provenance={"precision": "bfloat16"})
    expected = "The variants were run with different precisions: base: float32; other: bfloat16."
    assert place.findings().warnings == [expected]


def test_runs_of_different_configurations_in_one_variant_are_said(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0)
    place.finish("base", 1, digest="another")
    assert place.findings().warnings[0].startswith("base: its runs come from 2 different configurations")


def test_doubtful_and_damaged_range_tests_are_said(lab: MakeLab) -> None:
    place = lab(variants={"other": {}})
    place.sweep("base", warnings=["the choice lies at the edge of the sweep"])
    place.sweep("other")
    place.folder.range_test_csv("other").write_text("damaged")
    assert place.findings().warnings == [
        "base: range test: the choice lies at the edge of the sweep",
        "other: range test: damaged: other.csv (its checksum does not match)",
    ]
