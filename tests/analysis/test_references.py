"""Published numbers against variants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.analysis.references import claims, consistency
from harness.study_file.targets import Reference
from tests.lab import MakeLab

PUBLISHED = {"paper": {"test_accuracy": 0.925}, "outlier": {"test_accuracy": 0.5, "runs": 3}}


def test_every_reference_is_held_against_every_variant_with_a_run(lab: MakeLab) -> None:
    place = lab(references=PUBLISHED, variants={"no_cutout": {"augment.train": []}})
    for seed, right in enumerate((330, 333, 335)):
        place.finish("base", seed, logits=place.logits(right))
    paper, outlier = place.findings().references
    assert [(one.name, one.variant) for one in (paper, outlier)] == [("paper", "base"), ("outlier", "base")]
    assert (paper.plausible, outlier.plausible) == (True, False)
    assert outlier.standing.percentile is None  # of a mean of three
    assert paper.standing.percentile == pytest.approx(1.5 / 3)  # one run below, one equal


def test_a_median_and_a_share_are_each_judged_against_the_variant_they_are_of(lab: MakeLab) -> None:
    paper = {"test_accuracy": 0.93, "statistic": "median", "at_least": 0.925, "count": 35, "runs": 50}
    place = lab(
        references={"paper": {**paper, "variant": "plain"}}, variants={"plain": {"augment.train": []}}
    )
    place.finish("base", 0)
    for seed, right in enumerate((330, 333, 337)):
        place.finish("plain", seed, logits=place.logits(right))
    place.fail("plain", 3)
    median, share = place.findings().references
    assert [(one.variant, one.claim.statistic) for one in (median, share)] == [
        ("plain", "median"),
        ("plain", "share"),
    ]
    assert median.standing.measured == 333 / 360  # the mean is another
    assert median.plausible is True
    # the failed run has not reached it; an accuracy equal to the threshold has
    assert (share.standing.measured, share.standing.n) == (2 / 4, 4)
    assert share.standing.published == 0.7
    assert share.standing.difference == pytest.approx(0.2)


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


def test_on_a_hold_out_only_the_difference_is_shown(lab: MakeLab) -> None:
    place = lab(references=PUBLISHED)
    for seed, right in enumerate((330, 333, 335)):
        place.finish(
            "base", seed, logits=place.logits(right), provenance={"data": {"evaluated_on": "holdout"}}
        )
    standing = place.findings().references[0].standing
    assert standing.difference == pytest.approx(0.925 - 998 / 3 / 360)
    assert (standing.low, standing.p, standing.percentile) == (None, None, None)


def test_what_is_excluded_is_decided_after_holm(lab: MakeLab) -> None:
    values = np.array([330, 333, 335]) / 360
    error = np.std(values, ddof=1) * np.sqrt(1 + 1 / 3)
    # outside of the interval of one comparison, and inside where it is one of three
    number = float(np.mean(values) + stats.t.isf(0.04 / 2, 2) * error)
    references = {name: {"test_accuracy": round(number, 12)} for name in ("a", "b")}
    place = lab(references={**references, "far": {"test_accuracy": 0.1}})
    for seed, right in enumerate((330, 333, 335)):
        place.finish("base", seed, logits=place.logits(right))
    a, b, far = place.findings().references
    assert a.standing.p == pytest.approx(0.04, rel=1e-6) and a.standing.plausible is False
    assert (a.p_holm, b.p_holm) == (pytest.approx(0.08, rel=1e-6),) * 2
    assert far.standing.p is not None and far.p_holm == pytest.approx(3 * far.standing.p)
    assert a.standing.low is not None and a.standing.high is not None
    width = f"{100 * (a.standing.high - a.standing.low):.1f}"
    assert consistency(a) == f"yes after Holm (interval {width} points wide)"
    assert (consistency(far), a.plausible, far.plausible) == ("no", True, False)
    alone = place.under(references={"a": references["a"]}).findings().references
    assert [consistency(one) for one in alone] == ["no"]
