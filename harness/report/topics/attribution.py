"""Grad-CAM sanity checks: whether the maps can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.analysis.attributions import MOST_SEEDS, Attributions, LayerNumbers
from harness.analysis.findings import Findings
from harness.analysis.numbers import distinguishable
from harness.attribution.faithfulness import STEPS
from harness.attribution.sanity import ENOUGH, MOST
from harness.report.blocks import Block, Section
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, VARIANT, Column, Shown, Table, page_table

KINDS = ("deletion", "insertion", "deletion_random", "insertion_random")


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer of a variant whose maps were measured."""

    maps: Attributions
    layer: LayerNumbers


def _layers(findings: Findings) -> Iterator[MeasuredLayer]:
    for maps in findings.attributions:
        for layer in maps.numbers:
            yield MeasuredLayer(maps, layer)


def _curves(findings: Findings) -> Iterator[dict[str, Any]]:
    for maps in findings.attributions:
        for at, layer in enumerate(maps.layers):
            of_layer = {"variant": maps.variant, "layer": layer}
            correlations = maps.randomisation[:, at].tolist()
            for step, (stage, value) in enumerate(zip(maps.network.stages, correlations, strict=True), 1):
                mean = None if np.isnan(value) else value
                yield {**of_layer, "curve": "randomisation", "step": step, "at": stage, "mean": mean}
            for kind, values in zip(KINDS, maps.network.curves[:, at].mean(axis=1).tolist(), strict=True):
                for step, value in enumerate(values):
                    yield {**of_layer, "curve": kind, "step": step, "at": step / STEPS, "mean": value}


def _check(name: str, meaning: str) -> Column[MeasuredLayer]:
    return Column(f"{name}_check", meaning, f"layer.checks.{name}")


ATTRIBUTIONS: Table[MeasuredLayer] = Table(
    "attributions",
    "a layer of a variant whose Grad-CAM maps were measured",
    _layers,
    (
        Column(VARIANT.name, VARIANT.meaning, "maps.variant"),
        Column("layer", "its name", "layer.layer"),
        Column("images", "measured on", "maps.images"),
        Column("seeds", "whose maps were compared", lambda row: len(row.maps.seeds)),
        Column("seed_pairs", "of these", "maps.pairs"),
        Column("seed_rank_correlation", "of two seeds' maps of an image", "layer.agreement"),
        Column(
            "seed_rank_correlation_other_images",
            "of two seeds' maps of different images",
            "layer.agreement_other",
        ),
        Column("seed", "whose network the following is about", "maps.seed"),
        Column("errors", "confident ones looked at", "maps.errors"),
        Column(
            "predicted_true_rank_correlation",
            "of the maps of the predicted and the true class on these",
            "layer.predicted",
        ),
        Column("draws", "of random weights", "maps.draws"),
        Column(
            "randomised_rank_correlation",
            "with the maps of the network whose weights were drawn anew",
            "layer.sanity",
        ),
        Column(
            "randomised_rank_correlation_other_images", "the same for different images", "layer.sanity_other"
        ),
        Column(
            "sanity_check",
            "all three checks together: `passed` where each passed, `failed` where one failed, else "
            "`not judged`",
            "layer.verdict",
        ),
        Column(
            "deletion_auc",
            "area under the true class's probability while the most important places go",
            "layer.deletion",
        ),
        Column("deletion_auc_random", "the same with random maps", "layer.deletion_random"),
        Column("insertion_auc", "area while they come", "layer.insertion"),
        Column("insertion_auc_random", "the same with random maps", "layer.insertion_random"),
        Column("without_evidence", "share of maps without any positive evidence", "layer.without_evidence"),
        _check("randomisation", "whether the maps depend on the weights: `passed`, `failed`, `not judged`"),
        _check("deletion", "whether deletion does more harm than in the order of random maps: likewise"),
        _check("insertion", "whether insertion brings more than in the order of random maps: likewise"),
    ),
)
CURVES: Table[dict[str, Any]] = Table(
    "attribution_curves",
    "a point of a curve behind `attributions`",
    _curves,
    (
        VARIANT,
        Column("layer", "its name"),
        Column("curve", "`randomisation`, `deletion`, `insertion`, and the last two with `_random` maps"),
        Column("step", "of the curve"),
        Column("at", "share of the pixels, or the block that was the last to lose its weights"),
        Column("mean", "over images: probability of the true class, or rank correlation"),
    ),
)
TABLES = (ATTRIBUTIONS, CURVES)


def _two(value: float) -> str:
    """Write two decimals, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _pair(value: float | None, beside: float | None) -> str | None:
    """Write ``0.61 (0.44)``, or ``0.61`` if the second value is unknown."""
    if value is None or beside is None:
        return None if value is None else _two(value)
    return f"{_two(value)} ({_two(beside)})"


def _predicted(row: MeasuredLayer) -> str | None:
    value = row.layer.predicted
    return None if value is None else f"{value:.2f} ({row.maps.errors})"


def _verdict(row: MeasuredLayer) -> str:
    return f"failed: {', '.join(row.layer.failed)}" if row.layer.failed else row.layer.verdict


def _areas(row: MeasuredLayer, check: str) -> str:
    return "{} ({})".format(*distinguishable(*row.layer.areas(check), 2))


SHOWN: tuple[Shown[MeasuredLayer], ...] = (
    Shown("variant", lambda row: row.maps.variant, numeric=False),
    Shown("layer", lambda row: row.layer.layer, numeric=False),
    Shown("images", lambda row: row.maps.images),
    Shown("seeds (pairs)", lambda row: f"{len(row.maps.seeds)} ({row.maps.pairs})"),
    Shown(
        "correlation of seeds (other images)",
        lambda row: _pair(row.layer.agreement, row.layer.agreement_other),
    ),
    Shown("correlation of predicted and true class (errors)", _predicted),
    Shown(
        "correlation with random weights (other images)",
        lambda row: _pair(row.layer.sanity, row.layer.sanity_other),
    ),
    Shown("sanity checks", _verdict, numeric=False),
    Shown("deletion AUC (random maps)", lambda row: _areas(row, "deletion")),
    Shown("insertion AUC (random maps)", lambda row: _areas(row, "insertion")),
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show whether the maps depend on what was learnt, whether seeds agree, and what the prediction needs."""
    rows = list(_layers(findings))
    blocks: list[Block] = []
    if rows:
        lead = (
            "Can the Grad-CAM maps be trusted? The table shows whether the seeds agree on them, whether they "
            "depend on the learnt weights, and whether the prediction depends on the places that they mark."
        )
        more = len(rows) - MOST_ROWS
        left_out = (
            [Block("text", f"{more} more layers stand in tables/attributions.csv.")] if more > 0 else []
        )
        blocks = [
            Block("text", lead),
            page_table("attributions", SHOWN, rows[:MOST_ROWS]),
            *left_out,
            Block("text", _correlations(rows), title="How to read the correlations"),
            Block("text", CHECKS, title="How to read the sanity checks, deletion and insertion"),
        ]
    passed = sum(row.layer.verdict == "passed" for row in rows)
    of_variants = f" of {len(findings.attributions)} variants" if len(findings.attributions) > 1 else ""
    return Section(
        "Grad-CAM sanity checks",
        [*blocks, *figures("attributions")],
        about=f"{passed} of {len(rows)} layers{of_variants} passed" if rows else "",
    )


def _correlations(rows: list[MeasuredLayer]) -> str:
    seeds = sorted({row.maps.seed for row in rows})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else "each variant's first finished seed"
    return (
        "Maps are compared by Spearman's rank correlation at the layer's own resolution, image by image, and "
        "then averaged: 1 means the same places in the same order, 0 nothing in common. In brackets: the "
        "same for maps of different images, which shows what the position alone explains (a map that always "
        "marks the centre agrees with itself on every image). Maps that are constant have no ranks and are "
        "left out. The images are the first of the evaluation split, and the class explained is the true "
        f"one. Agreement is the mean over all pairs of the first {MOST_SEEDS} finished seeds at most; "
        f"everything else is of {which}. Predicted against true class is of its most confident errors."
    )


CHECKS = (
    "A layer passes where it passes all three checks. Randomisation (Adebayo et al., 2018): all weights "
    "are drawn again by the network's own initialisation. A layer fails where the correlation with the "
    f"trained maps stays above {MOST:g}: then more than half of what its maps show does not come from "
    "learning. Deletion and insertion (Petsiuk et al., 2018): the pixels ranked highest are replaced by "
    "the mean colour, or shown alone, a tenth at a time; the number is the area under the true class's "
    "probability. Lower deletion and higher insertion are better, compared with random maps of the same "
    "resolution (in brackets). Areas of layers of different resolution cannot be compared, because "
    "removing scattered pixels and removing patches have different effects. A layer fails where its mean "
    "area is not better than that of random maps, and passes where the 95 % t interval of the gain over "
    f"the images lies above 0. In between, and for fewer than {ENOUGH} images, nothing is judged."
)
