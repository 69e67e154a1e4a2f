"""A target of another metric than accuracy: summaries, comparisons, ranking, looks and words follow it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.analysis.sentences import further_sentences, sentence
from harness.analysis.starts import plan_of
from harness.analysis.verdict import variant_line
from harness.metrics import METRICS
from harness.report.figures import accuracy, comparisons, curves
from harness.report.topics import TOPICS, csv_tables
from harness.report.topics import metrics as metrics_topic
from harness.statistics.classification import cross_entropy_from_logits
from tests.lab import Lab, MakeLab, sections, text

SEEDS = [0, 1, 2, 3]
VARIANTS = {"sure": {"optimizer.momentum": 0.1}, "vague": {"optimizer.momentum": 0.2}}
NOISE = {"base": 0.0, "sure": 0.2, "vague": -0.6}


def made(lab: MakeLab, target: dict[str, Any], **changes: Any) -> Lab:
    """``sure`` has the lowest loss and ``vague`` the highest; both are right where ``base`` is."""
    place = lab(target=target, seeds=SEEDS, variants=VARIANTS, **changes)
    for name, more in NOISE.items():
        for seed in SEEDS:
            logits = place.logits(335) * (1 + more / 3) + 0.02 * seed
            logits[:, 0] += 0.05 * np.sin(seed + len(name))
            place.finish(name, seed, logits=logits, planned=plan_of(place.study))
    return place


def losses(place: Lab, variant: str) -> list[float]:
    runs = [place.folder.run(variant, seed).path / "predictions.npz" for seed in SEEDS]
    return [cross_entropy_from_logits(*(np.load(run)[key] for key in ("logits", "labels"))) for run in runs]


def test_lower_is_better_of_the_loss(lab: MakeLab) -> None:
    place = made(lab, {"nll": 0.5})
    findings = place.findings()
    own = {name: losses(place, name) for name in NOISE}
    level = np.mean(own["base"]) + 1e-4
    findings = place.under(target={"nll": float(level)}).findings()
    for summary in findings.summaries:
        values = own[summary.variant]
        assert summary.scores == pytest.approx(values) and summary.score is not None
        assert summary.reached == sum(value <= level for value in values)
        assert summary.evidence is not None and summary.evidence.p_above == pytest.approx(
            stats.ttest_1samp(values, level, alternative="less").pvalue
        )
        low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        assert (summary.score.ci_low, summary.score.ci_high) == pytest.approx((low, high))
    better, worse = findings.comparisons
    assert {one.variant: one.verdict for one in findings.comparisons} == {
        min(("sure", "vague"), key=lambda name: np.mean(own[name])): "better",
        max(("sure", "vague"), key=lambda name: np.mean(own[name])): "worse",
    }
    rows = {row.split(",")[0]: row.split(",") for row in csv_tables(findings)["comparisons"].splitlines()}
    header = rows["variant"]
    for one in (better, worse):
        row = dict(zip(header, rows[one.variant], strict=True))
        found = stats.ttest_rel(own[one.variant], own["base"])
        assert float(row["difference"]) == pytest.approx(np.mean(own[one.variant]) - np.mean(own["base"]))
        assert float(row["p"]) == pytest.approx(found.pvalue)
        interval = found.confidence_interval(0.95)
        assert (float(row["ci_low"]), float(row["ci_high"])) == pytest.approx(tuple(interval))
        assert float(row["ci_low"]) < float(row["difference"]) < float(row["ci_high"])


def test_the_words_say_the_metric_and_its_direction(lab: MakeLab) -> None:
    place = made(lab, {"nll": 0.5})
    findings = place.findings()
    names = sorted(NOISE, key=lambda name: float(np.mean(losses(place, name))))
    assert [ranked.variant for ranked in findings.ranking] == names
    one = next(one for one in findings.comparisons if one.verdict == "better")
    assert sentence(one, True).startswith(f"{one.variant} is significantly better than base by 0.")
    assert "points" not in sentence(one, True) and "%)" not in sentence(one, True).split("(")[0]
    low, high = one.interval
    assert low is not None and high is not None and low > 0
    assert f"95 % interval {-high:+.4f} to {-low:+.4f}" in sentence(one, True)
    assert any(f"P({one.variant} < base) 100 %" in said for said in further_sentences(one))
    base = next(summary for summary in findings.summaries if summary.variant == "base")
    assert variant_line(place.study, base).startswith("digits/base: NLL 0.")
    assert "0.5 or less reached by" in variant_line(place.study, base)
    blocks = sections(findings, *TOPICS)
    said = text(blocks)
    assert any("reached 0.5 or less" in block.header for block in blocks)
    assert "those right of the dashed line" not in said
    assert "This section is about accuracy. The target is of NLL" in said
    drawn = [figure.draw(findings) for figure in (accuracy, comparisons, curves)]
    assert all(drawn)
    captions = " ".join(picture.caption for picture in drawn if picture)
    assert "runs right of it missed it" in captions and "Left of the dashed line" in captions
    assert "Dashed: the target, 0.5 or less" in captions


def test_the_loss_has_times_to_the_target_and_macro_f1_has_none(lab: MakeLab) -> None:
    place = made(lab, {"nll": 100.0})
    summary = place.findings().summaries[0]
    assert summary.evidence is not None and summary.evidence.epochs is not None
    assert summary.evidence.epochs.median == 1
    findings = place.under(target={"macro_f1": 0.5}).findings()
    summary = findings.summaries[0]
    assert summary.reached == 4 and summary.evidence is not None and summary.evidence.epochs is None
    assert "only the last epoch has macro F1" in text(sections(findings, *TOPICS))
    (row, *_) = csv_tables(findings)["summary"].splitlines()[1:]
    header = csv_tables(findings)["summary"].splitlines()[0].split(",")
    cells = dict(zip(header, row.split(","), strict=True))
    assert cells["epochs_to_target_median"] == cells["ever_reached"] == ""
    assert cells["metric"] == "macro_f1" and float(cells["accuracy_mean"]) == 335 / 360


def test_no_interval_of_the_loss_is_cut_as_a_fraction_is(lab: MakeLab) -> None:
    place = lab(target={"nll": 1.0}, seeds=[0, 1], variants={"other": {"optimizer.momentum": 0.1}})
    for variant, factor in (("base", 1.0), ("other", 40.0)):
        for seed in (0, 1):
            place.finish(variant, seed, logits=place.logits(300) * factor * (1 + seed))
    findings = place.findings()
    (one,) = findings.comparisons
    assert one.result is not None and one.result.primary.high is not None
    assert abs(one.result.primary.difference) > 1 and one.result.primary.high > 1
    assert findings.summaries[1].score is not None and (findings.summaries[1].score.ci_high or 0) > 1


def test_single_runs_are_not_compared_by_their_images(lab: MakeLab) -> None:
    place = lab(seeds=[0], variants={"other": {"optimizer.momentum": 0.1}})
    for variant in ("base", "other"):
        place.finish(variant, 0)
    (one,) = place.findings().comparisons
    assert one.test == "McNemar"
    (one,) = place.under(target={"macro_f1": 0.5}).findings().comparisons
    assert one.result is None and "McNemar's test of two networks is of their accuracy alone" in one.obstacle


def test_looks_decide_by_the_targets_metric(lab: MakeLab) -> None:
    place = made(lab, {"nll": 0.5}, looks=[2, 4])
    by_loss = {looks.variant: looks for looks in place.findings().looks}
    own = {name: losses(place, name) for name in NOISE}
    for name, looks in by_loss.items():
        last = looks.reached[-1]
        differences = np.array(own["base"]) - np.array(own[name])  # above 0 is better
        assert last.difference == pytest.approx(float(differences.mean()))
        assert math.isinf(looks.widest)
    by_accuracy = place.under(target={"accuracy": 0.5}).findings().looks
    assert all(looks.reached[-1].difference == 0 for looks in by_accuracy)


def test_a_reference_is_held_against_its_own_metric(lab: MakeLab) -> None:
    references = {"loss": {"nll": 5.0, "runs": 3}, "f1": {"macro_f1": 0.1}, "accuracy": {"accuracy": 0.9}}
    findings = made(lab, {"auroc": 0.5}, references=references).findings()
    of_base = {one.name: one for one in findings.references if one.variant == "base"}
    summary = findings.summaries[0]
    for name, metric in (("loss", "nll"), ("f1", "macro_f1"), ("accuracy", "accuracy")):
        found = summary.metrics[metric]
        assert found is not None and of_base[name].standing.measured == found.mean
    assert of_base["loss"].claim.text == "NLL 5, mean of 3 runs"
    assert of_base["accuracy"].claim.text == "90 %, 1 run"


def test_every_metric_stands_in_one_table(lab: MakeLab) -> None:
    findings = made(lab, {"auroc": 0.5}).findings()
    tables = [block for block in sections(findings, metrics_topic) if block.kind == "table"]
    assert "median AUROC, %" in tables[0].header or "median, %" in tables[0].header
    table = tables[-1]  # the target's metric has a table of its own, and NLL stands with the calibration
    assert list(table.header) == [
        "variant", "Accuracy, %", "Balanced accuracy, %", "Top-5 accuracy, %", "Macro F1, %"
    ]  # fmt: skip
    assert table.rows[0][1].startswith("93.06 ± ") and len(table.rows) == 3
    assert {name for summary in findings.summaries for name in summary.metrics} == set(METRICS)
