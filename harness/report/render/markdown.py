"""The report as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from harness.report.blocks import Block, Report

# Characters that are markup in Markdown or HTML anywhere in a line.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
# Starts of a line that make a list, a heading or a quotation.
_LEADING = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")


def markdown(report: Report) -> str:
    """Return report.md; it links to the figures in ``figures/`` and the tables in ``tables/``."""
    lines = [f"# {escape(report.title)}", ""]
    if report.question:
        lines += [escape(report.question), ""]
    lines += [f"**{escape(report.verdict)}**", ""]
    for section in report.sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block) -> list[str]:
    if block.kind == "heading":
        return [f"### {escape(block.text)}"]
    if block.kind == "warning":
        return [f"> **Note:** {escape(block.text)}"]
    if block.kind == "list":
        return [f"- {escape(item)}" for item in block.items]
    files = " · ".join(f"[{escape(name)}]({quote(name)})" for name in block.files)
    if block.kind == "variants":
        titled = (replace(one, title=f"{block.title}: {one.title}") for one in block.figures)
        return "\n\n".join("\n".join(_block(one)) for one in titled).split("\n")
    if block.kind == "figure":
        assert block.picture is not None
        title, caption = escape(block.title), escape(block.picture.caption)
        lines = [f"**{title}**", "", f"![{title}](figures/{quote(block.file)})", "", caption]
        return [*lines, "", files] if files else lines
    if block.kind == "text":
        lines = [escape(block.text)]
    else:
        table = block.kind == "table"
        lines = table_lines(block.header, block.rows, block.numeric) if table else _fenced(block.text)
    if files:
        lines += ["", files]
    if block.title:
        return [f"<details><summary>{escape(block.title)}</summary>", "", *lines, "", "</details>"]
    return lines


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: frozenset[int]) -> list[str]:
    """Return the lines of a table; columns of numbers are aligned on the right."""
    marks = ["---:" if column in numeric else "---" for column in range(len(header))]
    lines = [header, marks, *rows]
    return [f"| {' | '.join(cell if row is marks else escape(cell) for cell in row)} |" for row in lines]


def _fenced(text: str) -> list[str]:
    """Fence code with more backticks than it contains."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text.rstrip("\n"), fence]


def escape(text: str) -> str:
    """Escape text, so that Markdown shows it unchanged in one line."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text))
