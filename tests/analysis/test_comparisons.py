"""Variants against the baseline: which runs are compared, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparisons import VariantComparison, compare_variants, sentence
from harness.analysis.findings import analyse
from harness.analysis.numbers import p_equals, p_text
from harness.analysis.results import Results, read_results
from harness.errors import NOT_THE_RECIPE
from harness.plan import resolve_variant
from harness.report import findings
from harness.statistics.comparison import Comparison, Estimate
from harness.study_file.load import resolve

Lab = Callable[..., Any]
VARIANTS = {"no_cutout": {"augment.train": []}, "slow": {"optimizer.momentum": 0.1}}


def logits(lab: Any, right: int) -> np.ndarray:
    """Of the 360 test images the first ``right`` are classified correctly."""
    labels = lab.data.evaluation.labels
    return np.eye(10)[np.where(np.arange(360) < right, labels, (labels + 1) % 10)] * 3


def read(lab: Any) -> Results:
    return read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))


def compared(lab: Any) -> list[VariantComparison]:
    return compare_variants(read(lab))


def lab_of(made: Any, **changes: Any) -> Any:
    """The same folder under a changed study."""
    study = resolve({**made.study.model_dump(exclude_none=True), **changes})
    return SimpleNamespace(study=study, folder=made.folder)


def sentences(lab: Any) -> list[str]:
    found = compared(lab)
    return [sentence(one, len(found) > 1) for one in found]


@pytest.fixture
def place(lab: Lab) -> Any:
    """Three seeds of the baseline; one variant is clearly worse, the other hardly different."""
    made = lab(variants=VARIANTS)
    for seed, (base, worse, same) in enumerate([(330, 300, 331), (333, 304, 331), (335, 304, 336)]):
        made.finish("base", seed, logits=logits(made, base))
        made.finish("no_cutout", seed, logits=logits(made, worse))
        made.finish("slow", seed, logits=logits(made, same))
    return made


def test_a_clear_difference_is_a_verdict_and_an_unclear_one_is_none(place: Any) -> None:
    worse, same = sentences(place)
    assert worse == (
        "no_cutout is worse than base by 8.33 points (95 % interval -9.02 to -7.64; paired t, "
        "n = 3 shared seeds, p = 0.00074 after Holm)"
    )
    assert same == (
        "slow against base: cannot tell with n = 3; less than 0.01 points away (paired t, n = 3 shared "
        "seeds, p = 1.00 after Holm); the 95 % interval -1.20 to +1.20 excludes only that it is more than "
        "1.20 points worse or 1.20 points better; a difference of this size would take more than 10,000 "
        "seeds to tell"
    )


def test_what_an_interval_excludes_is_said_only_where_it_excludes_something(lab: Lab) -> None:
    made = lab(variants={"slow": {"optimizer.momentum": 0.1}})
    for seed, (base, slow) in enumerate([(330, 60), (270, 340), (210, 260)]):
        made.finish("base", seed, logits=logits(made, base))
        made.finish("slow", seed, logits=logits(made, slow))
    (line,) = sentences(made)
    assert "the 95 % interval -100.00 to +100.00 excludes nothing; a difference" in line


def test_one_comparison_needs_no_correction(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}})
    for seed, right in enumerate((330, 333, 335)):
        made.finish("base", seed, logits=logits(made, right))
        made.finish("no_cutout", seed, logits=logits(made, right - 3 + 2 * seed))
    (line,) = sentences(made)
    assert "Holm" not in line
    assert "a difference of this size would take about 34 seeds to tell" in line


def test_the_baseline_is_the_studys(lab: Lab) -> None:
    made = lab(variants=VARIANTS, baseline="slow")
    for variant in ("base", "slow"):
        for seed in (0, 1):
            made.finish(variant, seed)
    assert [(one.variant, one.baseline) for one in compared(made)] == [
        ("base", "slow"),
        ("no_cutout", "slow"),
    ]


def test_a_study_of_one_variant_compares_nothing(lab: Lab) -> None:
    made = lab()
    made.finish()
    assert compared(made) == []


def test_what_has_no_finished_run_is_not_compared(lab: Lab) -> None:
    made = lab(variants=VARIANTS)
    made.finish("no_cutout", 0)
    assert sentences(made) == [
        "no_cutout against base: not compared, the other has no finished run",
        "slow against base: not compared, it has no finished run",
    ]


def failing(lab: Lab, failed: int, failed_baseline: int, **error: Any) -> Any:
    """Four runs of each, of which the first ones failed."""
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}}, seeds=[0, 1, 2, 3])
    for variant, lost in (("lost", failed), ("base", failed_baseline)):
        for seed in range(4):
            if seed < lost:
                made.fail(variant, seed, **error)
            else:
                made.finish(variant, seed, logits=logits(made, 330 + seed))
    return made


def test_a_variant_that_only_fails_is_worse_by_fishers_exact_test(lab: Lab) -> None:
    made = failing(lab, 4, 0)
    (one,) = compared(made)
    assert one.result is not None and (one.result.test, one.result.verdict) == ("Fisher", "worse")
    assert one.result.primary.p == pytest.approx(2 / math.comb(8, 4))
    assert sentences(made) == [
        "lost is worse than base: 4 of 4 runs failed, and 0 of 4 of base (Fisher's exact test, p = 0.029)"
    ]
    assert analyse(read(made)).verdict.endswith("; lost is worse than base.")


def test_a_baseline_that_only_fails_is_the_worse_one(lab: Lab) -> None:
    assert sentences(failing(lab, 0, 4)) == [
        "lost is better than base: 0 of 4 runs failed, and 4 of 4 of base (Fisher's exact test, p = 0.029)"
    ]


def test_failures_stand_beside_accuracies_where_both_have_finished_runs(lab: Lab) -> None:
    (one,) = compared(made := failing(lab, 1, 0))
    assert one.result is not None and one.result.test == "paired t"
    assert sentences(made)[0].endswith(
        "; beside that 1 of 4 runs failed, and 0 of 4 of base (Fisher's exact test, p = 1.00)"
    )


@pytest.mark.parametrize("kind", sorted(NOT_THE_RECIPE))
def test_faults_of_the_machine_are_no_failures_of_the_recipe(lab: Lab, kind: str) -> None:
    assert sentences(failing(lab, 4, 0, kind=kind)) == [
        "lost against base: not compared, it has no finished run"
    ]


def test_an_error_of_the_network_is_one_of_the_recipe(lab: Lab) -> None:
    assert "4 of 4 runs failed" in sentences(failing(lab, 4, 0, kind="ValueError"))[0]


def test_fishers_test_is_corrected_with_the_others(lab: Lab, place: Any) -> None:
    made = lab(variants={**VARIANTS, "lost": {"optimizer.momentum": 0.99}})  # in the same folder
    for seed in range(3):
        made.fail("lost", seed)
    *_, lost = compared(made)
    assert lost.result is not None and lost.result.verdict == "cannot tell"
    assert lost.result.p_holm == pytest.approx(2 * (lost.result.primary.p or 0))  # the second of three


def test_single_runs_are_two_networks_and_no_verdict(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}})
    made.finish("base", 0, logits=logits(made, 330))
    made.finish("base", 1, logits=logits(made, 340))
    made.finish("no_cutout", 1, logits=logits(made, 300))
    (one,) = compared(made)
    # against the run of the same seed, of which 40 images more are right and none is wrong
    assert one.result is not None and one.result.primary.difference == pytest.approx(-40 / 360)
    assert (one.result.test, one.result.verdict) == ("McNemar", "cannot tell")
    assert sentence(one, several=False) == (
        "no_cutout against base: cannot tell with n = 1; on these images its network is 11.11 points worse "
        "(McNemar, p < 0.0001), which says nothing of other seeds"
    )


def test_runs_on_different_images_are_not_compared(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}})
    for seed in (0, 1):
        made.finish("base", seed)
        made.finish("no_cutout", seed, logits=logits(made, 300)[:100])
    assert sentences(made) == [
        "no_cutout against base: not compared, they were not evaluated on the same images"
    ]


def test_a_hold_out_is_not_compared_with_a_test_split(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}})
    for seed in (0, 1):
        made.finish("base", seed)
        made.finish("no_cutout", seed, provenance={"data": {"evaluated_on": "holdout"}})
    assert "not evaluated on the same images" in sentences(made)[0]


def test_the_same_difference_with_every_seed_is_not_judged(lab: Lab) -> None:
    made = lab(variants={"no_cutout": {"augment.train": []}})
    for seed, right in enumerate((330, 333, 335)):
        made.finish("base", seed, logits=logits(made, right))
        made.finish("no_cutout", seed, logits=logits(made, right - 18))
    assert sentences(made) == [
        "no_cutout against base: cannot tell with n = 3; 5.00 points worse with every seed: there is no "
        "spread to judge it by"
    ]


def test_a_difference_that_no_study_could_tell_says_so() -> None:
    found = Comparison("paired t", 5, 5, Estimate(1e-7, -0.01, 0.01, 0.99, 1e-5), p_holm=0.99)
    assert "would take more than 10,000 seeds" in sentence(VariantComparison("a", "b", found), several=False)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0123, "0.012"), (0.5, "0.50"), (0.0499, "0.05"), (0.00012, "0.00012"), (1e-9, "< 0.0001")],
)
def test_p_values_have_two_digits_and_are_never_zero(p: float, text: str) -> None:
    assert p_text(p) == text


def test_a_p_is_written_as_an_equation() -> None:
    assert (p_equals(0.04), p_equals(1e-9)) == ("p = 0.04", "p < 0.0001")


def test_all_pairs_are_compared_on_request_and_corrected_together(place: Any) -> None:
    against_base = compared(place)
    everything = lab_of(place, comparisons="all")
    found = compared(everything)
    assert [(one.variant, one.baseline) for one in found] == [
        ("no_cutout", "base"),
        ("slow", "base"),
        ("slow", "no_cutout"),
    ]
    for one, before in zip(found, against_base, strict=False):
        assert one.result and before.result and one.result.primary == before.result.primary
    first, _, last = (one.result for one in found)
    assert first and last and against_base[0].result
    assert (first.p_holm or 0) > (against_base[0].result.p_holm or 0)  # three comparisons instead of two
    assert last.verdict == "better"
    (rows,) = (
        block.rows
        for block in findings.comparisons(read(everything), compared(everything))
        if block.kind == "table"
    )
    assert [row[0] for row in rows] == [
        "no_cutout against base",
        "slow against base",
        "slow against no_cutout",
    ]


def test_the_request_for_all_pairs_changes_no_run(place: Any) -> None:
    data = place.data
    one, other = (
        resolve_variant(study, "base", data, device="cpu")
        for study in (place.study, lab_of(place, comparisons="all").study)
    )
    assert one.digest == other.digest
