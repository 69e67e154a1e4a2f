"""A whole report: what it writes, that it writes the same twice, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.arrays import Data, split_of
from harness.report.write import write_report

Lab = Callable[..., Any]
WISH = {"layers": ["layer1", "res2"], "images": 5}


def report(lab: Any, load_data: Any = None) -> Any:
    return write_report(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes), load_data)


def written(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("tables/*"), *folder.glob("figures/*"), *folder.glob("report.*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture
def place(lab: Lab) -> Any:
    made = lab(variants={"no_cutout": {"augment.train": []}}, seeds=[0, 1], attribution=WISH)
    made.finish("base", 0)
    made.finish("base", 1)
    made.finish("no_cutout", 0)
    made.fail("no_cutout", 1)
    made.sweep("base")
    return made


def test_every_file_is_the_same_bytes_on_a_rebuild(place: Any) -> None:
    report(place, place.load_data)
    first = written(place.folder.path)
    report(place, place.load_data)
    second = written(place.folder.path)
    # by name: pytest would take minutes to show how megabytes differ
    assert [name for name in first | second if first.get(name) != second.get(name)] == []
    assert {"tables/runs.csv", "report.md", "report.html", "figures/curves.png"} <= set(first)
    assert {"figures/base-gradcam.png", "figures/no_cutout-confusion.png", "figures/comparisons.png"} <= set(
        first
    )


@pytest.mark.slow
def test_attributions_are_the_same_bytes_without_the_cache(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables() -> dict[str, bytes]:
        report(place, place.load_data)
        return {file.name: file.read_bytes() for file in place.folder.tables.glob("attribution*.csv")}

    kept = tables()
    assert len(kept) == 2 and all(text.count(b"\n") > 4 for text in kept.values())
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "empty"))
    assert tables() == kept


@pytest.mark.slow
def test_attributions_that_cannot_be_measured_are_a_note(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = place.folder.path / "report.md"
    report(place)
    assert "Grad-CAM: the report was made without the data" in page.read_text()
    assert "not measured" not in page.read_text()  # the same cause is said once
    assert place.table("attributions") == []
    monkeypatch.setattr("harness.analysis.attributions.BUDGET", 1.0)
    report(place, place.load_data)
    assert "base: Grad-CAM is not measured: one image of 3x32x32" in page.read_text()


def test_a_study_of_one_variant_has_plain_figure_names(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()
    place.sweep()
    report(place, place.load_data)
    assert sorted(path.name for path in place.folder.figures.iterdir()) == [
        "accuracy.png", "attributions.png", "augmented.png", "calibration.png", "confusion.png",
        "curves.png", "gradcam.png", "learning_rate.png", "misclassified.png", "per_class.png",
        "range_test.png",
    ]  # fmt: skip


def test_stale_figures_go_and_a_users_own_files_stay(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()
    report(place, place.load_data)
    own = place.folder.figures / "my-confusion.png"
    Image.new("RGB", (2, 2)).save(own)
    report(place)
    assert own.is_file()
    assert not (place.folder.figures / "gradcam.png").exists()
    assert (place.folder.figures / "confusion.png").exists()


@pytest.mark.slow
def test_vector_figures_come_on_request_twice_the_same_and_go_without_it(lab: Lab) -> None:
    place = lab(seeds=[0], attribution=WISH)
    place.finish()

    def vectors() -> dict[str, bytes]:
        found = [path for path in place.folder.figures.iterdir() if path.suffix != ".png"]
        return {path.name: path.read_bytes() for path in found}

    options = (place.study, place.folder, place.study.seeds, ["base"], place.load_data)
    write_report(*options, ("svg", "pdf"))
    first = vectors()
    stems = {path.stem for path in place.folder.figures.glob("*.png")}
    assert set(first) == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "pdf")} and len(stems) == 10
    page = (place.folder.path / "report.html").read_text()
    assert all(f'href="figures/{name}"' in page for name in first)
    write_report(*options, ("svg", "pdf"))
    assert [name for name, content in vectors().items() if first[name] != content] == []
    assert all(b"</svg>" in content for name, content in first.items() if name.endswith("svg"))
    assert all(content.startswith(b"%PDF") for name, content in first.items() if name.endswith("pdf"))
    own = place.folder.figures / "mine.svg"
    own.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    report(place)
    assert set(vectors()) == {"mine.svg"}


def test_a_damaged_run_is_failed_everywhere_and_counted_nowhere(place: Any) -> None:
    path = place.folder.run("base", 1).path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    summary = report(place)
    row = place.table("runs")[1]
    assert (row["status"], row["test_accuracy"]) == ("failed", "")
    assert row["error"].startswith("damaged: predictions.npz")
    assert summary.failures[0].startswith("digits/base/seed-1: damaged: predictions.npz")
    assert "1 of 2 failed" in summary.verdicts[0]
    assert not any(row["seed"] == "1" for row in place.table("misclassified"))


def test_a_study_before_its_first_run_can_be_reported(lab: Lab) -> None:
    place = lab()
    assert report(place, place.load_data).verdicts == ["digits: no run finished (3 not finished yet)"]
    assert (
        "No verdict: no run has finished (3 not finished yet)."
        in (place.folder.path / "report.html").read_text()
    )


def test_the_statistics_come_without_plots_pages_and_torch() -> None:
    code = (
        "import pkgutil, sys, harness.statistics\n"
        "for one in pkgutil.iter_modules(harness.statistics.__path__, 'harness.statistics.'): "
        "__import__(one.name)\n"
        "heavy = {'torch', 'matplotlib', 'seaborn', 'captum', 'jinja2'}; print(heavy & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize(("train", "evaluated"), [(1, 1), (8, 7)])
def test_few_images_that_lack_classes_get_a_report(lab: Lab, train: int, evaluated: int) -> None:
    place = lab(seeds=[0, 1], attribution={"layers": ["res2"], "images": 4})
    draws = np.random.default_rng(train)
    whole = place.data
    chosen = draws.choice(len(whole.train), train, replace=False)
    place.data = Data(
        split_of(whole.train.images[chosen], whole.train.labels[chosen], whole.train.classes),
        split_of(
            whole.evaluation.images[:evaluated], whole.evaluation.labels[:evaluated], whole.train.classes
        ),
        "test",
    )
    place.finish(seed=0, logits=draws.normal(size=(evaluated, 10)))
    place.finish(seed=1, logits=np.eye(10)[np.full(evaluated, 3)])  # one class for all images
    write_report(place.study, place.folder, [0, 1], ["base"], place.load_data)
    assert (place.folder.figures / "augmented.png").is_file() and (
        place.folder.figures / "gradcam.png"
    ).is_file()
    assert (place.folder.path / "report.html").is_file()
