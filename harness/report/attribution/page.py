"""How far Grad-CAM can be believed, as CSV and as the report's table and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.analysis.attributions import MOST_SEEDS, Attributions, LayerNumbers
from harness.analysis.numbers import apart
from harness.attribution.faithfulness import STEPS
from harness.attribution.sanity import ENOUGH, MOST
from harness.report.blocks import Block
from harness.report.tables import csv_text

MOST_ROWS = 60  # of the table on the page; the CSV has all of them
KINDS = ("deletion", "insertion", "deletion_random", "insertion_random")


def attribution_tables(measured: Sequence[Attributions]) -> dict[str, str]:
    """Name -> CSV text: a row for every variant and layer, and the points of every curve."""
    return {
        "attributions": csv_text("attributions", _numbers(measured)),
        "attribution_curves": csv_text("attribution_curves", _curves(measured)),
    }


def _numbers(measured: Sequence[Attributions]) -> Iterator[list[Any]]:
    for one in measured:
        for row in one.numbers:
            yield [
                one.variant,
                row.layer,
                one.images,
                len(one.seeds),
                one.pairs,
                row.agreement,
                row.agreement_other,
                one.seed,
                one.errors,
                row.predicted,
                one.draws,
                row.sanity,
                row.sanity_other,
                row.verdict,
                row.deletion,
                row.deletion_random,
                row.insertion,
                row.insertion_random,
                row.without_evidence,
                *row.checks.values(),
            ]


def _curves(measured: Sequence[Attributions]) -> Iterator[list[Any]]:
    """``at``: the block that was the last to lose its weights, or the share of pixels."""
    for one in measured:
        for at, layer in enumerate(one.layers):
            for step, (stage, value) in enumerate(
                zip(one.network.stages, one.randomisation[:, at].tolist(), strict=True), 1
            ):
                yield [one.variant, layer, "randomisation", step, stage, None if np.isnan(value) else value]
            for kind, values in zip(KINDS, one.network.curves[:, at].mean(axis=1).tolist(), strict=True):
                for step, value in enumerate(values):
                    yield [one.variant, layer, kind, step, step / STEPS, value]


def sanity_warnings(measured: Sequence[Attributions]) -> list[str]:
    """Name the checks that a variant's maps fail, and at which layers: a line for each variant."""
    lines = []
    for one in measured:
        said = []
        if failed := [
            f"{row.layer} ({apart(row.sanity or 0.0, MOST, 2)[0]})"
            for row in one.numbers
            if "randomisation" in row.failed
        ]:
            said.append(
                f"the model-randomisation check at {', '.join(failed)} (rank correlation above {MOST:g} with "
                "the maps of a network whose weights are drawn anew)"
            )
        for check, better in (("deletion", "lower"), ("insertion", "higher")):
            if failed := [
                f"{row.layer} ({' against '.join(apart(*row.areas(check), 3))})"
                for row in one.numbers
                if check in row.failed
            ]:
                said.append(
                    f"the {check} check at {', '.join(failed)} (its area is not {better} than of random maps)"
                )
        if said:
            lines.append(
                f"{one.variant}: Grad-CAM fails {'; '.join(said)}: there its maps are no explanation of what "
                f"the network uses ({one.draws} draws, {one.images} images, seed {one.seed})."
            )
    return lines


def attribution_blocks(measured: Sequence[Attributions]) -> list[Block]:
    """The table of the section on what the network looks at, and how to read it."""
    if not measured:
        return []
    header = (
        "variant", "layer", "images", "seeds (pairs)", "agreement of seeds (other images)",
        "predicted against true class (errors)", "after new weights (other images)", "sanity checks",
        "deletion AUC (random maps)", "insertion AUC (random maps)",
    )  # fmt: skip
    rows = [_row(one, row) for one in measured for row in one.numbers]
    seeds = sorted({one.seed for one in measured})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else "each variant's first finished seed"
    texts = [
        "Maps are compared by Spearman's rank correlation at the layer's own resolution, the two of an image "
        "and then the mean: 1 is the same places in the same order, 0 is nothing in common. In brackets: the "
        "same for maps of different images, which is what place alone gives (a map that always lights the "
        "middle agrees with itself whatever it shows). Maps that are the same everywhere have no ranks and "
        "are left out. The images are the first of the evaluation split, chosen by nothing else, and the "
        "class explained is the true one. Agreement is the mean over all pairs of the first "
        f"{MOST_SEEDS} finished seeds at most; everything else is of {which}. Predicted against true class "
        "is of its most confident errors.",
        "A layer passes its sanity checks where it passes all three. Randomisation (Adebayo et al., 2018): "
        "all weights are drawn anew by the network's own initialisation. A layer fails where the correlation "
        f"with the trained maps stays above {MOST:g}: more than half of what its maps show is then owed to "
        "something else than learning. Deletion and insertion (Petsiuk et al., 2018): "
        "the area under the true class's probability while the pixels ranked highest are replaced by the "
        "mean colour, or shown alone, a tenth at a time. Lower deletion and higher insertion are better, but "
        "only against random maps of the same resolution (in brackets): scattered pixels and patches do "
        "not do the same harm, so the areas of layers of different resolution cannot be compared. A layer "
        "fails where its mean area is not better than that of random maps, and passes where the 95 % t "
        "interval of the gain over the images lies above 0; between these, and from fewer than "
        f"{ENOUGH} images, nothing is judged.",
    ]
    titles = ("How to read the correlations", "How to read the sanity checks, deletion and insertion")
    left_out = len(rows) - MOST_ROWS
    more = (
        [Block("text", f"{left_out} more layers stand in tables/attributions.csv.")] if left_out > 0 else []
    )
    lead = (
        "How far these maps can be believed: whether the seeds agree on them, whether they depend on what "
        "was learnt, and whether the prediction suffers where they point."
    )
    numeric, files = frozenset(range(2, len(header))) - {7}, ["tables/attributions.csv"]
    return [
        Block("table", header=header, rows=rows[:MOST_ROWS], numeric=numeric, files=files),
        Block("text", lead),
        *(Block("text", text, title=title) for title, text in zip(titles, texts, strict=True)),
        *more,
    ]


def _row(one: Attributions, row: LayerNumbers) -> list[str]:
    return [
        one.variant,
        row.layer,
        str(one.images),
        f"{len(one.seeds)} ({one.pairs})",
        _pair(row.agreement, row.agreement_other),
        "–" if row.predicted is None else f"{row.predicted:.2f} ({one.errors})",
        _pair(row.sanity, row.sanity_other),
        f"failed: {', '.join(row.failed)}" if row.failed else row.verdict,
        *("{} ({})".format(*apart(*row.areas(check), 2)) for check in ("deletion", "insertion")),
    ]


def _pair(value: float | None, beside: float | None) -> str:
    """``0.61 (0.44)``; the brackets only where there is something to stand in them."""
    if value is None:
        return "–"
    return f"{_two(value)}" if beside is None else f"{_two(value)} ({_two(beside)})"


def _two(value: float) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"
