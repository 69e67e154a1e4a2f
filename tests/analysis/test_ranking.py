"""The ranking: as the comparisons say, and never a variant without a finished run among the best."""

from __future__ import annotations

from harness.analysis.ranking import sentence
from harness.metrics import METRICS
from tests.lab import MakeLab

VARIANTS = {"lost": {"optimizer.momentum": 0.99}, "slow": {"optimizer.momentum": 0.1}}


def test_a_variant_without_a_finished_run_stands_last_and_cannot_be_the_best(lab: MakeLab) -> None:
    made = lab(variants=VARIANTS)
    for seed in range(3):
        made.finish("base", seed, logits=made.logits(330 + seed))
        made.finish("slow", seed, logits=made.logits(329 + 2 * seed))
        made.fail("lost", seed)
    ranking = made.findings().ranking
    assert [(one.rank, one.variant, one.possible) for one in ranking] == [
        (1, "base", True),
        (1, "slow", True),
        (3, "lost", False),
    ]
    assert sentence(ranking, METRICS["accuracy"]) == (
        "base and slow share the highest mean of 3 variants; no significant difference (n = 3); "
        "no finished run: lost (3 of 3 failed)"
    )


def test_whether_a_variant_that_the_machine_failed_is_the_best_is_unknown(lab: MakeLab) -> None:
    made = lab(variants=VARIANTS)
    for seed in range(3):
        made.finish("base", seed, logits=made.logits(330 + seed))
        made.fail("lost", seed, kind="disk_full")
        made.fail("slow", seed)
    ranking = made.findings().ranking
    assert [one.possible for one in ranking] == [True, None, False]
    assert sentence(ranking, METRICS["accuracy"]) == (
        "only base of 3 variants has a finished run; no finished run: lost (3 of 3 failed) "
        "and slow (3 of 3 failed)"
    )


def test_a_variant_that_is_judged_worse_is_not_said_to_be_possibly_the_best(lab: MakeLab) -> None:
    """Seeds that lie far apart and a difference that hardly varies: only the paired test can tell."""
    made = lab(variants=VARIANTS)
    for seed, right in enumerate((300, 325, 350)):
        made.finish("base", seed, logits=made.logits(right))
        made.finish("lost", seed, logits=made.logits(right - 9 + seed))
        made.finish("slow", seed, logits=made.logits(right + 3 * (seed - 1)))
    ranking = made.findings().ranking
    (worse,) = (one for one in ranking if one.variant == "lost")
    # "slow" is not compared with it; the same test says so, with p times two rivals
    assert (worse.worse_than, worse.possible) == (("base", "slow"), False)
    assert sentence(ranking, METRICS["accuracy"]) == (
        "2 of 3 variants are not significantly below any other: base and slow"
    )


def test_without_a_finished_run_nothing_is_ranked(lab: MakeLab) -> None:
    made = lab(variants=VARIANTS)
    for variant in made.study.recipes:
        made.fail(variant, 0)
    assert made.findings().ranking == []
