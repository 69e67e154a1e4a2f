"""Published numbers against variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.references import ReferenceComparison, claims, compare_references
from harness.analysis.results import read_results
from harness.analysis.summary import summarise
from harness.study_file.config import Reference

Lab = Callable[..., Any]
PUBLISHED = {"paper": {"test_accuracy": 0.925}, "outlier": {"test_accuracy": 0.5, "runs": 3}}


def held(lab: Any) -> list[ReferenceComparison]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return compare_references(lab.study, summarise(results))


def logits(lab: Any, right: int) -> np.ndarray:
    labels = lab.data.evaluation.labels
    return np.eye(10)[np.where(np.arange(360) < right, labels, (labels + 1) % 10)] * 3


def test_every_reference_is_held_against_every_variant_with_a_run(lab: Lab) -> None:
    place = lab(references=PUBLISHED, variants={"no_cutout": {"augment.train": []}})
    for seed, right in enumerate((330, 333, 335)):
        place.finish("base", seed, logits=logits(place, right))
    paper, outlier = held(place)
    assert [(one.name, one.variant) for one in (paper, outlier)] == [("paper", "base"), ("outlier", "base")]
    assert (paper.standing.plausible, outlier.standing.plausible) == (True, False)
    assert outlier.standing.percentile == 0.0
    assert paper.standing.percentile == pytest.approx(1.5 / 3)  # one run below, one equal


def test_a_median_and_a_share_are_each_judged_against_the_variant_they_are_of(lab: Lab) -> None:
    paper = {"test_accuracy": 0.93, "statistic": "median", "at_least": 0.925, "count": 35, "runs": 50}
    place = lab(
        references={"paper": {**paper, "variant": "plain"}}, variants={"plain": {"augment.train": []}}
    )
    place.finish("base", 0)
    for seed, right in enumerate((330, 333, 337)):
        place.finish("plain", seed, logits=logits(place, right))
    place.fail("plain", 3)
    median, share = held(place)
    assert [(one.variant, one.claim.statistic) for one in (median, share)] == [
        ("plain", "median"),
        ("plain", "share"),
    ]
    assert median.standing.measured == 333 / 360  # the mean is another
    assert median.standing.plausible is True
    # the failed run has not reached it; an accuracy equal to the threshold has
    assert (share.standing.measured, share.standing.n) == (2 / 4, 4)
    assert (share.standing.published, share.standing.difference) == (0.7, pytest.approx(0.2))


def test_what_was_published_in_words() -> None:
    both = Reference(test_accuracy=0.9408, statistic="median", at_least=0.94, count=35, runs=50)
    assert [claim.text for claim in claims(both)] == [
        "94.08 %, median of 50 runs",
        "35 of 50 runs at 94 % or more",
    ]
    assert [claim.text for claim in claims(Reference(test_accuracy=0.9318))] == ["93.18 %, 1 run"]
    assert [claim.text for claim in claims(Reference(at_least=0.9, count=1, runs=1))] == [
        "1 of 1 run at 90 % or more"
    ]


def test_on_a_hold_out_only_the_difference_is_shown(lab: Lab) -> None:
    place = lab(references=PUBLISHED)
    for seed, right in enumerate((330, 333, 335)):
        place.finish(
            "base", seed, logits=logits(place, right), provenance={"data": {"evaluated_on": "holdout"}}
        )
    standing = held(place)[0].standing
    assert standing.difference == pytest.approx(0.925 - 998 / 3 / 360)
    assert (standing.low, standing.plausible, standing.percentile) == (None, None, None)
