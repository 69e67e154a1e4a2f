"""Where the variance comes from: the tables again by other code, and what is said of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from harness.report.topics import components
from harness.report.write import write_report
from tests.lab import Lab, MakeLab, rows, sections, text

LEVELS = {"initialisation": 4, "order": 3}
SEEDS = list(range(12))
BY_ORDER = (220, 300, 260)  # images that runs get right, by their order alone


def right(seed: int, variant: str = "base") -> int:
    """Most of the spread is the order's; the initialisation gives a little, and some comes of neither."""
    initialisation, order = seed % 4, seed // 4
    return BY_ORDER[order] + 6 * initialisation + (7 * seed + len(variant)) % 5


def crossed(lab: MakeLab, **changes: object) -> Lab:
    place = lab(seeds=SEEDS, vary=LEVELS, variants={"other": {"loss.l1": 1e-5}}, **changes)
    for variant, seed in itertools.product(("base", "other"), SEEDS):
        place.finish(variant, seed, logits=place.logits(right(seed, variant)))
    return place


def test_the_components_are_those_of_statsmodels_anova(lab: MakeLab) -> None:
    place = crossed(lab)
    write_report(place.study, place.folder, SEEDS, ["base", "other"], None)
    found = {row["source"]: row for row in place.table("variance_components") if row["variant"] == "base"}
    assert list(found) == ["initialisation", "order", "the rest"]
    frame = pd.DataFrame(
        [(seed % 4, seed // 4, right(seed) / 360) for seed in SEEDS], columns=["initialisation", "order", "y"]
    )
    table = anova_lm(ols("y ~ C(initialisation) + C(order)", frame).fit())
    rest = table.loc["Residual", "mean_sq"]
    variances = {"the rest": rest}
    for name, levels in LEVELS.items():
        row, expected = found[name], table.loc[f"C({name})"]
        variances[name] = (expected["mean_sq"] - rest) / (12 // levels)
        assert int(row["levels"]) == levels and int(row["df"]) == levels - 1
        for column, value in (
            ("mean_square", expected["mean_sq"]),
            ("f", expected["F"]),
            ("p", expected["PR(>F)"]),
        ):
            assert float(row[column]) == pytest.approx(value, rel=1e-9)
    whole = sum(max(value, 0) for value in variances.values())
    for name, value in variances.items():
        assert float(found[name]["variance"]) == pytest.approx(value, rel=1e-9)
        assert float(found[name]["std"]) == pytest.approx(math.sqrt(max(value, 0)), rel=1e-9)
        assert float(found[name]["share"]) == pytest.approx(max(value, 0) / whole, rel=1e-9)
    assert float(found["the rest"]["variance_low"]) == pytest.approx(6 * rest / stats.chi2.ppf(0.975, 6))
    correct = np.array([[image < right(seed) for image in range(360)] for seed in SEEDS])
    noise = math.sqrt(correct.var(axis=0, ddof=1).sum()) / 360
    assert float(found["the rest"]["noise_seeds"]) == pytest.approx(noise, rel=1e-9)
    assert found["order"]["noise_seeds"] == ""
    smaller, larger = sorted(float(found[name]["p"]) for name in LEVELS)
    holm = sorted(float(found[name]["p_holm"]) for name in LEVELS)
    assert holm == pytest.approx([2 * smaller, max(2 * smaller, larger)], rel=1e-9)


def test_the_page_says_which_source_gives_most_and_what_pairing_saves(lab: MakeLab) -> None:
    place = crossed(lab)
    said = text(sections(place.findings(), components))
    assert "base: most of the spread comes from the order: " in said
    assert "significantly above 0 (p < 0.0001 after Holm)" in said
    assert "other against base: pairing runs by their seed reduces the variance " in said
    first = {row[1]: row for row in rows(sections(place.findings(), components))[:3]}
    assert list(first) == ["initialisation", "order", "the rest"]
    pairs = place.findings().sources.pairings
    assert [row.source for row in pairs] == ["initialisation", "order", "the whole seed"]
    assert pairs[1].shared.gain > 0.5 and pairs[-1].shared.gain > 0.9


def test_a_missing_combination_is_named_and_nothing_is_computed(lab: MakeLab) -> None:
    place = crossed(lab)
    place.fail("base", 5)
    findings = place.findings()
    assert {row.variant for row in findings.sources.components} == {"other"}
    assert not findings.sources.pairings
    (comparison,) = findings.comparisons
    assert comparison.result is None and "share levels or images, and too few have fin" in comparison.obstacle
    said = text(sections(findings, components))
    assert "base: 1 of 12 combinations of levels has no finished run: its components are not computed" in said
    summary = findings.summaries[0].accuracy
    assert summary is not None and (summary.sem, summary.ci_low) == (None, None)


def test_a_source_that_changes_nothing_is_said_and_counts_no_runs_twice(lab: MakeLab) -> None:
    levels = {"initialisation": 4, "dropout": 2, "order": 3}
    place = lab(seeds=list(range(24)), vary=levels)
    for seed in range(24):
        place.finish("base", seed, logits=place.logits(right(seed % 4 + 4 * (seed // 8))))
    findings = place.findings()
    by_source = {row.source: row for row in findings.sources.components}
    assert by_source["dropout"].component is None
    rest = by_source["the rest"].component
    assert rest is not None and rest.degrees == 6  # those of 4 x 3 runs, not of 24
    assert "The dropout changes nothing in this recipe." in text(sections(findings, components))
    twelve = crossed(lab, name="twelve").findings()
    assert findings.summaries[0].accuracy is not None and twelve.summaries[0].accuracy is not None
    assert findings.summaries[0].accuracy.sem == pytest.approx(twelve.summaries[0].accuracy.sem)


def test_runs_that_are_all_equal_have_no_source(lab: MakeLab) -> None:
    place = lab(seeds=SEEDS, vary=LEVELS)
    for seed in SEEDS:
        place.finish("base", seed, logits=place.logits(300))
    assert "all runs have the same accuracy" in text(sections(place.findings(), components))


@pytest.mark.slow
def test_one_source_at_a_time_is_a_share_of_the_variant_that_varies_all(lab: MakeLab) -> None:
    changes = {"order": {"vary": ["order"]}, "initialisation": {"vary": ["initialisation"]}}
    place = lab(seeds=[0, 1, 2, 3], variants=changes)
    counts = {"base": (200, 260, 230, 300), "order": (240, 250, 245, 270), "initialisation": (250,) * 4}
    for variant, values in counts.items():
        for seed, value in enumerate(values):
            place.finish(variant, seed, logits=place.logits(value))
    write_report(place.study, place.folder, place.study.seeds, list(counts), None)
    found = {row["variant"]: row for row in place.table("variance_components")}
    assert list(found) == ["base", "order", "initialisation"]
    assert {row["design"] for row in found.values()} == {"one at a time"}
    whole, own = (np.var(np.divide(counts[name], 360), ddof=1) for name in ("base", "order"))
    row = found["order"]
    assert float(row["variance"]) == pytest.approx(own) and float(row["share"]) == pytest.approx(own / whole)
    assert float(row["share_low"]) == pytest.approx(own / whole / stats.f.ppf(0.975, 3, 3))
    assert float(row["share_high"]) == pytest.approx(own / whole / stats.f.ppf(0.025, 3, 3))
    assert float(row["variance_high"]) == pytest.approx(3 * own / stats.chi2.ppf(0.025, 3))
    assert (float(found["initialisation"]["variance"]), found["initialisation"]["variance_low"]) == (0.0, "")
    assert found["base"]["source"] == "initialisation + order + augmentation + dropout"


def test_a_study_that_varies_by_the_default_has_no_such_section(lab: MakeLab) -> None:
    place = lab(variants={"other": {"loss.l1": 1e-5}})
    for variant, seed in itertools.product(("base", "other"), (0, 1, 2)):
        place.finish(variant, seed)
    assert sections(place.findings(), components) == []


def test_the_figure_has_a_bar_for_each_source(lab: MakeLab) -> None:
    from harness.report.figures.components import draw

    picture = draw(crossed(lab).findings())
    assert picture is not None and picture.figure is not None
    (axes,) = picture.figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["base: initialisation", "base: order", "base: the rest"] and len(axes.patches) == 6
    assert draw(lab(name="empty").findings()) is None
