"""Results of several folders are compared like variants of one study, and only where they can be."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_ind, ttest_rel

from harness.analysis.side_by_side import SideBySide, compare_results
from harness.errors import StudyError
from harness.identity import LATER_KEYS
from harness.report.side_by_side import as_data, as_text, compose
from harness.report.topics.comparisons import COMPARISONS
from harness.store.sealed import read_sealed, write_sealed
from tests.lab import Lab, MakeLab

RIGHT = (330, 327, 333), (341, 340, 347)  # of 360 images, of three seeds in two folders
PUBLISHED = Path(__file__).parents[2] / "docs" / "results"


def fill(lab: Lab, rights: tuple[int, ...], variant: str = "base", **changes: Any) -> Path:
    """Finished runs of a variant, one for each number of images that is classified correctly."""
    for seed, right in enumerate(rights):
        lab.finish(variant, seed, logits=lab.logits(right), weights=b"none", **changes)
    lab.folder.write_study(lab.study.to_toml(), {})
    return lab.folder.path


@pytest.fixture
def pair(lab: MakeLab) -> Callable[..., list[Path]]:
    """Two filled folders, the second with changed keys of its study."""

    def make(rights: tuple[tuple[int, ...], tuple[int, ...]] = RIGHT, **changes: Any) -> list[Path]:
        return [fill(lab(name="first"), rights[0]), fill(lab(name="second", **changes), rights[1])]

    return make


def only(compared: SideBySide) -> dict[str, Any]:
    """The only test."""
    (test,) = as_data(compared)["tests"]
    return test


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every run.json below a folder, and seal it again."""
    for file in path.glob("runs/*/*/run.json"):
        record = read_sealed(file)
        assert record is not None
        change(record)
        write_sealed(file, record)


def test_two_folders_have_the_tests_of_two_variants(pair: Callable[..., list[Path]], lab: MakeLab) -> None:
    both = lab(variants={"wide": {"model.width": 8}})
    fill(both, RIGHT[0])
    fill(both, RIGHT[1], "wide")
    (expected,) = csv.DictReader(io.StringIO(COMPARISONS.csv(both.findings())))
    compared = compare_results(pair(model={"name": "custom_resnet", "width": 8, "bn_momentum": 0.5}))
    found = {name: "" if value is None else str(value) for name, value in only(compared).items()}
    assert found | {"variant": "wide", "baseline": "base"} == expected
    assert found["test"] == "paired t" and found["verdict"] == "better"
    assert float(found["p"]) == pytest.approx(ttest_rel(RIGHT[0], RIGHT[1]).pvalue)
    assert [row.key for row in compared.parameters] == ["model.width"]
    assert compared.parameters[0].values == ("4", "8") and not compared.environment and not compared.data


def test_the_variants_of_one_folder_can_be_named(lab: MakeLab) -> None:
    both = lab(variants={"wide": {"model.width": 8}})
    path = fill(both, RIGHT[0])
    fill(both, RIGHT[1], "wide")
    compared = compare_results([path, f"{path}:wide"])
    assert compared.labels == ["digits:base", "digits:wide"] and only(compared)["verdict"] == "better"
    assert compare_results([f"{path}:wide", path]).labels == ["digits:wide", "digits:base"]
    with pytest.raises(StudyError, match="no runs of variant 'wid', did you mean 'wide'"):
        compare_results([path, f"{path}:wid"])


def test_records_of_earlier_versions_differ_in_nothing(pair: Callable[..., list[Path]]) -> None:
    first, second = pair()

    def as_earlier(record: dict[str, Any]) -> None:
        for dotted in LATER_KEYS:
            *tables, key = dotted.split(".")
            table = record["recipe"]
            for name in tables:
                table = table.get(name, {})
            table.pop(key, None)

    edit(second, as_earlier)
    assert compare_results([first, second]).parameters == ()
    (second / "study.toml").unlink()
    edit(second, lambda record: record.update(study="quickstart"))  # a built-in study stands in
    assert [row.key for row in compare_results([first, second]).parameters if "augment" not in row.key] == []


def test_changed_transforms_are_named_each_by_itself(pair: Callable[..., list[Path]]) -> None:
    train = [
        {"transform": "HorizontalFlip", "p": 0.5},
        {"transform": "RandomCrop", "height": 32, "width": 30},
    ]
    rows = {row.key: row.values for row in compare_results(pair(augment={"train": train})).parameters}
    assert rows["augment.train.RandomCrop.width"] == ("32", "30")
    assert rows["augment.train.HorizontalFlip.p"] == ("not set", "0.5")
    assert rows["augment.train (order)"][1] == "HorizontalFlip > RandomCrop"
    assert "augment.train.RandomCrop.height" not in rows


def test_equal_results_are_called_identical(pair: Callable[..., list[Path]], tmp_path: Path) -> None:
    first, _ = pair()
    compared = compare_results([first, first])
    assert "first and first (2) are identical: the same configuration and the same predictions" in (
        compared.sentence
    )
    assert "against" not in compared.sentence and not compared.parameters
    edit(first, lambda record: record.update(digest="another"))
    assert "first and first (2) are identical" in compare_results([first, first]).sentence


def test_equal_recipes_with_other_seeds_are_no_identical_results(
    pair: Callable[..., list[Path]],
) -> None:
    compared = compare_results(pair())
    assert "identical" not in compared.sentence
    assert compared.notes == ["The configuration is the same (digest digest of ba)."]


@pytest.mark.parametrize(("seeds", "test"), [(3, "Welch t"), (1, None)])
def test_no_seed_and_no_image_is_paired_where_the_data_differ(
    seeds: int, test: str | None, pair: Callable[..., list[Path]]
) -> None:
    first, second = pair((RIGHT[0][:seeds], RIGHT[1][:seeds]))
    edit(second, lambda record: record["provenance"]["data"].update(sha256="0" * 64))
    compared = compare_results([first, second])
    found = only(compared)
    assert found["test"] == test and [row.key for row in compared.data] == ["data"]
    assert any(note.startswith("The data differ") for note in compared.notes)
    if test:
        assert found["p"] == pytest.approx(ttest_ind(RIGHT[0], RIGHT[1], equal_var=False).pvalue)
        assert "seeds" not in compared.sentence.partition("P(")[2]
    else:
        assert "not compared, they were not evaluated on the same images" in compared.sentence


def test_one_run_each_on_the_same_images_is_judged_by_mcnemar(pair: Callable[..., list[Path]]) -> None:
    assert only(compare_results(pair(((330,), (341,)))))["test"] == "McNemar"


def test_a_hold_out_is_never_compared_with_the_test_split(pair: Callable[..., list[Path]]) -> None:
    first, second = pair()
    edit(second, lambda record: record["provenance"]["data"].update(evaluated_on="holdout"))
    compared = compare_results([first, second])
    assert only(compared)["test"] is None and "not compared" in compared.sentence
    assert "first on the test, second on a hold-out" in " ".join(compared.notes)
    assert "on the hold-out images" in compared.sentence


def test_targets_of_different_metrics_are_said_and_accuracy_is_compared(
    pair: Callable[..., list[Path]],
) -> None:
    compared = compare_results(pair(target={"macro_f1": 0.8}))
    assert only(compared)["metric"] == "accuracy"
    assert compared.notes[0].startswith("The targets differ (first accuracy 0.7, second macro F1 0.8)")
    first, second = pair(target={"accuracy": 0.95})
    assert "reached counts the runs at 0.7" in compare_results([first, second]).notes[0]


def test_failed_and_damaged_runs_are_named_and_counted(pair: Callable[..., list[Path]]) -> None:
    first, second = pair()
    (second / "runs" / "base" / "seed-1" / "predictions.npz").write_bytes(b"?")
    compared = compare_results([first, second])
    assert any(note.startswith("second/seed-1 failed: damaged: predictions.npz") for note in compared.notes)
    assert only(compared)["n"] == 2 and "(1 of 3 failed)" in compared.sentence


def test_three_results_are_corrected_together_and_ranked(
    pair: Callable[..., list[Path]], lab: MakeLab
) -> None:
    third = fill(lab(name="third"), (331, 328, 332))
    compared = compare_results([*pair(), third])
    tests = as_data(compared)["tests"]
    assert [(one["variant"], one["baseline"]) for one in tests] == [("second", "first"), ("third", "first")]
    assert tests[0]["p_holm"] == pytest.approx(2 * tests[0]["p"]) and "after Holm" in compared.sentence
    assert compared.findings.ranking[0].variant == "second"
    page = compose(compared)
    assert page.title == "first, second and third" and page.verdict == compared.sentences[0]
    (items,) = [block.items for block in page.sections[0].blocks if block.kind == "list"]
    assert items == compared.sentences[1:] and len(items) == 3


def test_results_of_one_name_are_told_apart_by_their_folders(pair: Callable[..., list[Path]]) -> None:
    first, second = pair()
    other = first.parent / "trial"
    other.mkdir()
    moved = second.rename(other / "first")
    assert compare_results([first, moved]).labels == [f"{first.parent.name}/first", "trial/first"]


def test_published_results_are_compared_by_their_records() -> None:
    compared = compare_results([PUBLISHED / "onecycle", PUBLISHED / "annealed"])
    accuracies = [
        [
            float(row.get("accuracy") or row["test_accuracy"])
            for row in csv.DictReader(file.read_text("utf-8").splitlines())
        ]
        for name in ("onecycle", "annealed")
        if (file := PUBLISHED / name / "tables" / "runs.csv")
    ]
    found = only(compared)
    assert found["test"] == "paired t" and found["n"] == 5
    assert found["p"] == pytest.approx(ttest_rel(*accuracies).pvalue)
    rows = {row.key: row.values for row in compared.parameters}
    assert rows["schedule.lr_max"] == ("find: 0.1714", "0.4")


def test_a_file_of_a_result_stands_for_its_folder(pair: Callable[..., list[Path]]) -> None:
    first, second = pair()
    assert compare_results([first, second / "study.toml"]).labels == ["first", "second"]


def test_page_and_text_say_the_same(pair: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    compared = compare_results(pair(schedule={"epochs": 8, "peak_epoch": 1}))
    page, text = compose(compared), as_text(compared)
    assert page.verdict == compared.sentence and compared.sentence in " ".join(text.split())
    assert "schedule.epochs" in text and max(map(len, text.splitlines())) <= 80
    (table,) = [block for block in page.sections[1].blocks if block.kind == "table"]
    assert list(table.rows) == [("schedule.epochs", "4", "8")]
    figures = [block for section in page.sections for block in section.blocks if block.kind == "figure"]
    assert len(figures) == 1 and not any(block.files for section in page.sections for block in section.blocks)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nowhere", "first"], "nowhere: no such result, here or in"),
        (["frist", "first"], "did you mean 'first'"),
        (["first"], "name at least two results"),
        (["first", ""], "no such result"),
        (["first", "first:adam"], "no runs of variant 'adam'"),
        (["first", "empty"], "empty: no runs; start them"),
        (["first", "foreign"], "no study.toml; write it with"),
        (["first", "broken"], "not valid TOML"),
        (["first", "file"], "no such result"),
    ],
)
def test_what_is_no_result_is_said_in_a_line(
    names: list[str], said: str, pair: Callable[..., list[Path]]
) -> None:
    out = pair()[0].parent
    (out / "empty").mkdir()
    (out / "empty" / "study.toml").write_text("name = 1")
    (out / "foreign" / "runs" / "base" / "seed-0").mkdir(parents=True)
    (out / "broken" / "runs" / "base" / "seed-0").mkdir(parents=True)
    (out / "broken" / "study.toml").write_text("name = ")
    (out / "file").write_text("text")
    with pytest.raises(StudyError, match=said) as raised:
        compare_results(names, out)
    assert "\n" not in str(raised.value)
