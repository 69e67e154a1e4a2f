"""The published results: what a study's folder gives them, and the page over them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import published, range_test_on_trial
from harness.errors import RunError
from harness.report.results import read_results
from harness.store import StudyFolder
from harness.study_file import load_study

SMALL = ["--set", "data.train_limit=64", "--set", "data.test_limit=40", "--set", "model.width=2"]
SHORT = ["--set", "schedule.epochs=1", "--set", "schedule.peak_epoch=0.5"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a found rate and two fixed ones."""
    place = tmp_path_factory.mktemp("published")
    study = place / "trial.toml"
    study.write_text(
        Path("studies/quickstart.toml").read_text("utf-8").replace('name = "quickstart"', 'name = "trial"')
        + "\n[references.elsewhere]\ntest_accuracy = 1.0\n"
        + '\n[variants.low]\n"schedule.lr_max" = 0.01\n"schedule.lr_min" = 0.001\n'
        + '\n[variants.high]\n"schedule.lr_max" = 0.1\n"schedule.lr_min" = 0.01\n',
        "utf-8",
    )
    settings = [*SMALL, *SHORT, "--set", "range_test.iterations=10"]
    command = [sys.executable, "-m", "harness.study", str(study), "--seeds", "0,1", "--out", str(place)]
    command += ["--launcher", "serial"]
    subprocess.run([*command, *settings], check=True)
    return place / "trial"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_the_committed_page_is_what_the_tables_give() -> None:
    assert (published.RESULTS / "README.md").read_text("utf-8") == published.page()
    assert published.KNOWN.read_text("utf-8") == published.known()


def test_a_study_is_taken_over_without_weights_and_stands_on_the_page(trial: Path, results: Path) -> None:
    target = published.take_over(trial)
    kept = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {"report.md", "tables/summary.csv", "figures/accuracy.png", "runs/low/seed-1.json"} <= kept
    assert not any(name.endswith((".safetensors", ".npz", ".pt", ".html")) for name in kept)
    summary = pd.read_csv(trial / "tables" / "summary.csv").set_index("variant")
    page = published.page()
    for variant in ("base", "low", "high"):
        mean, std = (100 * summary.loc[variant, f"test_accuracy_{part}"] for part in ("mean", "std"))
        line = next(line for line in page.splitlines() if f"| {variant} |" in line)
        assert f"| 100 % | {mean:.2f} ± {std:.2f} % | {100 - mean:+.2f}" in line and "| 2 | 1, test |" in line
    assert "python -m harness.study annealed --seeds 0,1,2,3,4" in page
    (target / "tables" / "gone.csv").write_text("old")
    published.take_over(trial)
    assert not (target / "tables" / "gone.csv").exists()


@pytest.mark.parametrize(
    ("plausible", "said"),
    [("yes", "-0.12, plausible"), ("no", "-0.12, not plausible"), (float("nan"), "-0.12")],
)
def test_a_published_number_is_judged_where_the_tables_judge_it(plausible: object, said: str) -> None:
    assert published._judged(-0.0012, plausible) == said


def test_a_search_is_said_to_be_measured_on_the_hold_out_and_gives_the_list_no_accuracy(
    trial: Path, results: Path
) -> None:
    target = published.take_over(trial)
    assert "trial" in published.known()
    summary = pd.read_csv(target / "tables" / "summary.csv").assign(evaluated_on="holdout")
    summary.to_csv(target / "tables" / "summary.csv", index=False)
    assert "| 2 | 1, hold-out |" in published.page() and published.known() == "{}\n"


def test_of_many_variants_only_what_is_about_all_of_them_is_kept(
    trial: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MANY", 3)
    target = published.take_over(trial)
    pictures = {path.name for path in target.rglob("*.png")}
    assert (
        pictures == {"accuracy.png", "comparisons.png", "curves.png"} and not (target / "report.md").exists()
    )
    page = published.page()
    links = re.findall(r"\]\((trial/[^)]+)\)", page)
    assert "trial/tables/ranking.csv" in links and all((results / link).is_file() for link in links)
    assert "report.md" not in page


def test_an_accuracy_without_the_images_that_are_not_lossless(trial: Path) -> None:
    folder = StudyFolder(trial.parent, trial.name)
    run = read_results(load_study(trial / "study.toml"), folder, (), ()).finished[0]
    assert published._lossless(run) is None  # not CIFAR-10
    assert len(set(published.CIFAR10_LOSSY)) == 20


@pytest.mark.parametrize("lacking", ["report.json", "runs"])
def test_what_is_not_finished_is_refused(trial: Path, results: Path, tmp_path: Path, lacking: str) -> None:
    copy = tmp_path / "trial"
    shutil.copytree(trial, copy)
    path: Any = copy / lacking
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(RunError, match=r"no report.json|no run is finished"):
        published.take_over(copy)
    assert not results.exists()


def test_each_criterion_has_its_own_choice_and_the_studys_is_the_one_it_used(trial: Path) -> None:
    found = read_results(load_study(trial / "study.toml"), StudyFolder(trial.parent, trial.name), (), ())
    sweeps = {name: sweep for name, sweep in found.sweeps.items() if name == "base"}
    chosen = range_test_on_trial.choices(type(found)(found.study, found.runs, sweeps, {}))
    record = sweeps["base"].record
    assert chosen[record["criterion"]] == pytest.approx(record["lr_max"], rel=1e-9)
    assert set(chosen) == {"accuracy", "steepest", "valley", "minimum"}
