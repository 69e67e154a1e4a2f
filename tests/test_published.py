"""The published results: what a study's folder gives them, their size, and the page over them."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import range_test_on_trial
from benchmarks.published import publish as publishing
from benchmarks.published.figure import MEAN, OTHER, PUBLISHED, SEED, draw, overview
from benchmarks.published.page import CIFAR10_LOSSY, known, page
from benchmarks.published.publish import publish, size_of
from benchmarks.published.read import KNOWN, RESULTS, ROOT, read, read_all, read_records, records_text
from benchmarks.published.web import web_figure
from harness.analysis.numbers import accuracy_text, plus_minus
from harness.analysis.references import claims
from harness.analysis.results import read_results
from harness.errors import HarnessError, RunError
from harness.statistics.distribution import describe
from harness.store.folders import WEIGHTS, StudyFolder
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.builtin import builtin_studies
from harness.study_file.load import load_study

SMALL = [
    *("--set", "data.train_limit=64", "--set", "data.test_limit=40"),
    *("--set", "model.width=2", "--set", "data.batch_size=20"),
]
SHORT = ["--set", "schedule.epochs=1", "--set", "schedule.peak_epoch=0.5"]
FEW = [
    "--set",
    "range_test.iterations=10",
    "--set",
    "attribution.images=1",
    "--set",
    'attribution.layers=["res2"]',
]


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
    settings = [*SMALL, *SHORT, *FEW]
    command = [sys.executable, "-m", "harness.study", str(study), "--seeds", "0,1", "--out", str(place)]
    command += ["--launcher", "serial"]
    subprocess.run([*command, *settings], check=True)
    return place / "trial"


@pytest.fixture
def copy(trial: Path, tmp_path: Path) -> Path:
    """One that may be changed, with few figures."""
    shutil.copytree(trial, tmp_path / "trial")
    for file in (tmp_path / "trial" / "figures").iterdir():
        if file.stem not in ("accuracy", "low-gradcam", "low-augmented"):
            file.unlink()
    return tmp_path / "trial"


# ---- what is committed -------------------------------------------------------------------------------------


def test_the_committed_page_is_what_the_records_and_predictions_give() -> None:
    published = read_all(RESULTS)
    assert (RESULTS / "README.md").read_text("utf-8") == page(published)
    assert KNOWN.read_text("utf-8") == known(published)


def test_the_figure_shows_every_run_and_every_published_accuracy() -> None:
    published = read_all(RESULTS)
    panels = {axes.get_title("left"): axes for axes in draw(published).axes}
    for one in published:
        drawn: dict[str, list[list[float]]] = {SEED: [], OTHER: [], MEAN: [], PUBLISHED: []}
        for line in panels[one.folder.name].get_lines():
            if line.get_label() in drawn:
                drawn[str(line.get_label())].append([float(x) for x in line.get_xdata()])
        assert drawn[SEED] == [variant.accuracies for variant in one.variants]
        assert drawn[OTHER] == [
            [record["metrics"]["test_accuracy"] for record in variant.other] for variant in one.variants
        ]
        means = [describe(variant.accuracies) for variant in one.variants if len(variant.accuracies) > 1]
        assert drawn[MEAN] == [[each.ci_low, each.mean, each.ci_high] for each in means if each]
        expected = [
            [reference.test_accuracy]
            for variant in one.variants
            for reference in one.study.references.values()
            if reference.variant in (None, variant.name)
        ]
        assert drawn[PUBLISHED] == expected
    with (
        Image.open(io.BytesIO(overview(published))) as drawn_again,
        Image.open(RESULTS / "overview.png") as kept,
    ):
        assert drawn_again.size == kept.size


def test_one_study_far_off_leaves_the_others_readable() -> None:
    published = read_all(RESULTS)
    far = next(one for one in published if one.folder.name == "s11_l1")
    (variant,) = far.variants
    wrong = (variant.labels[:, None] + np.arange(2)) % 10  # all right, and none
    two = dataclasses.replace(variant, records=variant.records * 2, predicted=wrong)
    axes = draw([*published, dataclasses.replace(far, variants=(two,))]).axes
    widths = [high - low for low, high in (each.get_xlim() for each in axes if each.get_title("left"))]
    assert len(set(np.round(widths[:-1], 9))) == 1 and widths[0] < 0.06 < 1 < widths[-1]


def test_the_committed_tables_say_what_the_page_says() -> None:
    for one in read_all(RESULTS):
        summary = pd.read_csv(one.folder / "tables" / "summary.csv").set_index("variant")
        for variant in one.variants:
            if not variant.finished:
                continue
            accuracy, row = describe(variant.accuracies), summary.loc[variant.name]
            assert accuracy is not None and row.runs == len(variant.records)
            assert row.test_accuracy_mean == pytest.approx(accuracy.mean, abs=1e-12)
            if accuracy.std is not None:
                assert row.test_accuracy_std == pytest.approx(accuracy.std, abs=1e-12)
            runs = pd.read_csv(one.folder / "tables" / "runs.csv")
            mine = runs[(runs.variant == variant.name) & (runs.status == "finished")]
            assert mine.test_accuracy.tolist() == pytest.approx(variant.accuracies, abs=1e-12)


def test_claims_that_the_report_judged_are_judged_alike_on_the_page() -> None:
    judged = 0
    for one in read_all(RESULTS):
        file = one.folder / "tables" / "references.csv"
        for row in pd.read_csv(file).itertuples() if file.is_file() else ():
            variant = next(each for each in one.variants if each.name == row.variant)
            found = {claim.statistic: claim for claim in claims(one.study.references[row.reference])}
            claim = found[getattr(row, "statistic", "mean")]
            standing = claim.standing(variant.accuracies, len(variant.records))
            assert standing.difference == pytest.approx(row.difference, abs=1e-12)
            assert {True: "yes", False: "no", None: "nan"}[standing.plausible] == str(row.plausible)
            judged += 1
    assert judged >= 6


def test_readme_and_study_files_say_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for one in read_all(RESULTS):
        head = builtin_studies()[one.folder.name].read_text("utf-8").partition("\nname =")[0]
        for variant in one.variants:
            accuracy = describe(variant.accuracies)
            if accuracy is None or "holdout" in str(variant.finished[0]["provenance"]["data"]):
                continue
            text = accuracy_text(accuracy, one.study.target.test_accuracy, decimals=2)
            assert text in head and f"n = {accuracy.n}" in head, f"{one.folder.name}: {text}"
            if one.folder.name == "onecycle":
                assert text in readme and f"n = {accuracy.n}" in readme


def test_every_link_of_the_committed_pages_leads_somewhere() -> None:
    for file in [RESULTS / "README.md", *RESULTS.glob("*/report.md")]:
        for link in re.findall(r"\]\(([^)#][^)]*)\)", file.read_text("utf-8")):
            assert "://" in link or (file.parent / link).exists(), f"{file}: {link}"


def test_the_results_and_the_whole_tree_stay_small() -> None:
    for folder in RESULTS.glob("*/"):
        assert size_of(folder) <= 400_000, folder
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 6_000_000


# ---- what is taken over ------------------------------------------------------------------------------------


def test_a_study_is_taken_over_without_weights_and_stands_on_the_page(
    trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    target, left_out = publish(trial, tmp_path)
    kept = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {"report.md", "tables/summary.csv", "figures/accuracy.png", "runs/low.json"} <= kept
    assert {"predictions/low.npz", "figures/low-gradcam.webp", "range_test/base.json"} <= kept
    assert not {"tables/learning_rates.csv", "tables/misclassified.csv"} & kept and left_out == []
    assert not any(name.endswith((".safetensors", ".pt", ".html")) for name in kept)
    summary = pd.read_csv(trial / "tables" / "summary.csv").set_index("variant")
    text = page(read_all(tmp_path)).replace("\u00a0", " ")
    for variant in ("base", "low", "high"):
        mean, std = (100 * summary.loc[variant, f"test_accuracy_{part}"] for part in ("mean", "std"))
        line, more = (line for line in text.splitlines() if f"| {variant} |" in line)
        assert f"| {variant} | 2 | {plus_minus(mean, std, 2)} % | 100 %, 1 run |" in line
        assert "| 1 | " in more and "(1 at once)" in more
    assert "python -m harness.study annealed --seeds 0,1,2,3,4" in text  # all of it
    (target / "tables" / "gone.csv").write_text("old")
    publish(trial, tmp_path)
    assert not (target / "tables" / "gone.csv").exists() and not (target / "other_runs").exists()


def test_the_records_are_the_runs_own_and_the_predictions_give_their_accuracies(
    copy: Path, tmp_path: Path
) -> None:
    target, _ = publish(copy, tmp_path / "results")
    for variant in read(target).variants:
        for record, accuracy in zip(variant.records, variant.accuracies, strict=True):
            folder = copy / "runs" / variant.name / f"seed-{record['seed']}"
            assert record == json.loads((folder / "run.json").read_text("utf-8"))
            logits = np.load(folder / "predictions.npz")
            assert accuracy == (logits["logits"].argmax(axis=1) == logits["labels"]).mean()


@pytest.mark.parametrize(
    "records",
    [
        [{"seed": 0, "a": {"b": 1, "c": {}}}, {"seed": 1, "a": {"b": 2, "c": {}}}],
        [{"seed": 0, "a": {}}, {"seed": 1, "a": {"b": 2}}],
        [{"seed": 0, "a": {"b": 1}}, {"seed": 1, "a": [1]}],
        [{"seed": 0, "a": 0}, {"seed": 1, "a": 0.0}],
        [{"seed": 0, "a": [1, 2.0]}, {"seed": 1, "a": [1, 2]}],
        [{"seed": 0, "a": None}, {"seed": 1}],
        [{"seed": 10, "a": True}, {"seed": 9, "a": 1}, {"seed": 11, "a": {"b": None}}],
        [{"seed": 3, "a": {"b": {"c": 1}}}],
    ],
)
def test_records_come_back_whole(records: list[dict[str, Any]], tmp_path: Path) -> None:
    sealed = [{**record, "checksum": digest(record)} for record in records]
    (tmp_path / "base.json").write_text(records_text(sealed))
    found = read_records(tmp_path / "base.json")
    assert list(found) == sorted(sealed, key=lambda record: record["seed"])  # each with its checksum


def test_what_was_changed_afterwards_is_not_believed(copy: Path, tmp_path: Path) -> None:
    target, _ = publish(copy, tmp_path / "results")
    with np.load(target / "predictions" / "low.npz") as arrays:
        changed = dict(arrays)
    changed["predicted"][:, 1] = (changed["labels"] + 1) % 10
    np.savez_compressed(target / "predictions" / "low.npz", **changed)
    with pytest.raises(RunError, match="low/seed-1: predictions give"):
        read(target)
    (target / "predictions" / "low.npz").unlink()
    (target / "runs" / "low.json").unlink()
    file = target / "runs" / "high.json"
    file.write_text(file.read_text("utf-8").replace('"status": "finished"', '"status": "failed"'))
    with pytest.raises(RunError, match=r"high.json: seed 0: damaged"):
        read(target)


def on_another_device(copy: Path, **changes: Any) -> None:
    """As if variant ``low`` had been run on a GPU; ``changes`` are of its records."""
    for seed in (0, 1):
        file = copy / "runs" / "low" / f"seed-{seed}" / "run.json"
        record = read_sealed(file)
        assert record is not None
        hardware = {
            **record["provenance"]["hardware"],
            "accelerator": {"name": "NVIDIA X", "memory_bytes": 1},
        }
        provenance = {**record["provenance"], "hardware": hardware}
        write_sealed(file, {**record, "provenance": provenance, "timings": {"seconds": 60.0}, **changes})


def test_a_run_on_another_device_is_kept_as_that(copy: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    before = read(publish(copy, results)[0])
    on_another_device(copy)
    for _ in range(2):  # and stays so
        publish(copy, results)
    after = {variant.name: variant for variant in read(results / "trial").variants}
    assert after["low"].other == next(one.records for one in before.variants if one.name == "low")
    assert not after["base"].other and not after["high"].other
    text = page(read_all(results)).replace("\u00a0", " ")
    others = text.partition("## Earlier runs on other devices")[2].partition("## Provenance")[0]
    assert others.count("| low |") == 2 and "NVIDIA X" not in others
    assert "| trial | " in text.partition("## Provenance")[2] and "NVIDIA X, 0.0 GiB" in text
    line, more = [line for line in text.splitlines() if "(#trial) | low |" in line][:2]
    assert line.endswith("| NVIDIA X |") and "at once" not in more  # nobody knows how many shared it
    assert "their minutes are left out" in text
    assert overview(read_all(results)).startswith(b"\x89PNG")


def test_runs_of_an_older_recipe_are_no_other_device(copy: Path, tmp_path: Path) -> None:
    publish(copy, tmp_path / "results")
    file = copy / "runs" / "low" / "seed-0" / "run.json"
    record = read_sealed(file)
    assert record is not None
    identity = {**record["identity"], "recipe": {**record["identity"]["recipe"], "model": {}}}
    on_another_device(copy, identity=identity)
    with pytest.raises(RunError, match="low: seeds 0, 1 are published"):
        publish(copy, tmp_path / "results")
    publish(copy, tmp_path / "results", replace=True)
    assert not any(variant.other for variant in read(tmp_path / "results" / "trial").variants)


def test_published_seeds_are_not_lost(copy: Path, tmp_path: Path) -> None:
    target, _ = publish(copy, tmp_path / "results")
    before = sorted(path.name for path in target.rglob("*"))
    shutil.rmtree(copy / "runs" / "high" / "seed-1")
    report_again(copy)
    with pytest.raises(RunError, match="high: seeds 1 are published and not in this folder"):
        publish(copy, tmp_path / "results")
    assert sorted(path.name for path in target.rglob("*")) == before
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["trial"]


def test_a_failed_run_is_counted(copy: Path, tmp_path: Path) -> None:
    file = copy / "runs" / "low" / "seed-1" / "run.json"
    record = read_sealed(file)
    assert record is not None
    metrics = {"parameters": record["metrics"]["parameters"], "lr_min": 0.1, "lr_max": 0.1, "epochs": 0}
    error = {"kind": "diverged", "message": "no"}
    write_sealed(file, {**record, "status": "failed", "error": error, "metrics": metrics, "timings": {}})
    report_again(copy)
    publish(copy, tmp_path / "results")
    text = page(read_all(tmp_path / "results")).replace("\u00a0", " ")
    line, more = (line for line in text.splitlines() if "| low |" in line)
    assert "| low | 1 |" in line and " of 2 at 97 %" in more
    on_another_device(copy)  # both are finished there
    report_again(copy)
    publish(copy, tmp_path / "results")
    text = page(read_all(tmp_path / "results")).replace("\u00a0", " ")
    assert text.partition("## Earlier runs on other devices")[2].count("| low |") == 1


def test_fewer_variants_replace_the_others_only_where_that_is_asked_for(copy: Path, tmp_path: Path) -> None:
    target, _ = publish(copy, tmp_path / "results")
    shutil.rmtree(copy / "runs" / "high")
    report_again(copy)
    with pytest.raises(RunError, match="high: seeds 0, 1 are published and not in this folder"):
        publish(copy, tmp_path / "results")
    assert (target / "runs" / "high.json").is_file()
    publish(copy, tmp_path / "results", replace=True)
    assert not (target / "runs" / "high.json").exists()
    assert not (target / "other_runs").exists()  # they are of the same device


def test_a_damaged_run_and_a_report_of_other_runs_are_not_published(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy / "runs" / "low", tmp_path / "low")
    shutil.rmtree(copy / "runs" / "low" / "seed-1")
    with pytest.raises(RunError, match="its report is of other runs"):
        publish(copy, tmp_path / "results")
    shutil.copytree(tmp_path / "low" / "seed-1", copy / "runs" / "low" / "seed-1")
    (copy / "runs" / "low" / "seed-1" / "predictions.npz").write_text("damaged")
    with pytest.raises(RunError, match="low/seed-1: damaged: predictions.npz"):
        publish(copy, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def report_again(study: Path) -> None:
    """What --report-only would say of how many runs are finished."""
    report = read_sealed(study / "report.json")
    assert report is not None
    for each in report["variants"]:
        records = [read_sealed(file) for file in (study / "runs" / each["variant"]).glob("*/run.json")]
        each["finished"] = sum(record is not None and record["status"] == "finished" for record in records)
    write_sealed(study / "report.json", report)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs/low.json", b"{"),
        ("runs/low.json", b'{"shared": 1, "runs": [2]}'),
        ("predictions/low.npz", b""),
        ("predictions/low.npz", b"PK\x05\x06"),
        ("report.json", b"{}"),
        ("report.json", b"\xff"),
        ("study.toml", b"name ="),
    ],
)
def test_damage_of_what_is_published_is_one_line(
    copy: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    target, _ = publish(copy, tmp_path / "results")
    (target / name).write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        read_all(tmp_path / "results")
    assert str(caught.value).count("\n") == 0 and "trial" in str(caught.value)


def test_the_command_goes_on_after_a_study_that_cannot_be_published(copy: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.published", "--results", tmp_path / "results"]
    done = subprocess.run([*command, tmp_path / "gone"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines() == [
        f"error: {tmp_path}/gone: no report.json; run the study, or its report with --report-only",
        f"error: {tmp_path}/results: holds no published study",
    ]
    (copy / "figures" / "broken.png").write_text("no picture")
    done = subprocess.run([*command, copy], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot identify image file" in done.stderr.splitlines()[0]
    (copy / "figures" / "broken.png").unlink()
    done = subprocess.run([*command, tmp_path / "gone", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"trial", "README.md", "overview.png", "results.json"}


def test_a_trial_is_not_published_as_the_built_in_study(copy: Path, tmp_path: Path) -> None:
    study = (copy / "study.toml").read_text("utf-8").replace('name = "trial"', 'name = "quickstart"')
    (copy / "study.toml").write_text(study)
    with pytest.raises(RunError, match=r"quickstart: base is another recipe \(data.*in the built-in study"):
        publish(copy, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_grad_cam_of_the_same_runs_stays_where_their_weights_are_gone(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    target, _ = publish(copy, tmp_path / "results")
    kept = {file.name: file.read_bytes() for file in target.glob("figures/*gradcam.webp")}
    for file in [*copy.rglob(WEIGHTS), *copy.glob("figures/*gradcam.png")]:
        file.unlink()
    publish(copy, tmp_path / "results")
    assert kept and {file.name: file.read_bytes() for file in target.glob("figures/*gradcam.webp")} == kept
    for seed in (0, 1):
        file = copy / "runs" / "low" / f"seed-{seed}" / "run.json"
        record = read_sealed(file)
        assert record is not None
        write_sealed(file, {**record, "files": {**record["files"], WEIGHTS: "of another training"}})
    publish(copy, tmp_path / "results")
    assert not list(target.glob("figures/*gradcam.webp"))


def test_a_report_mentions_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("accuracy.png", "gradcam.webp"):
        (tmp_path / "figures" / name).write_text("")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "runs.csv").write_text("")
    report = (
        "# trial\n\nA question?\n\n> **Note:** No Grad-CAM of base: no run has its weights.\n\n"
        "**Accuracy**\n\n![Accuracy](figures/accuracy.png)\n\nDots.\n\n"
        "[tables/runs.csv](tables/runs.csv) · [tables/gone.csv](tables/gone.csv)\n\n"
        "**Errors**\n\n![Errors](figures/misclassified.png)\n\nThe worst.\n\n"
        "[tables/gone.csv](tables/gone.csv)\n\n## The end\n\n"
        "See [a page](https://example.org), runs/<variant>/seed-<n>/run.json.\n"
    )
    assert publishing.repaired(report, tmp_path) == (
        f"# trial\n\n{publishing.NOT_ALL}\n\nA question?\n\n"
        "**Accuracy**\n\n![Accuracy](figures/accuracy.png)\n\nDots.\n\n"
        "[tables/runs.csv](tables/runs.csv)\n\n"
        "## The end\n\nSee [a page](https://example.org), runs/<variant>.json.\n\n"
        f"## Grad-CAM\n\n{publishing.EARLIER}\n\n![Grad-CAM](figures/gradcam.webp)\n"
    )


def test_a_search_is_said_to_be_measured_on_the_hold_out_and_gives_the_list_no_accuracy() -> None:
    published = read_all(RESULTS)
    held = page(published).partition("## Measured on a hold-out")[2].partition("\n## ")[0]
    assert "| smoothing_02 | 1 | 89.10\u00a0% |" in held
    assert "search" not in json.loads(known(published)) and "onecycle" in json.loads(known(published))


def test_a_study_that_is_too_large_loses_what_is_worth_least_and_its_report_no_link(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    whole = size_of(publish(copy, results)[0])
    monkeypatch.setattr(publishing, "LARGEST", whole - 1)
    target, left_out = publish(copy, results)
    assert left_out == ["figures/low-augmented.webp"]
    monkeypatch.setattr(publishing, "LARGEST", 70_000)
    target, left_out = publish(copy, results)
    assert size_of(target) <= 70_000 and (target / "figures" / "accuracy.png").is_file()
    report = (target / "report.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)#][^)]*)\)", report)
    assert links and all((target / link).is_file() for link in links)
    assert publishing.NOT_ALL in report and "before and after augmentation" not in report
    monkeypatch.setattr(publishing, "LARGEST", 1000)
    with pytest.raises(RunError, match="1,000 are the most"):
        publish(copy, results)
    assert size_of(target) > 1000 and [path.name for path in results.iterdir()] == [
        "trial"
    ]  # what was published stays


def test_the_published_folder_is_no_source_of_itself(copy: Path) -> None:
    with pytest.raises(RunError, match="the published folder itself"):
        publish(copy, copy.parent)
    assert (copy / "report.html").is_file()


def test_fifty_seeds_fit(copy: Path, tmp_path: Path) -> None:
    """The records of many seeds share what is equal; their predictions shrink with them."""
    record = read_sealed(copy / "runs" / "low" / "seed-0" / "run.json")
    assert record is not None
    rng = np.random.default_rng(0)
    records = [
        {**record, "seed": seed, "timings": {"seconds": float(rng.random())}, "checksum": rng.bytes(32).hex()}
        for seed in range(50)
    ]
    assert len(records_text(records)) < 60_000
    labels = rng.integers(0, 10, 10_000)
    wrong = rng.random((10_000, 50)) < np.where(rng.random(10_000) < 0.1, 0.5, 0.01)[:, None]
    predicted = np.where(wrong, (labels[:, None] + 1) % 10, labels[:, None]).astype(np.uint8)
    np.savez_compressed(tmp_path / "many.npz", labels=labels.astype(np.uint8), predicted=predicted)
    assert (tmp_path / "many.npz").stat().st_size < 100_000


@pytest.mark.parametrize(
    ("name", "suffix", "width"),
    [("accuracy", ".png", 800), ("no_cutout-confusion", ".png", 800), ("gradcam", ".webp", 640)],
)
def test_figures_get_the_size_of_a_page(tmp_path: Path, name: str, suffix: str, width: int) -> None:
    Image.effect_noise((1600, 600), 50).convert("RGB").save(tmp_path / f"{name}.png")
    found, content = web_figure(tmp_path / f"{name}.png")
    (tmp_path / "small").write_bytes(content)
    with Image.open(tmp_path / "small") as picture:
        assert (found, picture.size) == (suffix, (width, width * 600 // 1600))
    assert len(content) < (tmp_path / f"{name}.png").stat().st_size / 2


def test_results_without_weights_are_taken_over(copy: Path, tmp_path: Path) -> None:
    for file in copy.rglob(WEIGHTS):
        file.unlink()
    target, _ = publish(copy, tmp_path / "results")
    assert [len(variant.records) for variant in read(target).variants] == [2, 2, 2]


def test_an_accuracy_without_the_images_that_are_not_lossless() -> None:
    assert len(set(CIFAR10_LOSSY)) == 20
    one = next(one for one in read_all(RESULTS) if one.folder.name == "onecycle")
    (variant,) = (each for each in one.variants if each.finished)
    kept = [index for index in range(10_000) if index not in CIFAR10_LOSSY]
    means = [
        (variant.predicted[kept, run] == variant.labels[kept]).mean() for run in range(len(variant.finished))
    ]
    text = f"{100 * np.mean(means):.2f} ± {100 * np.std(means, ddof=1):.2f} %"
    lines = page([one]).partition("## More about the runs")[2].replace("\u00a0", " ").splitlines()
    assert next(line for line in lines if "| base |" in line).split(" | ")[3] == text


@pytest.mark.parametrize("lacking", ["report.json", "runs"])
def test_what_is_not_finished_is_refused(copy: Path, tmp_path: Path, lacking: str) -> None:
    path: Any = copy / lacking
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(RunError, match=r"no report.json|no run is finished"):
        publish(copy, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_each_criterion_has_its_own_choice_and_the_studys_is_the_one_it_used(trial: Path) -> None:
    found = read_results(load_study(trial / "study.toml"), StudyFolder(trial.parent, trial.name), (), ())
    sweeps = {name: sweep for name, sweep in found.sweeps.items() if name == "base"}
    chosen = range_test_on_trial.choices(type(found)(found.study, found.runs, sweeps, {}))
    record = sweeps["base"].record
    assert chosen[record["criterion"]] == pytest.approx(record["lr_max"], rel=1e-9)
    assert set(chosen) == {"accuracy", "steepest", "valley", "minimum"}
