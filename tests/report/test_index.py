"""index.html: every study of a folder, whatever else lies there, whoever else writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RunError
from harness.report.index import read_lines, write_index
from harness.report.write import write_report
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed, write_sealed

Lab = Callable[..., Any]
HOSTILE = '<script>alert(1)</script> & "quoted"'


class Page(HTMLParser):
    """Tags, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def reported(shared_lab: Lab) -> Path:
    """An output folder with one reported study: two finished runs, a failed and a missing one."""
    made = shared_lab(question=HOSTILE, seeds=[0, 1, 2, 3])
    made.finish("base", 0)
    made.finish("base", 1)
    made.fail("base", 2)
    write_report(made.study, made.folder, made.study.seeds, ["base"], None)
    return Path(made.folder.out)


@pytest.fixture
def out(reported: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(reported, tmp_path / "out")
    return tmp_path / "out"


def index(out: Path) -> str:
    write_index(StudyFolder(out, "digits"))
    return (out / "index.html").read_text(encoding="utf-8")


def test_a_study_has_its_question_verdict_numbers_date_and_link(out: Path) -> None:
    page, (line,) = Page(index(out)), read_lines(out)
    assert line.verdict.startswith("Target of 70 % ") and line.verdict in page.text
    assert HOSTILE in page.text and page.tags.count("script") == 1
    assert line.accuracies[0].endswith("% (n = 2)") and line.accuracies[0] in page.text
    assert (line.target, line.finished, line.failed, line.missing) == ("70 %", 2, 1, 1)
    assert line.last == "2026-01-02 03:05" and line.last in page.text
    assert page.addresses == ["digits/report.html"]


def test_it_is_a_pure_function_of_the_folders_wherever_they_lie(reported: Path, out: Path) -> None:
    assert index(out) == index(out) == index(reported)


def test_several_variants_are_named_with_their_numbers(lab: Lab) -> None:
    place = lab(variants={"other": {"model.width": 5}})
    place.finish("base", 0)
    place.fail("other", 0)
    write_report(place.study, place.folder, [0], list(place.study.recipes), None)
    (line,) = read_lines(place.folder.out)
    assert [text.partition(":")[0] for text in line.accuracies] == ["base", "other"]
    assert line.accuracies[1] == "other: 1 of 1 failed"


def test_a_target_of_another_metric_stands_with_its_name_and_is_sorted_among_no_accuracies(
    lab: Lab, out: Path
) -> None:
    assert "accuracy ± std over seeds" in Page(index(out)).text
    place = lab(name="by_loss", target={"nll": 2.5})
    place.finish("base", 0)
    write_report(place.study, place.folder, [0], list(place.study.recipes), None)
    shutil.copytree(place.folder.path, out / "by_loss", dirs_exist_ok=True)
    line = next(line for line in read_lines(out) if line.name == "by_loss")
    assert (line.target, line.accuracy) == ("2.5 or less", None)
    assert line.accuracies[0].startswith("NLL ") and "%" not in line.accuracies[0]
    assert "result ± std over seeds" in Page(index(out)).text


def test_a_report_of_version_2_is_read(out: Path) -> None:
    file = out / "digits" / "report.json"
    before, entry = read_lines(out), {**(read_sealed(file) or {})}
    later = {"metric", "target_text", "accuracy_mean", "accuracy_std", "metric_mean", "metric_std"}
    variants = [{name: one[name] for name in one if name not in later} for one in entry["variants"]]
    kept = {name: value for name, value in entry.items() if name not in later | {"sha256"}}
    write_sealed(file, {**kept, "variants": variants})
    assert read_lines(out) == before


def test_what_is_no_study_is_passed_over(out: Path) -> None:
    (out / "notes").mkdir()
    (out / "notes" / "study.toml").write_text("name = 'x'")
    (out / ".hidden").mkdir()
    (out / "a file.txt").write_text("x")
    (out / "dangling").symlink_to(out / "nowhere")
    assert [line.name for line in read_lines(out)] == ["digits"]


def test_studies_are_sorted_and_one_without_a_report_is_listed(out: Path) -> None:
    shutil.copytree(out / "digits", out / "a-copy")
    (out / "begun" / "runs").mkdir(parents=True)
    (out / "begun" / "study.toml").write_text("")
    assert [line.name for line in read_lines(out)] == ["a-copy", "begun", "digits"]
    assert "There is no report.json yet" in Page(index(out)).text


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text("{"),
        lambda file: file.write_bytes(file.read_bytes().replace(b"70 %", b"71 %")),
        lambda file: write_sealed(file, {"variants": "none"}),
        lambda file: write_sealed(file, {**(read_sealed(file) or {}), "variants": [{"variant": "base"}]}),
        lambda file: write_sealed(file, {**(read_sealed(file) or {}), "target": "high"}),
        lambda file: file.write_bytes(b" " * 10_000_001),
    ],
)
def test_a_damaged_study_is_listed_as_that_and_breaks_nothing(
    out: Path, damage: Callable[[Path], Any]
) -> None:
    shutil.copytree(out / "digits", out / "whole")
    damage(out / "digits" / "report.json")
    page = Page(index(out))
    assert page.text.count("Its report.json is damaged") == 1
    assert page.addresses == ["digits/report.html", "whole/report.html"]


def test_programs_can_read_the_findings(out: Path) -> None:
    found = json.loads((out / "digits" / "report.json").read_text(encoding="utf-8"))
    assert (found["study"], found["met"], found["target"]) == ("digits", False, 0.7)
    (variant,) = found["variants"]
    assert (variant["finished"], variant["failed"], variant["missing"]) == (2, 1, 1)
    assert 0 < variant["test_accuracy_mean"] < 1


@pytest.mark.slow
def test_two_processes_at_once_leave_a_whole_page_with_both_studies(out: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.report.index import write_index; "
        "from harness.store.folders import StudyFolder; "
        "from harness.store.sealed import read_sealed, write_sealed\n"
        "out, name = Path(sys.argv[1]), sys.argv[2]\n"
        "record = read_sealed(out / 'digits/report.json')\n"
        "for turn in range(15):\n"
        "    write_sealed(out / f'{name}-{turn}/report.json', record)\n"
        "    write_index(StudyFolder(out, name))\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(out), name]) for name in ("one", "two")]
    while any(process.poll() is None for process in both):
        if (out / "index.html").exists():
            assert (out / "index.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert [process.returncode for process in both] == [0, 0]
    assert Page((out / "index.html").read_text(encoding="utf-8")).tags.count("tr") == 1 + 1 + 2 * 15


def test_what_a_killed_writer_left_is_cleared_away_and_a_users_file_is_not(out: Path) -> None:
    left, own = out / ".index.html.4711-0123abcd.tmp", out / ".mine.tmp"
    for path in (left, own):
        path.write_text("half")
    index(out)
    assert not left.exists() and own.read_text() == "half"


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(out: Path) -> None:
    (out / "index.html").unlink(missing_ok=True)
    (out / "index.html").mkdir()
    with pytest.raises(RunError, match="index.html: cannot be written"):
        write_index(StudyFolder(out, "digits"))
