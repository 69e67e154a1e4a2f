"""How surely a mean is known, on the page."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings import Findings
from harness.report.topics import noise
from tests.lab import MakeLab, rows, sections, text


def test_every_mean_and_every_difference_has_its_standard_errors(findings: Findings) -> None:
    blocks = sections(findings, noise)
    base, other, difference = rows(blocks)
    assert base[0] == "base" and base[1:3] == ["3", "360"] and "–" not in base
    # one run has the noise of images alone
    assert other[0] == "no_cutout" and other[4:] == ["–", other[5], "–", "–"] and other[5] != "–"
    assert difference[0] == "no_cutout - base" and difference[3][0] in "+-"
    assert "drawn anew" in text(blocks) and "cluster" not in text(blocks)
    assert "fewer than" not in text(blocks)


def test_the_number_of_clusters_is_named(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, clusters=np.arange(360) // 8)
    blocks = sections(place.findings(), noise)
    (base,) = rows(blocks)
    assert base[2:4] == ["360", "45"] and "whole clusters are drawn anew" in text(blocks)
    assert "fewer than 100 clusters the noise over images and over both comes out too small" in text(blocks)


def test_runs_that_disagree_about_clusters_have_no_noise(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, clusters=np.arange(360) // (8 + seed))
    found = place.findings()
    assert found.noise == [] and sections(found, noise) == []


def test_clusters_that_do_not_fit_the_images_are_damage(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0, clusters=np.arange(359))
    (run,) = place.results().runs
    assert run.status == "failed" and "clusters (359,) and labels (360,) do not fit" in run.error
