"""The verdict in words: right about the target, the failures and the differences, and short."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Lab, MakeLab


def finish(lab: Lab, wrong: dict[str, list[int]], **changes: Any) -> str:
    """Finish runs that are wrong on so many of 100 images; return the study's sentence."""
    for variant, counts in wrong.items():
        for seed, count in enumerate(counts):
            lab.finish(variant, seed, logits=lab.logits(100 - count, images=100), **changes)
    return lab.findings().verdict


def held_out(lab: Lab) -> dict[str, Any]:
    data = lab.record("base", 0)["provenance"]["data"]
    return {"data": {**data, "evaluated_on": "holdout"}}


# ---- a study in a sentence --------------------------------------------------------------------------------


def test_all_runs_that_reached_the_target(lab: MakeLab) -> None:
    assert finish(lab(), {"base": [10, 11, 12]}) == (
        "Target of 70 % reached by all 3 runs: 89.0 ± 1.0 % test accuracy, mean ± std over 3 seeds."
    )


def test_some_runs_that_missed_it_and_one_that_failed(lab: MakeLab) -> None:
    place = lab()
    place.fail("base", 2)
    assert finish(place, {"base": [10, 40]}) == (
        "Target of 70 % reached by 1 of 3 runs: 75.0 ± 21.2 % test accuracy, mean ± std over 2 seeds "
        "(1 run failed)."
    )


def test_a_single_run(lab: MakeLab) -> None:
    said = finish(lab(seeds=[0]), {"base": [40]})
    assert said == "Target of 70 % missed: 60.0 % test accuracy, from a single run."


def test_a_hold_out_is_named(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    assert "90.0 % hold-out accuracy" in finish(place, {"base": [10]}, provenance=held_out(place))
    assert place.findings().verdicts[0].startswith("digits: 90.0 % on the hold-out (1 seed")


def test_nothing_finished(lab: MakeLab) -> None:
    place = lab()
    assert finish(place, {}) == "No verdict: no run has finished (3 not finished yet)."
    for seed in range(3):
        place.fail("base", seed)
    assert finish(place, {}) == "No verdict: no run has finished (3 runs failed)."


def test_several_variants_are_named_with_what_sets_them_apart(lab: MakeLab) -> None:
    place = lab(variants={"weak": {"model.width": 5}, "twin": {"model.width": 6}, "lost": {"model.width": 7}})
    for seed in range(3):
        place.fail("lost", seed)
    said = finish(place, {"base": [10, 11, 12], "weak": [50, 52, 54], "twin": [12, 11, 10]})
    assert said == (
        "Target of 70 % reached by every run of base and twin, by no run of weak and lost (3 runs failed); "
        "weak is significantly worse than base, twin does not differ significantly from base, lost failed in "
        "3 of 3 runs and base in 0 of 3 (no significant difference)."
    )


def test_many_variants_are_counted(lab: MakeLab) -> None:
    place = lab(seeds=[0], variants={f"v{at}": {"model.width": 5 + at} for at in range(6)})
    assert finish(place, {variant: [10] for variant in place.study.recipes}) == (
        "Target of 70 % reached by every run of all 7 variants; "
        "one run each, so no test of differences over seeds."
    )


# ---- a variant in a line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "failed", "line"),
    [
        ([5, 8, 13], [], "digits: 91.3 ± 4.0 % over 3 seeds; 90 % reached by 2 of 3"),
        ([5, 5], [2], "digits: 95.0 ± 0 % over 2 seeds; 90 % reached by 2 of 3, 1 of 3 failed"),
        ([5], [], "digits: 95.0 % (1 seed, no ± from one run); 90 % reached by 1 of 1, 2 not finished yet"),
        ([], [0], "digits: no run finished (1 of 1 failed, 2 not finished yet)"),
    ],
)
def test_a_line_has_mean_std_n_and_the_runs_that_are_not_there(
    lab: MakeLab, wrong: list[int], failed: list[int], line: str
) -> None:
    place = lab(target={"test_accuracy": 0.9})
    for seed in failed:
        place.fail("base", seed)
    finish(place, {"base": wrong})
    assert place.findings().verdicts == [line]


def test_each_variant_has_a_line(lab: MakeLab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}}, seeds=[0])
    finish(place, {"base": [5]})
    first, second = place.findings().verdicts
    assert first.startswith("digits/base: 95.0 %")
    assert second == "digits/no_cutout: no run finished (1 not finished yet)"
