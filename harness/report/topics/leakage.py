"""Images in both splits: evaluated on, although they or nearly equal ones were trained on."""

from __future__ import annotations

from typing import Any

from harness.analysis.findings import Findings
from harness.analysis.leakage import SharedImages, leakages
from harness.data.leakage import LEAST_CORRELATION, MOST_BITS
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, Column, Shown, Table, page_table

LEAKAGE: Table[dict[str, Any]] = Table(
    "leakage",
    "a train image and an image evaluated on that are equal or nearly so",
    lambda findings: [pair for found in leakages(findings.results) for pair in found.pairs()],
    (
        Column("data", "checksum of the images, as in `run.json`: hold-outs that vary have one each"),
        Column("split_a", "`train`"),
        Column("index_a", "the image's place among the images trained on, from 0"),
        Column("class_a", "its class"),
        Column("split_b", "`test` or `holdout`"),
        Column("index_b", "the image's place in the evaluation split, from 0; as in `misclassified`"),
        Column("class_b", "its class"),
        Column("kind", "`identical`, pixel for pixel, or `near`"),
        Column("distance", "bits of 64 in which the perceptual hashes of the two differ"),
        Column("correlation", "of the pixels of the two"),
    ),
)
TABLES = (LEAKAGE,)
SHOWN: tuple[Shown[dict[str, Any]], ...] = (
    Shown("train image", "index_a"),
    Shown("class of the train image", "class_a", numeric=False),
    Shown("evaluation image", "index_b"),
    Shown("class of the evaluation image", "class_b", numeric=False),
    Shown("kind", "kind", numeric=False),
    Shown("bits that differ", "distance"),
    Shown("correlation", "correlation"),
)
HOW_TO_READ = (
    "An image that is in both splits raises the accuracy without a better network. "
    "Identical: all pixels are equal. Nearly equal: the perceptual hashes "
    f"(pHash, 64 bits) differ in at most {MOST_BITS} bits and the pixels correlate by at least "
    f"{LEAST_CORRELATION:g}. A copy that is mirrored, turned or cut out otherwise is not found, so the "
    "numbers are lower bounds. Images of few details, such as digits, look alike without being copies: check "
    "some pairs. Indices count from 0, in the order of each split as it was used."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Say how many images are in both splits, and list the pairs; nothing where no run recorded it."""
    found = leakages(findings.results)
    rows = list(LEAKAGE.rows(findings))
    blocks = [Block("text", text) for text in dict.fromkeys(map(_words, found))][:MOST_ROWS]
    pairs = sum(int(shared.record["pairs"]) for shared in found) if rows else 0
    if rows:
        title = f"The first {MOST_ROWS} of {pairs:,} pairs" if pairs > MOST_ROWS else ""
        blocks += [page_table("leakage", SHOWN, rows[:MOST_ROWS], title), explained(HOW_TO_READ)]
    return Section("Images in both splits", blocks, about=f"{pairs:,} pairs" if pairs else "none")


def _words(found: SharedImages) -> str:
    said = [*found.warnings, *found.notes]
    if not said:
        return "No evaluation image is identical or nearly equal (perceptual hash) to a train image."
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said)
