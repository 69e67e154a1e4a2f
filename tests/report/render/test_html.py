"""The page and the Markdown: the same words, nothing from elsewhere, and no markup from a study's strings."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from harness.report.write import write_report

Lab = Callable[..., Any]
HOSTILE = '<script>alert(1)</script> "quoted" & | `x` [y](http://z) *b* _i_ \\ # {{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags, the addresses in them, and the text, tables and alternative texts included."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def says(self, words: str) -> bool:
        """A plain yes or no: pytest would take minutes to compare a page with a sentence."""
        return words in self.text


@pytest.fixture(scope="module")
def place(shared_lab: Lab) -> Any:
    """A study of hostile strings with a finished, a failed and a missing run, reported without its data.

    The finished one is right on 260 of 360 images, whatever a training gives on this processor.
    """
    made = shared_lab(question=HOSTILE, references={"paper": {"test_accuracy": 0.8, "source": HOSTILE}})
    classes = [HOSTILE, *(str(digit) for digit in range(1, 10))]
    labels = made.data.evaluation.labels
    predicted = np.where(np.arange(360) < 260, labels, (labels + 1) % 10)
    made.finish("base", 0, classes=classes, logits=3.0 * np.eye(10)[predicted])
    made.fail("base", 1, message=HOSTILE)
    made.sweep()
    write_report(made.study, made.folder, made.study.seeds, ["base"], None)
    return made


def html(lab: Any) -> str:
    return str((lab.folder.path / "report.html").read_text(encoding="utf-8"))


def markdown(lab: Any) -> str:
    return str((lab.folder.path / "report.md").read_text(encoding="utf-8"))


def rendered(text: str) -> Page:
    return Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def test_the_page_needs_nothing_from_elsewhere(place: Any) -> None:
    page = Page(html(place))
    assert "link" not in page.tags and page.tags.count("script") == page.tags.count("style") == 1
    beside = ("#", "tables/", "figures/", "runs/")
    assert all(address.startswith(("data:image/webp;base64,", *beside)) for address in page.addresses)
    assert sum(address.startswith("data:") for address in page.addresses) == 7


def test_the_policy_lets_a_browser_take_our_own_style_and_script_alone(place: Any) -> None:
    text = html(place)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"(?s)<{tag}>(.*?)</{tag}>", text)
        checksum = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{checksum}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;;") and "unsafe" not in policy


def test_what_the_page_offers_lies_beside_it(place: Any) -> None:
    offered = [
        address
        for address in Page(html(place)).addresses
        if address.startswith(("tables/", "figures/", "runs/"))
    ]
    assert {"tables/summary.csv", "tables/runs.csv", "figures/curves.png"} <= set(offered)
    assert {"runs/base/seed-0/run.json", "runs/base/seed-1/run.json"} <= set(offered)
    assert all((place.folder.path / address).is_file() for address in offered)
    linked = re.findall(r"\[[^\]]*\]\((tables/[^)]+)\)", markdown(place))
    assert set(linked) == {address for address in offered if address.startswith("tables/")}


def test_strings_of_a_study_are_shown_and_never_become_markup(place: Any) -> None:
    for page in (Page(html(place)), rendered(markdown(place))):
        assert not {"em", "b", "i"} & set(page.tags) and page.tags.count("script") <= 1
        shown = page.text.count(HOSTILE)
        assert shown >= 3  # question, source of the reference, cause of the failure
        assert not any(address.startswith("http") for address in page.addresses)


def test_both_say_the_verdict_before_anything_else(place: Any) -> None:
    verdict = (
        "Target of 70 % reached by 1 of 2 runs: 72.2 % test accuracy, from the one run that finished "
        "(1 run failed, 1 not finished yet)."
    )
    for page in (Page(html(place)), rendered(markdown(place))):
        assert page.says(verdict)
        assert page.text.index(verdict) < page.text.index("± is the standard deviation over seeds")


def test_both_show_the_same_tables_and_captions(place: Any) -> None:
    page, same = Page(html(place)), rendered(markdown(place))
    assert page.tags.count("table") == same.tags.count("table")
    assert page.tags.count("td") == same.tags.count("td")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html(place))
    assert len(captions) == 7
    for caption in captions:
        assert same.says(Page(caption).text)


def test_a_row_of_the_markdown_keeps_its_cells_and_numbers(place: Any) -> None:
    rows = [line for line in markdown(place).splitlines() if line.startswith("| base/seed-")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows[:2]] == [10, 10]  # a bar in a cell is none
    assert "| 72.22 |" in rows[0]


def test_figures_of_the_markdown_lie_beside_it(place: Any) -> None:
    files = re.findall(r"!\[[^\]]*\]\((figures/[^)]+)\)", markdown(place))
    assert len(files) == 7
    assert all((place.folder.path / file).is_file() for file in files)


def test_every_spread_is_explained_and_the_study_can_be_repeated(place: Any) -> None:
    page = Page(html(place))
    assert page.says("Every ± in this report is the standard deviation over seeds (divisor n - 1")
    assert page.says("The 95 % interval of the mean is the t interval over seeds")
    assert page.says(" ".join(place.study.to_toml().split()))
    assert page.says("python -m harness.study study.toml --out DIR --report-only")


@pytest.mark.parametrize(
    "start", ["- list", "+ list", "1. list", "12) list", "# head", "> quote", "=== line"]
)
def test_no_text_begins_a_list_a_heading_or_a_quotation(lab: Lab, start: str) -> None:
    place = lab(question=start)
    write_report(place.study, place.folder, [0], ["base"], None)
    lines = markdown(place).splitlines()
    page = rendered("\n".join(lines[: lines.index("## Result")]))
    assert page.tags == ["h1", "p", "p", "strong"]
    assert page.says(start)


def test_backticks_in_a_study_cannot_end_its_code_block(lab: Lab) -> None:
    place = lab(question="```\n<script>````")
    write_report(place.study, place.folder, [0], ["base"], None)
    assert "script" not in rendered(markdown(place)).tags
