"""The report as one self-contained HTML page, and as Markdown for a pull request."""

from __future__ import annotations

import base64
import re
from functools import cache

import jinja2

import harness
from harness.report.blocks import Block, Report

# What Markdown or HTML would read as markup wherever it stands.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
# What begins a list, a heading or a quotation at the start of a line.
_LEADING = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")


def html_page(report: Report) -> str:
    """report.html: no script, nothing from elsewhere, every image inside."""
    return _environment().get_template("report.html.j2").render(report=report, version=harness.__version__)


def markdown(report: Report) -> str:
    """report.md: the same, its figures beside it in ``figures/``."""
    lines = [f"# {_escape(report.title)}", ""]
    if report.question:
        lines += [_escape(report.question), ""]
    lines += [f"- **{_escape(verdict)}**" for verdict in report.verdicts] + [""]
    for section in report.sections:
        lines += [f"## {_escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_block(block: Block) -> list[str]:
    if block.kind == "text":
        return [_escape(block.text)]
    if block.kind == "warning":
        return [f"> **Note:** {_escape(block.text)}"]
    if block.kind == "list":
        return [f"- {_escape(item)}" for item in block.items]
    if block.kind == "figure":
        assert block.picture is not None
        title = _escape(block.title)
        return [f"**{title}**", "", f"![{title}](figures/{block.file})", "", _escape(block.picture.caption)]
    lines = _markdown_table(block) if block.kind == "table" else _fenced(block.text)
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
    }
    return environment
