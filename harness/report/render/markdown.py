"""The report as Markdown, for a pull request."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

from harness.report.blocks import Block, Report

# Characters that are markup in Markdown or HTML anywhere in a line.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
# Starts of a line that make a list, a heading or a quotation.
_LEADING = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")


def markdown(report: Report) -> str:
    """Return report.md; it links to the figures in ``figures/`` and the tables in ``tables/``."""
    lines = [f"# {_escape(report.title)}", ""]
    if report.question:
        lines += [_escape(report.question), ""]
    lines += [f"**{_escape(report.verdict)}**", ""]
    for section in report.sections:
        lines += [f"## {_escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block) -> list[str]:
    if block.kind == "heading":
        return [f"### {_escape(block.text)}"]
    if block.kind == "warning":
        return [f"> **Note:** {_escape(block.text)}"]
    if block.kind == "list":
        return [f"- {_escape(item)}" for item in block.items]
    files = " · ".join(f"[{_escape(name)}]({quote(name)})" for name in block.files)
    if block.kind == "variants":
        titled = (replace(one, title=f"{block.title}: {one.title}") for one in block.figures)
        return "\n\n".join("\n".join(_block(one)) for one in titled).split("\n")
    if block.kind == "figure":
        assert block.picture is not None
        title, caption = _escape(block.title), _escape(block.picture.caption)
        lines = [f"**{title}**", "", f"![{title}](figures/{quote(block.file)})", "", caption]
        return [*lines, "", files] if files else lines
    if block.kind == "text":
        lines = [_escape(block.text)]
    else:
        lines = _table(block) if block.kind == "table" else _fenced(block.text)
    if files:
        lines += ["", files]
    if block.title:
        return [f"<details><summary>{_escape(block.title)}</summary>", "", *lines, "", "</details>"]
    return lines


def _table(block: Block) -> list[str]:
    marks = ["---:" if column in block.numeric else "---" for column in range(len(block.header))]
    rows = [block.header, marks, *block.rows]
    return [f"| {' | '.join(cell if row is marks else _escape(cell) for cell in row)} |" for row in rows]


def _fenced(text: str) -> list[str]:
    """Fence code with more backticks than it contains."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text.rstrip("\n"), fence]


def _escape(text: str) -> str:
    """Escape text, so that Markdown shows it unchanged in one line."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text))
