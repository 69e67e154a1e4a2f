"""Variants against the baseline: which runs are compared, and what is said of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from harness.analysis.comparisons import VariantComparison, compare_variants
from harness.analysis.sentences import further_sentences, sentence
from harness.errors import NOT_THE_RECIPE
from harness.plan import resolve_variant
from tests.lab import Lab, MakeLab

ONE: dict[str, dict[str, Any]] = {"no_cutout": {"augment.train": []}}
VARIANTS = {**ONE, "slow": {"optimizer.momentum": 0.1}}
SPLIT = {"data": {"evaluated_on": "holdout"}}


def compared(lab: Lab) -> list[VariantComparison]:
    return compare_variants(lab.results())


def sentences(lab: Lab) -> list[str]:
    comparisons = compared(lab)
    return ["; ".join([sentence(one, len(comparisons) > 1), *further_sentences(one)]) for one in comparisons]


def of_counts(made: Lab, **right: tuple[int, ...]) -> Lab:
    """Finish runs of the variants, of so many right images each."""
    for variant, counts in right.items():
        for seed, count in enumerate(counts):
            made.finish(variant, seed, logits=made.logits(count))
    return made


@pytest.fixture
def place(lab: MakeLab) -> Lab:
    """Three seeds of the baseline; one variant is clearly worse, the other hardly different."""
    counts = {"base": (330, 333, 335), "no_cutout": (300, 304, 304), "slow": (331, 331, 336)}
    return of_counts(lab(variants=VARIANTS), **counts)


def test_a_clear_difference_is_a_verdict_and_an_unclear_one_is_none(place: Lab) -> None:
    assert sentences(place) == [
        "no_cutout is significantly worse than base by 8.33 points (95 % interval -9.02 to -7.64 points; "
        "paired t, n = 3 shared seeds, p = 0.00074 after Holm); no_cutout beats base in 0 of 3 seeds "
        "(P(no_cutout > base) 0 %, interval 0 to 71 %; 75 % or more counts as meaningful)",
        "slow against base: no significant difference (n = 3): the means are equal "
        "(95 % interval -1.20 to +1.20 points; paired t, n = 3 shared seeds, p = 1.00 after Holm); n = 3 "
        "detects a true difference of 4.71 points or more with 80 % power; slow beats base in 2 of 3 seeds "
        "(P(slow > base) 67 %, interval 9 to 99 %; 75 % or more counts as meaningful)",
    ]


@pytest.mark.parametrize(
    ("base", "other", "words"),
    [
        (
            (330, 270, 210),
            (60, 340, 260),
            "n = 3 is too few to detect any true difference with 80 % power",
        ),
        (
            (330, 333, 335),
            (327, 332, 336),
            "; n = 3 detects a true difference of 3.",
        ),
        (
            (330, 333, 335),
            (312, 315, 317),
            "no_cutout against base: no test (n = 3): 5.00 points worse with every seed, so there is no",
        ),
    ],
    ids=["nothing excluded", "no correction", "no spread"],
)
def test_what_cannot_be_told_says_why(
    lab: MakeLab, base: tuple[int, ...], other: tuple[int, ...], words: str
) -> None:
    (line,) = sentences(of_counts(lab(variants=ONE), base=base, no_cutout=other))
    assert words in line and "Holm" not in line


def test_the_baseline_is_the_studys(lab: MakeLab) -> None:
    made = of_counts(lab(variants=VARIANTS, baseline="slow"), base=(9, 9), slow=(9, 9))
    pairs = [(one.variant, one.baseline) for one in compared(made)]
    assert pairs == [("base", "slow"), ("no_cutout", "slow")]


def test_a_study_of_one_variant_compares_nothing(lab: MakeLab) -> None:
    assert compared(of_counts(lab(), base=(9,))) == []


def test_what_has_no_finished_run_is_not_compared(lab: MakeLab) -> None:
    assert sentences(of_counts(lab(variants=VARIANTS), no_cutout=(9,))) == [
        "no_cutout against base: not compared, the other has no finished run",
        "slow against base: not compared, it has no finished run",
    ]


def failing(lab: MakeLab, failed: int, failed_baseline: int, **error: Any) -> Lab:
    """Four runs of each, of which the first ones failed."""
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}}, seeds=[0, 1, 2, 3])
    for variant, lost in (("lost", failed), ("base", failed_baseline)):
        for seed in range(4):
            if seed < lost:
                made.fail(variant, seed, **error)
            else:
                made.finish(variant, seed, logits=made.logits(330 + seed))
    return made


def test_a_variant_that_only_fails_is_worse_by_fishers_exact_test(lab: MakeLab) -> None:
    made = failing(lab, 4, 0)
    (one,) = compared(made)
    assert one.result is not None and (one.test, one.verdict) == ("Fisher", "worse")
    assert one.result.primary.p == pytest.approx(2 / math.comb(8, 4))
    assert sentences(made) == [
        "lost is significantly worse than base: 4 of 4 runs failed, and 0 of 4 of base (Fisher's exact test, "
        "p = 0.029)"
    ]
    assert made.findings().verdict.endswith("; lost fails more often than base (4 of 4 runs against 0 of 4).")


@pytest.mark.parametrize(
    ("failed", "of_base", "kind", "words"),
    [
        (0, 4, "diverged", "lost is significantly better than base: 0 of 4 runs failed, and 4 of 4 of base"),
        (
            1,
            0,
            "diverged",
            "; failed runs: 1 of 4 runs failed, and 0 of 4 of base, no significant difference (Fisher",
        ),
        (4, 0, "ValueError", "4 of 4 runs failed"),
        *((4, 0, kind, "not compared, it has no finished run") for kind in sorted(NOT_THE_RECIPE)),
    ],
)
def test_failures_of_the_recipe_are_compared_and_faults_of_the_machine_are_not(
    lab: MakeLab, failed: int, of_base: int, kind: str, words: str
) -> None:
    assert words in sentences(failing(lab, failed, of_base, kind=kind))[0]


def test_tests_of_failures_are_corrected_together_and_not_with_those_of_accuracies(
    lab: MakeLab, place: Lab
) -> None:
    before = [one.result.p_holm for one in compared(place) if one.result]
    lost = {name: {"optimizer.momentum": 0.99} for name in ("lost", "gone")}
    made = lab(variants={**VARIANTS, **lost})  # in the same folder
    for seed in range(3):
        made.fail("lost", seed)
        made.fail("gone", seed)
    made.fail("gone", 3)
    *of_accuracies, lost_one, gone = compared(made)
    assert [one.result.p_holm for one in of_accuracies if one.result] == before
    assert lost_one.result and lost_one.failures and gone.failures
    # 3 of 3 against 0 of 3, and 4 of 4: the smaller p is doubled
    assert gone.failures.p_holm == pytest.approx(2 / math.comb(7, 3))
    assert lost_one.result.p_holm == lost_one.failures.p_holm == pytest.approx(2 / math.comb(6, 3))
    assert (lost_one.failures.verdict, gone.failures.verdict) == ("not shown", "not shown")
    said = made.findings().verdict
    assert "lost failed in 3 of 3 runs and base in 0 of 3 (no significant difference)" in said


def test_a_variant_that_fails_more_often_is_said_to_whatever_its_accuracies_are(lab: MakeLab) -> None:
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}}, seeds=list(range(10)))
    for seed in range(10):
        made.finish("base", seed, logits=made.logits(330 + seed % 3))
        if seed < 6:
            made.fail("lost", seed)
        else:
            made.finish("lost", seed, logits=made.logits(331 + seed % 2))
    (one,) = compared(made)
    assert one.failures is not None and (one.verdict, one.test) == ("cannot tell", "paired t")
    assert one.failures.p_holm == pytest.approx(fisher_exact([[6, 4], [0, 10]]).pvalue)
    assert "failed runs: 6 of 10 runs failed, and 0 of 10 of base, it fails more often" in sentences(made)[0]
    assert made.findings().verdict.endswith(
        "lost fails more often than base (6 of 10 runs against 0 of 10), and its finished runs do not "
        "differ significantly."
    )


def test_single_runs_are_two_networks_and_no_verdict(lab: MakeLab) -> None:
    made = of_counts(lab(variants=ONE), base=(330, 340))
    made.finish("no_cutout", 1, logits=made.logits(300))
    # against the run of the same seed, of which 40 images more are right and none is wrong
    assert sentences(made) == [
        "no_cutout against base: not tested over seeds (n = 1): 11.11 points worse on these images "
        "(McNemar's test, one run each, p < 0.0001); other seeds may differ"
    ]


@pytest.mark.parametrize("change", [{"logits": 100}, {"provenance": SPLIT}], ids=["images", "split"])
def test_runs_on_different_images_are_not_compared(lab: MakeLab, change: dict[str, Any]) -> None:
    made = of_counts(lab(variants=ONE), base=(330, 333))
    if "logits" in change:
        change = {"logits": made.logits(90, images=100)}
    for seed in (0, 1):
        made.finish("no_cutout", seed, **change)
    assert sentences(made) == [
        "no_cutout against base: not compared, they were not evaluated on the same images"
    ]


SPREAD = (0, 3, -2, 4, 1, -3, 2, 0, -1, 2)  # images


def flagging(lab: MakeLab, **study: Any) -> Lab:
    """Ten seeds of a baseline, of a variant a little better, and of two that have a bad seed."""
    names = {name: {"optimizer.momentum": 0.1} for name in ("wide", "bad", "poor")}
    right = {
        "base": [300 + x for x in SPREAD],
        "wide": [302 + x + y for x, y in zip(SPREAD, (1, -1, 0, 2, -2, 1, -1, 1, 0, 2), strict=True)],
        "bad": [300 + x - 60 * (at == 3) for at, x in enumerate(SPREAD[::-1])],
        "poor": [300 - x - 70 * (at == 8) for at, x in enumerate(SPREAD)],
    }
    return of_counts(
        lab(variants=names, seeds=list(range(10)), **study), **{k: tuple(v) for k, v in right.items()}
    )


def test_a_seed_that_lies_apart_is_flagged_and_widens_the_spread_of_every_verdict(lab: MakeLab) -> None:
    made = flagging(lab, margin=0.002)
    wide, bad, poor = compared(made)
    assert (wide.flagged, bad.flagged, poor.flagged, bad.flagged_baseline) == (None, 3, 8, None)
    assert wide.result and wide.result.p_holm and wide.result.p_common and wide.result.primary.error
    # by itself it would be better; with the median of the three spreads it is not shown to be
    assert wide.result.p_holm < 0.05 < wide.result.p_common and wide.verdict == "cannot tell"
    spreads = [one.result.spread for one in (wide, bad, poor) if one.result and one.result.spread]
    t = wide.result.primary.difference / (np.median(spreads) / math.sqrt(10))
    smallest = 2 * stats.t.sf(abs(t), 9)
    p_values = [smallest, *(one.result.primary.p or 1.0 for one in (bad, poor) if one.result)]
    assert wide.result.p_common == pytest.approx(multipletests(p_values, method="holm")[1][0])
    assert "a seed of the study is an outlier" in sentences(made)[0]
    without = bad.without
    assert (
        without is not None and without.n == 9 and "without the outlier seed 3 of bad:" in sentences(made)[1]
    )
    # the ranking has the same rule
    assert {one.variant for one in made.findings().ranking if one.possible} >= {"base", "wide"}


def test_the_margin_is_judged_with_the_studys_own_number(lab: MakeLab) -> None:
    counts = {"base": (330, 333, 335, 331, 336), "no_cutout": (300, 304, 304, 302, 305)}
    made = lab(variants=VARIANTS, margin=0.02, seeds=list(range(5)))
    of_counts(made, **counts, slow=(330, 334, 335, 330, 336))
    worse, alike = compared(made)
    assert worse.margin and alike.margin
    assert (worse.margin.verdict, alike.margin.verdict) == ("worse by at least the margin", "equivalent")
    assert "; worse by at least 2 points (p " in sentences(made)[0]
    assert "; equivalent within 2 points (p " in sentences(made)[1]
    without = lab(variants=VARIANTS, seeds=list(range(5)))  # the same folder
    assert all(one.margin is None for one in compared(without))


def test_all_pairs_are_compared_on_request_and_corrected_together(place: Lab) -> None:
    against_base, everything = compared(place), compared(place.under(comparisons="all"))
    pairs = [(one.variant, one.baseline) for one in everything]
    assert pairs == [("no_cutout", "base"), ("slow", "base"), ("slow", "no_cutout")]
    for one, before in zip(everything, against_base, strict=False):
        assert one.result and before.result and one.result.primary == before.result.primary
    of_three, of_two = everything[0].result, against_base[0].result
    assert of_three and of_two and (of_three.p_holm or 0) > (of_two.p_holm or 0)  # three instead of two
    assert everything[2].verdict == "better"


def test_the_request_for_all_pairs_changes_no_run(place: Lab) -> None:
    digests = {
        resolve_variant(study, "base", place.data, device="cpu").digest
        for study in (place.study, place.under(comparisons="all").study)
    }
    assert len(digests) == 1


def test_the_margin_changes_no_run(place: Lab) -> None:
    digests = {
        resolve_variant(study, "base", place.data, device="cpu").digest
        for study in (place.study, place.under(margin=0.002).study)
    }
    assert len(digests) == 1
