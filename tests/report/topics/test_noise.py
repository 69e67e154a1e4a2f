"""How surely a mean is known, on the page."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings import Findings
from harness.report.topics import noise
from tests.lab import MakeLab, rows, text


def test_every_mean_and_every_difference_has_its_standard_errors(findings: Findings) -> None:
    blocks = noise.standard_errors(findings)
    base, other, difference = rows(blocks)
    assert base[:2] == ["base", "360"] and "–" not in base
    # one run has the noise of images alone
    assert other[0] == "no_cutout" and other[2:] == ["–", other[3], "–", "–"] and other[3] != "–"
    assert difference[0] == "no_cutout - base"
    assert "new networks are judged on new images" in text(blocks) and "cluster" not in text(blocks)
    assert "fewer than" not in text(blocks)


def test_the_number_of_clusters_is_named(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, clusters=np.arange(360) // 8)
    blocks = noise.standard_errors(place.findings())
    (base,) = rows(blocks)
    assert base[1:3] == ["360", "45"] and "whole clusters are resampled" in text(blocks)
    assert "fewer than 100 clusters the standard errors over images and over both are too small" in text(
        blocks
    )


def test_runs_that_disagree_about_clusters_have_no_noise(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, clusters=np.arange(360) // (8 + seed))
    found = place.findings()
    assert found.noise == [] and noise.standard_errors(found) == []


def test_clusters_that_do_not_fit_the_images_are_damage(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0, clusters=np.arange(359))
    (run,) = place.results().runs
    assert run.status == "failed" and "clusters (359,) and labels (360,) do not fit" in run.error
