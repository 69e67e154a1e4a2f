"""How long and how large a page is, as it opens at 1440 x 900."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from harness.report.write import write_report
from tests.lab import trained
from tests.report.render.test_browser import WIDE, browser, opened

__all__ = ["browser"]

Lab = Callable[..., Any]
LAYERS = ["prep", "layer1", "res1", "layer2", "layer3", "res2"]


def logits(lab: Any, variant: int, seed: int) -> np.ndarray:
    """Those of a trained network, with more right answers for some variants than for others."""
    made = trained(seed % 3)[1].copy()
    better = np.random.default_rng([variant, seed]).permutation(360)[: 150 + 20 * (variant * 7 % 11)]
    made[better, lab.data.evaluation.labels[better]] += 12
    return made


def reported(lab: Lab, variants: int, **changes: Any) -> Any:
    others = {f"momentum_{at}": {"optimizer.momentum": 0.5 + 0.01 * at} for at in range(1, variants)}
    made = lab(variants=others, references={"paper": {"test_accuracy": 0.9, "source": "a paper"}}, **changes)
    for at, variant in enumerate(made.study.recipes):
        for seed in made.study.seeds:
            made.finish(variant, seed, logits=logits(made, at, seed))
    made.sweep(peaks=(0.6, 0.7, 0.8))
    write_report(made.study, made.folder, made.study.seeds, list(made.study.recipes), made.load_data)
    return made.folder.path / "report.html"


@pytest.mark.slow
@pytest.mark.parametrize(("variants", "screens", "megabytes"), [(1, 5, 2), (4, 8, 5), (31, 12, 5)])
def test_a_page_stays_short_and_small(
    lab: Lab, browser: Browser, variants: int, screens: int, megabytes: float
) -> None:
    page_file = reported(lab, variants, attribution={"layers": LAYERS, "images": 25})
    assert page_file.stat().st_size <= megabytes * 1e6
    with opened(browser, page_file, WIDE) as page:
        assert page.evaluate("document.documentElement.scrollHeight") <= screens * WIDE[1]
        # what is not inside the page lies beside it
        for link in page.locator(".beside a").all():
            assert (page_file.parent / str(link.get_attribute("href"))).is_file()
        figures = page.locator("figure" if variants == 1 else ".variants figure")  # the leader's come first
        assert figures.first.locator("img").count() == 1
