"""Draw the figures of a study, and note which cannot be drawn, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.analysis.attributions import MOST_VARIANTS
from harness.analysis.findings import Findings
from harness.analysis.images import RunImages
from harness.analysis.shown import page_order, shown_rule, shown_variants
from harness.errors import HarnessError
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture


def draw(
    findings: Findings, images: RunImages, formats: Sequence[str] = ()
) -> tuple[list[Picture], list[str]]:
    """Draw every figure of the study, and write a note for each kind that is left out.

    Args:
        formats: further formats beside PNG; without any the matplotlib figures are not kept.
    """
    notes: list[str] = []
    results = findings.results
    shown = set(shown_variants(results, MOST_VARIANTS))
    variants = [variant for variant in page_order(results) if variant in shown]
    among = len({*results.variants, *results.range_tests})

    def pictures() -> Iterator[Picture | None]:
        for figure in FIGURES:
            if figure.of == "study":
                yield figure.draw(findings)
        for variant in variants:
            yield from _of_variant(findings, variant, images, notes)

    # a matplotlib figure takes a hundred times the memory of its PNG
    drawn = [picture for picture in pictures() if picture is not None]
    drawn = drawn if formats else [replace(picture, figure=None) for picture in drawn]
    if len(variants) < among:
        rule = shown_rule(results, variants, among)
        notes.append(f"Figures of single variants, and Grad-CAM checks: {rule}.")
    return drawn, notes


def _of_variant(
    findings: Findings, variant: str, images: RunImages, notes: list[str]
) -> Iterator[Picture | None]:
    """Draw a variant's own figures; if one cannot be drawn from its images, the rest is left out."""
    finished = findings.results.of(variant, "finished")
    with_images = bool(finished)
    for figure in FIGURES:
        if figure.of == "variant":
            yield figure.draw(findings, variant)
        elif figure.of == "images" and with_images:
            try:
                yield figure.draw(findings, variant, images(finished[0]))
            except HarnessError as error:
                notes.append(f"{variant}: no image galleries or Grad-CAM: {error}")
                with_images = False
