"""The report as one self-contained HTML page, and as Markdown for a pull request."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

import jinja2
from markupsafe import Markup

import harness
from harness.report.blocks import Block, Report

# What Markdown or HTML would read as markup wherever it stands.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
# What begins a list, a heading or a quotation at the start of a line.
_LEADING = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")


@dataclass(frozen=True)
class _Page:
    """What every page carries inside; its policy lets a browser take nothing else.

    Attributes:
        policy: the Content-Security-Policy, which names style and script by their checksums.
    """

    style: Markup
    script: Markup
    policy: str
    version: str = harness.__version__


def html_page(report: Report) -> str:
    """report.html: one file, its images, style and one small script inside, nothing from elsewhere."""
    return render("report.html.j2", report=report)


def render(template: str, **values: object) -> str:
    """A page from a template of ours; whatever is in ``values`` is shown as text."""
    return _environment().get_template(template).render(page=_page(), **values)


@cache
def _page() -> _Page:
    style, script = (_source(name) for name in ("report.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_checksum(style)}; script-src {_checksum(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _Page(Markup(style), Markup(script), policy)


def _source(name: str) -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _checksum(text: str) -> str:
    """As a Content-Security-Policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def markdown(report: Report) -> str:
    """report.md: the same, its figures beside it in ``figures/`` and its tables in ``tables/``."""
    lines = [f"# {_escape(report.title)}", ""]
    if report.question:
        lines += [_escape(report.question), ""]
    lines += [f"**{_escape(report.verdict)}**", ""]
    for section in report.sections:
        lines += [f"## {_escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_block(block: Block) -> list[str]:
    if block.kind == "heading":
        return [f"### {_escape(block.text)}"]
    if block.kind == "warning":
        return [f"> **Note:** {_escape(block.text)}"]
    if block.kind == "list":
        return [f"- {_escape(item)}" for item in block.items]
    files = " · ".join(f"[{_escape(name)}]({quote(name)})" for name in block.files)
    if block.kind == "figure":
        assert block.picture is not None
        title, caption = _escape(block.title), _escape(block.picture.caption)
        lines = [f"**{title}**", "", f"![{title}](figures/{quote(block.file)})", "", caption]
        return [*lines, "", files] if files else lines
    if block.kind == "text":
        lines = [_escape(block.text)]
    else:
        lines = _markdown_table(block) if block.kind == "table" else _fenced(block.text)
    if files:
        lines += ["", files]
    if block.title:
        return [f"<details><summary>{_escape(block.title)}</summary>", "", *lines, "", "</details>"]
    return lines


def _markdown_table(block: Block) -> list[str]:
    marks = ["---:" if column in block.numeric else "---" for column in range(len(block.header))]
    rows = [block.header, marks, *block.rows]
    return [f"| {' | '.join(cell if row is marks else _escape(cell) for cell in row)} |" for row in rows]


def _fenced(text: str) -> list[str]:
    """Code whose own backticks cannot end it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text.rstrip("\n"), fence]


def _escape(text: str) -> str:
    """Text from a study or a class name as one line that Markdown shows as it is."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text))


def slug(title: str) -> str:
    """A section's address on the page: ``how-to-repeat-it``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _width(png: bytes) -> int:
    """CSS pixels: half of those in the PNG's header, which are for screens of double density."""
    return int.from_bytes(png[16:20], "big") // 2


def _height(png: bytes) -> int:
    return int.from_bytes(png[20:24], "big") // 2


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "data_uri": _data_uri,
        "css_width": _width,
        "css_height": _height,
        "slug": slug,
    }
    return environment
