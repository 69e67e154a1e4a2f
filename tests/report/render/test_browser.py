"""The page and the index in a real browser: opened from disk, sorted, enlarged, narrow, dark, printed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

from harness.report.index import write_index
from harness.report.write import write_report

Lab = Callable[..., Any]
NARROW, WIDE = (390, 844), (1440, 900)
BREAK_OUT = '</script><img src=x onerror="window.broken = 1"><script>window.broken = 1</script>'
LONG = "a_variant_with_a_name_that_is_rather_long_for_a_phone"
INSTALL = "no Chromium: apt-get install chromium, or playwright install --with-deps chromium"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's or another installed Chromium, else the one that playwright downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox is not for root
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] * root)
        except Error as error:
            if found is None:
                pytest.skip(INSTALL)
            raise error
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def out(shared_lab: Lab) -> Path:
    """Two variants, a failed run and missing ones, published numbers and strings that would break out."""
    made = shared_lab(
        question=f"Which of the two is better? {BREAK_OUT}",
        seeds=[0, 1, 2],
        variants={LONG: {"augment.train": []}},
        references={"paper": {"test_accuracy": 0.75, "runs": 3, "source": BREAK_OUT}},
        attribution={"layers": ["layer1", "res2"], "images": 3},
    )
    for seed in range(2):
        made.finish("base", seed)
    made.finish(LONG, 0)
    made.fail(LONG, 1, message="x" * 300)
    made.sweep()
    write_report(made.study, made.folder, made.study.seeds, list(made.study.recipes), made.load_data)
    (made.folder.out / "damaged").mkdir()
    (made.folder.out / "damaged" / "report.json").write_text("{")
    write_index(made.folder)
    return Path(made.folder.out)


@pytest.fixture(scope="module", params=["digits/report.html", "index.html"])
def file(out: Path, request: Any) -> Path:
    """Each of the two pages."""
    return out / str(request.param)


@pytest.fixture(scope="module")
def report(out: Path) -> Path:
    """The report alone."""
    return out / "digits" / "report.html"


@contextmanager
def opened(browser: Browser, file: Path, size: tuple[int, int] = WIDE, **options: Any) -> Iterator[Page]:
    """A page opened from disk, on which nothing may be complained of or asked for."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    page, address, troubles = context.new_page(), file.resolve().as_uri(), []

    def asked(url: str) -> None:
        if not url.startswith("data:") and url.partition("#")[0] != address:
            troubles.append(f"request: {url}")

    page.set_default_timeout(10_000)
    page.on("console", lambda message: troubles.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("request", lambda request: asked(request.url))
    page.goto(address)
    yield page
    assert troubles == []
    context.close()


def unfold(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def column(page: Page, table: int, place: int) -> list[str]:
    cells = page.locator("table").nth(table).locator(f"tbody tr > :nth-child({place})")
    return [text.strip() for text in cells.all_inner_texts()]


def column_names(page: Page, table: int) -> list[str]:
    return [text.strip() for text in page.locator("table").nth(table).locator("th").all_inner_texts()]


def test_it_opens_from_disk_without_a_complaint_or_a_request(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        assert page.locator("h1").is_visible()
        assert page.evaluate("window.broken") is None


def test_no_script_but_its_own_can_run(browser: Browser, report: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(report.as_uri())
    add = "(t) => document.body.append(Object.assign(document.createElement('script'), { textContent: t }))"
    page.evaluate(add, "window.foreign = 1")
    assert page.evaluate("window.foreign") is None
    context.close()


def test_the_verdict_is_the_first_thing_in_sight(browser: Browser, report: Path) -> None:
    for size in (NARROW, WIDE):
        with opened(browser, report, size) as page:
            box = page.locator(".verdict").bounding_box()
            assert box is not None and box["y"] + box["height"] < size[1]
            assert page.locator(".verdict").inner_text().startswith("a_variant_with_a_name")


@pytest.mark.parametrize("size", [NARROW, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_is_accessible(
    browser: Browser, file: Path, size: tuple[int, int], scheme: Any
) -> None:
    with opened(browser, file, size, color_scheme=scheme) as page:
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        assert [rule["id"] for rule in Axe().run(page).response["violations"]] == []


def test_numbers_sort_by_value_with_the_unknown_last(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        unfold(page)
        runs = next(at for at in range(20) if column_names(page, at)[:2] == ["run", "status"])
        button = page.locator("table").nth(runs).get_by_role("button", name="accuracy, %", exact=True)
        for order in ("ascending", "descending"):
            button.click()
            head = page.locator("table").nth(runs).locator("th").nth(2)
            assert head.get_attribute("aria-sort") == order
            shown = column(page, runs, 3)
            known = [float(text) for text in shown if text != "–"]
            assert known == sorted(known, reverse=order == "descending") and len(known) == 3
            assert shown[3:] == ["–", "–", "–"]
            # equals keep their order
            assert column(page, runs, 1)[3:] == ["base/seed-2", f"{LONG}/seed-1", f"{LONG}/seed-2"]


def test_words_sort_by_keyboard(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        before = column(page, 0, 1)
        page.locator("table").nth(0).locator("th button").first.focus()
        for order in (sorted(before), sorted(before, reverse=True)):
            page.keyboard.press("Enter")
            assert column(page, 0, 1) == order


def test_a_figure_opens_large_and_escape_closes_it(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        link = page.locator("a.zoom").first
        inline = link.locator("img").bounding_box()
        link.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("dialog")
        assert dialog.is_visible() and "Every run against the target" in dialog.inner_text()
        assert "Each dot is one run" in dialog.inner_text()
        large = dialog.locator("img").bounding_box()
        assert inline is not None and large is not None and large["width"] > 1.5 * inline["width"]
        assert dialog.locator("img").get_attribute("alt")
        assert [rule["id"] for rule in Axe().run(page).response["violations"]] == []
        page.keyboard.press("Escape")
        assert dialog.is_hidden()
        assert page.evaluate("document.activeElement.matches('a.zoom')")
        link.click()
        dialog.get_by_role("button", name="Close").click()
        assert dialog.is_hidden()


def test_a_figure_is_larger_than_the_screen_of_a_phone(browser: Browser, report: Path) -> None:
    with opened(browser, report, NARROW) as page:
        page.locator("a.zoom").first.click()
        box = page.locator("dialog img").bounding_box()
        assert box is not None and box["width"] >= 700
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]


def test_the_claim_stays_open_and_diagnostics_are_folded(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        titles = page.locator("h2:visible").all_inner_texts()
        folded = page.locator("section.folded h2").all_inner_texts()
        assert [title.removesuffix(" #") for title in titles if title not in folded] == [
            "Result",
            "Accuracy and learning curves",
            "Against the baseline",
        ]
        assert {"Confusion matrix", "Success rate and time to target", "Grad-CAM"} <= set(folded)
        assert page.locator("section.folded .inside:visible").count() == 0
        key = page.locator("section.folded:has(#success-rate-and-time-to-target) .about")
        assert key.inner_text().endswith(" of 4 runs reached 70 %")


def test_every_heading_has_an_address_to_copy(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        unfold(page)
        headings = page.locator("main h2, main h3").count()
        addresses = [sign.get_attribute("href") for sign in page.locator("a.anchor").all()]
        assert len(addresses) == headings == len(set(addresses))
        assert all(page.locator(str(address)).count() == 1 for address in addresses)


@pytest.mark.parametrize("script", [True, False])
def test_an_address_opens_its_section(browser: Browser, report: Path, script: bool) -> None:
    with opened(browser, report, java_script_enabled=script) as page:
        page.get_by_role("link", name="Calibration", exact=True).click()
        assert page.locator("#calibration table").is_visible()
        heading = page.get_by_role("heading", name="Calibration", exact=True).bounding_box()
        assert heading is not None and 0 <= heading["y"] < 200
        assert page.locator("#ensemble-and-seed-agreement").is_hidden()


def test_a_run_opens_its_errors(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        unfold(page)
        row = page.get_by_role("row", name="base/seed-1").first
        errors = row.locator("td").nth(3)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = false")
        page.get_by_role("heading", name="All runs", exact=True).click()
        count = errors.inner_text()
        errors.get_by_role("link").click()
        listed = page.locator("#misclassified-images tr:has(td:target)")
        assert listed.is_visible()
        assert listed.locator("td").first.inner_text() == "base/seed-1"
        assert listed.locator("td").nth(1).inner_text() == f"{count} of 360"
        box = listed.bounding_box()
        assert box is not None and 0 <= box["y"] < WIDE[1]


def test_a_value_is_shown_under_the_pointer(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        image = page.locator("a.zoom img").first.bounding_box()
        circles = page.locator("a.zoom svg").first.locator("circle")
        assert image is not None and circles.count() >= 3
        first = circles.first
        first.scroll_into_view_if_needed()
        box = first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator(".tip").inner_text().endswith("%")
        page.mouse.move(0, 0)
        assert page.locator(".tip").count() == 0
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.up()  # a value does not keep a figure from opening large
        assert page.locator("dialog").is_visible()


def test_one_choice_of_a_variant_holds_for_all_figures(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        unfold(page)
        groups = page.locator(".variants").count()
        assert groups >= 6
        for variant in (LONG, "base"):
            page.locator(".variants select").first.select_option(variant)
            own = page.locator(f'figure[data-variant="{variant}"]')
            assert all(figure.is_visible() for figure in own.all()) and own.count() >= 6
            shown = page.locator(f'.variants:has(figure[data-variant="{variant}"]) figure:visible')
            assert shown.count() == own.count()
        page.locator(".variants select").last.select_option("all, side by side")
        left, right = (
            figure.bounding_box() for figure in page.locator(".variants").first.locator("figure").all()
        )
        assert left is not None and right is not None and left["y"] == right["y"] and left["x"] < right["x"]


def test_without_the_script_every_variants_figures_can_be_seen(browser: Browser, report: Path) -> None:
    with opened(browser, report, java_script_enabled=False) as page:
        page.get_by_role("heading", name="Confusion matrix").first.click()
        figures = page.locator("#confusion-matrix figure")
        assert figures.count() == 4 and all(figure.is_visible() for figure in figures.all())


def test_the_contents_stay_beside_a_wide_page_and_fold_on_a_narrow_one(
    browser: Browser, report: Path
) -> None:
    with opened(browser, report) as page:
        links = page.locator("nav a")
        for address in [link.get_attribute("href") for link in links.all()]:
            assert page.locator(str(address)).count() == 1
        links.last.click()
        assert page.get_by_role("heading", name="How to repeat it").is_visible()
        assert page.get_by_text("--report-only").is_visible()  # the link has opened the section
        assert links.first.bounding_box()["y"] >= 0  # type: ignore[index]
    with opened(browser, report, NARROW) as page:
        first = page.locator("nav a").first
        assert first.is_hidden()
        page.get_by_text("Contents", exact=True).click()
        assert first.is_visible()


def test_without_its_script_the_page_still_reads(browser: Browser, report: Path) -> None:
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator(".verdict").is_visible()
        assert page.locator("table button").count() == 0
        run = page.get_by_role("link", name="base/seed-0", exact=True)
        assert run.is_hidden()
        page.get_by_role("heading", name="All runs", exact=True).click()
        assert run.is_visible()
        target = page.locator("a.zoom").first.get_attribute("href")
        assert target is not None and (report.parent / target).is_file()


def test_it_prints_light_and_whole(browser: Browser, report: Path) -> None:
    paper = (688, 1000)  # pixels of an A4 page between its margins
    with opened(browser, report, paper, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("nav").is_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= paper[0]
        boxes = "[...document.querySelectorAll('.scroll, pre')]"
        assert page.evaluate(f"{boxes}.filter((e) => e.scrollWidth > e.clientWidth + 1).length") == 0
        assert all(figure.is_visible() for figure in page.locator("figure").all())
        folded = page.locator("details:has(> summary:text-is('How to read this')) > p")
        assert folded.count() > 3 and all(text.is_visible() for text in folded.all())
        pages = page.pdf(prefer_css_page_size=True)
        assert pages.startswith(b"%PDF")


def test_every_study_of_the_index_opens_its_report(browser: Browser, out: Path) -> None:
    with opened(browser, out / "index.html") as page:
        assert column(page, 0, 1) == ["damaged", "digits"]
        assert page.get_by_role("link", name="digits").get_attribute("href") == "digits/report.html"
        assert page.get_by_text("report.json is damaged").is_visible()
