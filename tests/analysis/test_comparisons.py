"""Variants against the baseline: which runs are compared, and what is said of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.analysis.comparisons import VariantComparison, compare_variants, sentence
from harness.errors import NOT_THE_RECIPE
from harness.plan import resolve_variant
from harness.statistics.comparison import Comparison, Estimate
from tests.lab import Lab, MakeLab

ONE: dict[str, dict[str, Any]] = {"no_cutout": {"augment.train": []}}
VARIANTS = {**ONE, "slow": {"optimizer.momentum": 0.1}}
SPLIT = {"data": {"evaluated_on": "holdout"}}


def compared(lab: Lab) -> list[VariantComparison]:
    return compare_variants(lab.results())


def sentences(lab: Lab) -> list[str]:
    comparisons = compared(lab)
    return [sentence(one, len(comparisons) > 1) for one in comparisons]


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
        "no_cutout is worse than base by 8.33 points (95 % interval -9.02 to -7.64; paired t, "
        "n = 3 shared seeds, p = 0.00074 after Holm)",
        "slow against base: cannot tell with n = 3; less than 0.01 points away (paired t, n = 3 shared "
        "seeds, p = 1.00 after Holm); the 95 % interval -1.20 to +1.20 excludes only that it is more than "
        "1.20 points worse or 1.20 points better; a difference of this size would take more than 10,000 "
        "seeds to tell",
    ]


@pytest.mark.parametrize(
    ("base", "other", "words"),
    [
        ((330, 270, 210), (60, 340, 260), "interval -100.00 to +100.00 excludes nothing; a difference"),
        ((330, 333, 335), (327, 332, 336), "a difference of this size would take about 34 seeds to tell"),
        (
            (330, 333, 335),
            (312, 315, 317),
            "no_cutout against base: cannot tell with n = 3; 5.00 points worse with every seed: there is no "
            "spread to judge it by",
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
        "lost is worse than base: 4 of 4 runs failed, and 0 of 4 of base (Fisher's exact test, p = 0.029)"
    ]
    assert made.findings().verdict.endswith("; lost is worse than base.")


@pytest.mark.parametrize(
    ("failed", "of_base", "kind", "words"),
    [
        (0, 4, "diverged", "lost is better than base: 0 of 4 runs failed, and 4 of 4 of base (Fisher's"),
        (1, 0, "diverged", "; beside that 1 of 4 runs failed, and 0 of 4 of base (Fisher's exact test, p ="),
        (4, 0, "ValueError", "4 of 4 runs failed"),
        *((4, 0, kind, "not compared, it has no finished run") for kind in sorted(NOT_THE_RECIPE)),
    ],
)
def test_failures_of_the_recipe_are_compared_and_faults_of_the_machine_are_not(
    lab: MakeLab, failed: int, of_base: int, kind: str, words: str
) -> None:
    assert words in sentences(failing(lab, failed, of_base, kind=kind))[0]


def test_fishers_test_is_corrected_with_the_others(lab: MakeLab, place: Lab) -> None:
    made = lab(variants={**VARIANTS, "lost": {"optimizer.momentum": 0.99}})  # in the same folder
    for seed in range(3):
        made.fail("lost", seed)
    *_, lost = compared(made)
    assert lost.result is not None and lost.verdict == "cannot tell"
    assert lost.result.p_holm == pytest.approx(2 * (lost.result.primary.p or 0))  # the second of three


def test_single_runs_are_two_networks_and_no_verdict(lab: MakeLab) -> None:
    made = of_counts(lab(variants=ONE), base=(330, 340))
    made.finish("no_cutout", 1, logits=made.logits(300))
    # against the run of the same seed, of which 40 images more are right and none is wrong
    assert sentences(made) == [
        "no_cutout against base: cannot tell with n = 1; on these images its network is 11.11 points worse "
        "(McNemar, p < 0.0001), which says nothing of other seeds"
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


def test_a_difference_that_no_study_could_tell_says_so() -> None:
    result = Comparison("paired t", 5, 5, Estimate(1e-7, -0.01, 0.01, 0.99, 1e-5), p_holm=0.99)
    assert "would take more than 10,000 seeds" in sentence(VariantComparison("a", "b", result), several=False)


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
