"""The published results: what a study's folder gives them, their size, and the page over them."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import range_test_on_trial
from benchmarks.published import publish as publishing
from benchmarks.published.figure import MEAN, OTHER, PUBLISHED, SEED, draw, overview
from benchmarks.published.page import known, page
from benchmarks.published.publish import publish, size_of
from benchmarks.published.read import KNOWN, RESULTS, ROOT, Published, Variant, read, read_all
from benchmarks.published.records import records_text
from benchmarks.published.rows import CIFAR10_LOSSY
from benchmarks.published.web import web_figure
from harness.analysis.numbers import plus_minus
from harness.analysis.references import claims
from harness.analysis.results import read_results
from harness.analysis.units import accuracy_text
from harness.errors import HarnessError, RunError
from harness.statistics.distribution import describe
from harness.store.folders import WEIGHTS, StudyFolder
from harness.store.published import read_records
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.builtin import builtin_studies
from harness.study_file.load import load_study
from harness.training.range_test.choice import CRITERIA

SMALL = """
precision=float32 data.train_limit=64 data.test_limit=40 data.batch_size=20 model.width=2 schedule.epochs=1
schedule.peak_epoch=0.5 range_test.iterations=10 attribution.images=1 attribution.layers=["res2"]
"""
MORE = """
references.elsewhere.test_accuracy = 1.0
variants.low = { "schedule.lr_max" = 0.01, "schedule.lr_min" = 0.001 }
variants.high = { "schedule.lr_max" = 0.1, "schedule.lr_min" = 0.01 }
"""


@pytest.fixture(scope="module")
def published() -> list[Published]:
    """The studies in docs/results."""
    return read_all(RESULTS)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a found rate and two fixed ones."""
    place = tmp_path_factory.mktemp("published")
    study = place / "trial.toml"
    quickstart = builtin_studies()["quickstart"].read_text("utf-8")
    study.write_text(MORE + quickstart.replace('name = "quickstart"', 'name = "trial"'), "utf-8")
    command = [sys.executable, "-m", "harness.study", str(study), "--seeds", "0,1", "--out", str(place)]
    settings = [part for setting in SMALL.split() for part in ("--set", setting)]
    # a cache of its own: runs of other tests would count as runs at once
    environment = os.environ | {"HARNESS_CACHE": str(place / "cache")}
    subprocess.run([*command, "--launcher", "serial", *settings], env=environment, check=True)
    return place / "trial"


@pytest.fixture
def copy(trial: Path, tmp_path: Path) -> Path:
    """One that may be changed, with few figures."""
    few = {"accuracy.png", "low-gradcam.png", "low-augmented.png"}
    left_out = {file.name for file in (trial / "figures").iterdir()} - few
    return Path(shutil.copytree(trial, tmp_path / "trial", ignore=shutil.ignore_patterns(*left_out)))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the copy is published."""
    return tmp_path / "results"


def page_text(results: Path) -> str:
    return page(read_all(results)).replace("\u00a0", " ")


def sealed(file: Path) -> dict[str, Any]:
    content = read_sealed(file)
    assert content is not None
    return content


def record_file(study: Path, seed: int, variant: str = "low") -> Path:
    return study / "runs" / variant / f"seed-{seed}" / "run.json"


def on_another_device(study: Path, **changes: Any) -> None:
    """Change a study as if variant ``low`` had been run on a GPU; ``changes`` are of its records."""
    for seed in (0, 1):
        record = sealed(record_file(study, seed)) | {"timings": {"seconds": 60.0}} | changes
        record["provenance"]["hardware"]["accelerator"] = {"name": "NVIDIA X", "memory_bytes": 1}
        write_sealed(record_file(study, seed), record)


def report_again(study: Path) -> None:
    """Write what --report-only would say of how many runs are finished."""
    report = sealed(study / "report.json")
    for each in report["variants"]:
        records = [sealed(file) for file in (study / "runs" / each["variant"]).glob("*/run.json")]
        each["finished"] = sum(record["status"] == "finished" for record in records)
    write_sealed(study / "report.json", report)


# ---- what is committed -------------------------------------------------------------------------------------


def test_the_committed_page_is_what_the_records_and_predictions_give(published: list[Published]) -> None:
    assert (RESULTS / "README.md").read_text("utf-8") == page(published)
    assert KNOWN.read_text("utf-8") == known(published)


def marks(axes: Any) -> dict[str, list[list[float]]]:
    """Give the x coordinates of a panel's marks, by their label."""
    lines = [(line.get_label(), [float(x) for x in line.get_xdata()]) for line in axes.get_lines()]
    return {label: [xs for name, xs in lines if name == label] for label in (SEED, OTHER, MEAN, PUBLISHED)}


def test_the_figure_shows_every_run_and_every_published_accuracy(published: list[Published]) -> None:
    panels = {axes.get_title("left"): axes for axes in draw(published).axes}
    for one in published:
        means = [describe(variant.accuracies) for variant in one.variants if len(variant.accuracies) > 1]
        references = [(name, each) for name in one.variants for each in one.study.references.values()]
        assert marks(panels[one.name]) == {
            SEED: [variant.accuracies for variant in one.variants],
            OTHER: [[record.metrics["test_accuracy"] for record in each.other] for each in one.variants],
            MEAN: [[each.ci_low, each.mean, each.ci_high] for each in means if each],
            PUBLISHED: [[each.accuracy] for variant, each in references if each.is_of(variant.name)],
        }
    drawn, kept = (Image.open(file) for file in (io.BytesIO(overview(published)), RESULTS / "overview.png"))
    assert drawn.size == kept.size


def test_one_study_far_off_leaves_the_others_readable(published: list[Published]) -> None:
    far = next(one for one in published if one.name == "s11_l1")
    (variant,) = far.variants
    wrong = (variant.labels[:, None] + np.arange(2)) % 10  # all right, and none
    two = dataclasses.replace(variant, records=variant.records * 2, predicted=wrong)
    axes = draw([*published, dataclasses.replace(far, variants=(two,))]).axes
    widths = [high - low for low, high in (each.get_xlim() for each in axes if each.get_title("left"))]
    assert len(set(np.round(widths[:-1], 9))) == 1 and widths[0] < 0.06 < 1 < widths[-1]


def test_the_committed_tables_say_what_the_page_says(published: list[Published]) -> None:
    for one in published:
        summary = pd.read_csv(one.folder / "tables" / "summary.csv").set_index("variant")
        runs = pd.read_csv(one.folder / "tables" / "runs.csv")
        for variant in [variant for variant in one.variants if variant.finished]:
            accuracy, row = describe(variant.accuracies), summary.loc[variant.name]
            assert accuracy is not None and row.runs == len(variant.records)
            assert row.test_accuracy_mean == pytest.approx(accuracy.mean, abs=1e-12)
            if accuracy.std is not None:
                assert row.test_accuracy_std == pytest.approx(accuracy.std, abs=1e-12)
            mine = runs[(runs.variant == variant.name) & (runs.status == "finished")]
            assert mine.test_accuracy.tolist() == pytest.approx(variant.accuracies, abs=1e-12)


def test_claims_that_the_report_judged_are_judged_alike_on_the_page(published: list[Published]) -> None:
    judged = 0
    for one in published:
        file = one.folder / "tables" / "references.csv"
        for row in pd.read_csv(file).to_dict("records") if file.is_file() else []:
            variant = next(each for each in one.variants if each.name == row["variant"])
            by_statistic = {
                claim.statistic: claim for claim in claims(one.study.references[row["reference"]])
            }
            claim = by_statistic[row.get("statistic", "mean")]
            standing = claim.standing(variant.accuracies, len(variant.records))
            assert standing.difference == pytest.approx(row["difference"], abs=1e-12)
            assert {True: "yes", False: "no", None: "nan"}[standing.plausible] == str(row["plausible"])
            judged += 1
    assert judged >= 6


def test_readme_and_study_files_say_what_was_measured(published: list[Published]) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for one in published:
        head = builtin_studies()[one.name].read_text("utf-8").partition("\nname =")[0]
        for variant in one.variants:
            accuracy = describe(variant.accuracies)
            if accuracy is None or variant.evaluated_on == "holdout":
                continue
            text = accuracy_text(accuracy, one.study.target.level, decimals=2)
            for place in [head, readme] if one.name == "onecycle" else [head]:
                assert text in place and f"n = {accuracy.n}" in place, f"{one.name}: {text}"


def test_an_accuracy_without_the_images_that_are_not_lossless(published: list[Published]) -> None:
    assert len(set(CIFAR10_LOSSY)) == 20
    one = next(one for one in published if one.name == "onecycle")
    (variant,) = (each for each in one.variants if each.finished)
    kept = [index for index in range(10_000) if index not in CIFAR10_LOSSY]
    means = (variant.predicted[kept] == variant.labels[kept, None]).mean(axis=0)
    text = f"{100 * np.mean(means):.2f} ± {100 * np.std(means, ddof=1):.2f} %"
    details = page([one]).partition("## More about the runs")[2].replace("\u00a0", " ")
    assert next(line for line in details.splitlines() if "| base |" in line).split(" | ")[3] == text


def test_a_search_is_said_to_be_measured_on_the_hold_out_and_gives_the_list_no_accuracy(
    published: list[Published],
) -> None:
    held = page(published).partition("## Measured on a hold-out")[2].partition("\n## ")[0]
    assert "| smoothing_02 | 1 | 89.10\u00a0% |" in held
    listed = json.loads(known(published))
    assert "search" not in listed and "onecycle" in listed


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
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 8_000_000


# ---- publishing --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_is_published_with_its_own_records_and_without_weights(
    trial: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    target, left_out = publish(trial, results)
    kept = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {"report.md", "tables/summary.csv", "figures/accuracy.png", "runs/low.json"} <= kept
    assert {"predictions/low.npz", "figures/low-gradcam.webp", "range_test/base.json"} <= kept
    assert not {"tables/learning_rates.csv", "tables/misclassified.csv"} & kept and left_out == []
    assert not any(name.endswith((".safetensors", ".pt", ".html")) for name in kept)
    for variant in read(target).variants:
        records = read_records(target / "runs" / f"{variant.name}.json")
        for record, accuracy in zip(records, variant.accuracies, strict=True):
            file = record_file(trial, record["seed"], variant.name)
            assert record == json.loads(file.read_text("utf-8"))
            run = np.load(file.with_name("predictions.npz"))
            assert accuracy == (run["logits"].argmax(axis=1) == run["labels"]).mean()
    (target / "tables" / "gone.csv").write_text("old")
    publish(trial, results)
    assert not (target / "tables" / "gone.csv").exists() and not (target / "other_runs").exists()


def test_a_published_study_stands_on_the_page(copy: Path, results: Path) -> None:
    publish(copy, results)
    text = page_text(results)
    for row in pd.read_csv(copy / "tables" / "summary.csv").to_dict("records"):
        line, more = (line for line in text.splitlines() if f"| {row['variant']} |" in line)
        accuracy = plus_minus(100 * row["test_accuracy_mean"], 100 * row["test_accuracy_std"], 2)
        assert f"| {row['variant']} | 2 | {accuracy} % | 100 %, 1 run |" in line
        assert "| 1 | " in more and "(1 at once)" in more
    assert "python -m harness.study annealed --seeds 0,1,2,3,4" in text  # all of it


@pytest.mark.parametrize("values", [
    [{"b": 1, "c": {}}, {"b": 2, "c": {}}], [{}, {"b": 2}], [{"b": 1}, [1]], [0, 0.0], [[1, 2.0], [1, 2]],
    [None, ...], [1, True, {"b": None}], [{"b": {"c": 1}}],
])  # fmt: skip
def test_records_come_back_whole(values: list[Any], tmp_path: Path) -> None:
    records = [{"seed": at} | ({} if value is ... else {"a": value}) for at, value in enumerate(values, 9)]
    with_checksums = [record | {"checksum": digest(record)} for record in records]
    (tmp_path / "base.json").write_text(records_text(with_checksums[::-1]))
    assert list(read_records(tmp_path / "base.json")) == with_checksums


def test_changed_predictions_or_records_are_refused(copy: Path, results: Path) -> None:
    target, _ = publish(copy, results)
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


def others(text: str) -> str:
    return text.partition("## Earlier runs on other devices")[2].partition("## Provenance")[0]


def test_a_run_on_another_device_is_kept_as_that(copy: Path, results: Path) -> None:
    def variants() -> dict[str, Variant]:
        return {variant.name: variant for variant in read(results / "trial").variants}

    publish(copy, results)
    before = variants()
    on_another_device(copy)
    for _ in range(2):  # and stays so
        publish(copy, results)
    after = variants()
    assert after["low"].other == before["low"].records
    assert not after["base"].other and not after["high"].other
    text = page_text(results)
    assert others(text).count("| low |") == 2 and "NVIDIA X" not in others(text)
    assert "| trial | " in text.partition("## Provenance")[2] and "NVIDIA X, 0.0 GiB" in text
    line, more = [line for line in text.splitlines() if "(#trial) | low |" in line][:2]
    assert line.endswith("| NVIDIA X |") and "at once" not in more  # nobody knows how many shared it
    assert "Minutes are left out" in text
    assert overview(read_all(results)).startswith(b"\x89PNG")


LOST = "seeds {} are published and not in this folder"


def test_runs_of_an_older_recipe_are_no_other_device(copy: Path, results: Path) -> None:
    publish(copy, results)
    identity = sealed(record_file(copy, 0))["identity"]
    on_another_device(copy, identity=identity | {"recipe": identity["recipe"] | {"model": {}}})
    with pytest.raises(RunError, match="low: " + LOST.format("0, 1")):
        publish(copy, results)
    publish(copy, results, replace=True)
    assert not any(variant.other for variant in read(results / "trial").variants)


@pytest.mark.parametrize(("gone", "seeds"), [("high/seed-1", "1"), ("high", "0, 1")])
def test_published_seeds_are_lost_only_where_that_is_asked_for(
    copy: Path, results: Path, gone: str, seeds: str
) -> None:
    target, _ = publish(copy, results)
    before = sorted(path.name for path in results.rglob("*"))
    shutil.rmtree(copy / "runs" / gone)
    report_again(copy)
    with pytest.raises(RunError, match="high: " + LOST.format(seeds)):
        publish(copy, results)
    assert sorted(path.name for path in results.rglob("*")) == before
    publish(copy, results, replace=True)
    assert len(read_records(target / "runs" / "high.json")) == (1 if seeds == "1" else 0)
    assert not (target / "other_runs").exists()  # they are of the same device


def test_a_failed_run_is_counted(copy: Path, results: Path) -> None:
    record = sealed(record_file(copy, 1))
    metrics = {"parameters": record["metrics"]["parameters"], "lr_min": 0.1, "lr_max": 0.1, "epochs": 0}
    failed = {"status": "failed", "error": {"kind": "diverged", "message": "no"}, "metrics": metrics}
    write_sealed(record_file(copy, 1), record | failed | {"timings": {}})
    report_again(copy)
    publish(copy, results)
    line, more = (line for line in page_text(results).splitlines() if "| low |" in line)
    assert "| low | 1 |" in line and " of 2 at 97 %" in more
    on_another_device(copy)  # both are finished there
    report_again(copy)
    publish(copy, results)
    assert others(page_text(results)).count("| low |") == 1


def rename(study: Path) -> None:
    text = (study / "study.toml").read_text("utf-8")
    (study / "study.toml").write_text(text.replace('name = "trial"', 'name = "quickstart"'))


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("no report.json", lambda study: (study / "report.json").unlink()),
        ("no run is finished", lambda study: shutil.rmtree(study / "runs")),
        ("its report is of other runs", lambda study: shutil.rmtree(study / "runs/low/seed-1")),
        (
            "low/seed-1: damaged: predictions.npz",
            lambda study: record_file(study, 1).with_name("predictions.npz").write_text("damaged"),
        ),
        (r"quickstart: base is another recipe \(data.*in the built-in study", rename),
    ],
)
def test_a_study_is_not_published(
    copy: Path, results: Path, words: str, change: Callable[[Path], None]
) -> None:
    change(copy)
    with pytest.raises(RunError, match=words):
        publish(copy, results)
    assert not results.exists()


def test_the_published_folder_is_no_source_of_itself(copy: Path) -> None:
    with pytest.raises(RunError, match="the published folder itself"):
        publish(copy, copy.parent)
    assert (copy / "report.html").is_file()


@pytest.mark.parametrize(("name", "content"), [
    ("runs/low.json", b"{"), ("runs/low.json", b'{"shared": 1, "runs": [2]}'), ("predictions/low.npz", b""),
    ("predictions/low.npz", b"PK\x05\x06"), ("report.json", b"{}"), ("report.json", b"\xff"),
    ("study.toml", b"name ="),
])  # fmt: skip
def test_damage_of_what_is_published_is_one_line(
    copy: Path, results: Path, name: str, content: bytes
) -> None:
    target, _ = publish(copy, results)
    (target / name).write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        read_all(results)
    assert str(caught.value).count("\n") == 0 and "trial" in str(caught.value)


@pytest.mark.slow
def test_the_command_goes_on_after_a_study_that_cannot_be_published(
    copy: Path, results: Path, tmp_path: Path
) -> None:
    def publish_all(*studies: Path) -> list[str]:
        command = [sys.executable, "-m", "benchmarks.published", "--results", *map(str, (results, *studies))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()

    assert publish_all(tmp_path / "gone") == [
        f"error: {tmp_path}/gone: no report.json; run the study, or its report with --report-only",
        f"error: {results}: holds no published study",
    ]
    (copy / "figures" / "broken.png").write_text("no picture")
    assert "cannot identify image file" in publish_all(copy)[0]
    (copy / "figures" / "broken.png").unlink()
    assert len(publish_all(tmp_path / "gone", copy)) == 1
    names = {path.name for path in results.iterdir()}
    assert names == {"trial", "README.md", "overview.png", "results.json"}


def test_grad_cam_of_the_same_runs_stays_where_their_weights_are_gone(
    copy: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradcam() -> dict[str, bytes]:
        target, _ = publish(copy, results)
        return {file.name: file.read_bytes() for file in target.glob("figures/*gradcam.webp")}

    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    kept = gradcam()
    for file in [*copy.rglob(WEIGHTS), *copy.glob("figures/*gradcam.png")]:
        file.unlink()
    assert kept and gradcam() == kept
    assert [len(variant.records) for variant in read(results / "trial").variants] == [2, 2, 2]
    for seed in (0, 1):
        record = sealed(record_file(copy, seed))
        files = record["files"] | {WEIGHTS: "of another training"}
        write_sealed(record_file(copy, seed), record | {"files": files})
    assert gradcam() == {}


# ---- size --------------------------------------------------------------------------------------------------


def test_a_report_mentions_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    for name in ("figures/accuracy.png", "figures/gradcam.webp", "tables/runs.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
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


def test_a_study_that_is_too_large_loses_what_is_worth_least_and_its_report_no_link(
    copy: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 10_000_000)
    whole = size_of(publish(copy, results)[0])
    monkeypatch.setattr(publishing, "LARGEST", whole - 1)
    assert publish(copy, results)[1] == ["figures/low-augmented.webp"]
    monkeypatch.setattr(publishing, "LARGEST", 120_000)
    target, _ = publish(copy, results)
    assert size_of(target) <= 120_000 and (target / "figures" / "accuracy.png").is_file()
    report = (target / "report.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)#][^)]*)\)", report)
    assert links and all((target / link).is_file() for link in links)
    assert publishing.NOT_ALL in report and "before and after augmentation" not in report
    monkeypatch.setattr(publishing, "LARGEST", 1000)
    with pytest.raises(RunError, match="more than 1,000"):
        publish(copy, results)
    assert size_of(target) > 1000 and [path.name for path in results.iterdir()] == ["trial"]  # as it was


def test_the_records_of_fifty_seeds_fit(copy: Path) -> None:
    record, rng = sealed(record_file(copy, 0)), np.random.default_rng(0)
    own = [{"timings": {"seconds": float(rng.random())}, "checksum": rng.bytes(32).hex()} for _ in range(50)]
    records = [record | {"seed": seed} | each for seed, each in enumerate(own)]
    assert len(records_text(records)) < 60_000


@pytest.mark.parametrize(
    ("name", "suffix", "width"),
    [("accuracy", ".png", 800), ("no_cutout-confusion", ".png", 800), ("gradcam", ".webp", 640)],
)
def test_figures_get_the_size_of_a_page(tmp_path: Path, name: str, suffix: str, width: int) -> None:
    file = tmp_path / f"{name}.png"
    Image.effect_noise((1600, 600), 50).convert("RGB").save(file)
    made, content = web_figure(file)
    with Image.open(io.BytesIO(content)) as picture:
        assert (made, picture.size) == (suffix, (width, width * 600 // 1600))
    assert len(content) < file.stat().st_size / 2


# ---- the range test on trial -------------------------------------------------------------------------------


def test_each_criterion_has_its_own_choice_and_the_studys_is_the_one_it_used(trial: Path) -> None:
    study = load_study(str(trial / "study.toml"))
    results = read_results(study, StudyFolder(trial.parent, trial.name), (), ())
    sweeps = {"base": results.range_tests["base"]}
    chosen = range_test_on_trial.choices(dataclasses.replace(results, range_tests=sweeps))
    record = sweeps["base"].record
    assert chosen[record["criterion"]] == pytest.approx(record["lr_max"], rel=1e-9)
    assert list(chosen) == list(CRITERIA)
    assert range_test_on_trial.draw(dataclasses.replace(results, range_tests=sweeps)).startswith(b"\x89PNG")
