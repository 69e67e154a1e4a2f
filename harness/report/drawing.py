"""Which figures a study gets, and what to say where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.analysis.attributions import MOST_VARIANTS
from harness.analysis.findings import Findings
from harness.analysis.images import RunImages
from harness.errors import HarnessError
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture


def draw(
    findings: Findings, images: RunImages, formats: Sequence[str] = ()
) -> tuple[list[Picture], list[str]]:
    """Draw every figure of the study, and write a note for each kind that is left out and why.

    Args:
        formats: in which the figures will be wanted beside PNG; without any they are not kept.
    """
    notes: list[str] = []
    variants = list(dict.fromkeys([*findings.results.variants, *findings.results.range_tests]))

    def pictures() -> Iterator[Picture | None]:
        for figure in FIGURES:
            if figure.of == "study":
                yield figure.draw(findings)
        for variant in variants[:MOST_VARIANTS]:
            yield from _of_variant(findings, variant, images, notes)

    # what a PNG was drawn from takes a hundred times its memory
    drawn = [one if formats else replace(one, figure=None) for one in pictures() if one is not None]
    if len(variants) > MOST_VARIANTS:
        notes.append(
            f"Own figures are drawn and attributions measured for the first {MOST_VARIANTS} of "
            f"{len(variants)} variants."
        )
    return drawn, notes


def _of_variant(
    findings: Findings, variant: str, images: RunImages, notes: list[str]
) -> Iterator[Picture | None]:
    """Draw a variant's own figures; the first that cannot be drawn from its images leaves out the others."""
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
