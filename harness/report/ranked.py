"""The ranked table for a paper: as LaTeX (booktabs), Markdown and Typst."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from harness.analysis.claim import NUMERIC, RankedRow, decision_rule, headings, ranked_rows, shown_columns
from harness.analysis.findings import Findings
from harness.report.render.markdown import escape, table_lines

FORMATS = {
    "ranked.tex": "LaTeX (booktabs)",
    "ranked.md": "Markdown",
    "ranked.typ": "Typst",
}  # file in tables/ -> title

MOST_COLUMNS, LONGEST_CELL = 5, {"l": 13, "r": 8}  # of more columns, cells are broken at so many characters

Header = Sequence[str]
Rows = Sequence[Sequence[str]]

# Markup of LaTeX, and characters that its fonts lack.
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}", "±": r"$\pm$", "≤": r"$\leq$", "–": "--", "…": r"\ldots{}", "-": "{-}",
    "[": "{[}",
}  # fmt: skip

_LACKS = "\u0126\u0127\u0138\u013f\u0140\u0149\u0166\u0167\u017f"  # of these, pdflatex's fonts have none
_LAST_LATIN = "\u017f"  # what the usual fonts of pdflatex have


def ranked_table(findings: Findings) -> tuple[list[str], list[list[str]], frozenset[int]]:
    """Return the headings, the rows, and which columns hold numbers; without columns that say nothing."""
    all_rows = ranked_rows(findings)
    columns = [RankedRow._fields.index(name) for name in shown_columns(all_rows)]
    rows = [[row[at] for at in columns] for row in all_rows]
    numeric = frozenset(place for place, at in enumerate(columns) if RankedRow._fields[at] in NUMERIC)
    return [headings(findings)[at] for at in columns], rows, numeric


def ranked_files(findings: Findings) -> dict[str, str]:
    """Return the content of each file in ``FORMATS``."""
    header, rows, numeric = ranked_table(findings)
    caption = _caption(findings)
    return {
        "ranked.tex": latex(header, rows, numeric, caption, f"tab:{findings.results.study.name}"),
        "ranked.md": "\n".join([*table_lines(header, rows, numeric), "", escape(caption)]) + "\n",
        "ranked.typ": typst(header, rows, numeric, caption),
    }


def latex(header: Header, rows: Rows, numeric: frozenset[int], caption: str, label: str) -> str:
    """Return a table for LaTeX with the packages that its first line names; all text is escaped.

    Args:
        numeric: columns that are aligned on the right.
        label: for ``\\ref``; characters that a label cannot have are left out.
    """
    align = ["r" if at in numeric else "l" for at in range(len(header))]
    wide = len(header) > MOST_COLUMNS
    lines = [
        " & ".join(
            _stacked(cell, side, place) if wide else _latex(cell)
            for cell, side in zip(row, align, strict=True)
        )
        + r" \\"
        for row, place in ((header, "b"), *((row, "t") for row in rows))
    ]
    return "\n".join(
        [
            r"% \usepackage[T1]{fontenc} \usepackage{booktabs} \usepackage{graphicx} \usepackage{textcomp}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_latex(caption)}}}",
            rf"  \label{{{re.sub(r'[^A-Za-z0-9:._-]', '', label)}}}",
            *([r"  \scriptsize \setlength{\tabcolsep}{2pt}"] if wide else []),
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",  # where it is too wide
            rf"  \begin{{tabular}}{{{''.join(align)}}}",
            r"    \toprule",
            f"    {lines[0]}",
            r"    \midrule",
            *(f"    {line}" for line in lines[1:]),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def typst(header: Header, rows: Rows, numeric: frozenset[int], caption: str) -> str:
    """Return a figure with a table for Typst; all cells are strings, in which nothing is markup."""
    align = ", ".join("right" if at in numeric else "left" for at in range(len(header)))
    cells = [", ".join(_typst(_breakable(cell)) for cell in row) for row in (header, *rows)]
    wide = len(header) > MOST_COLUMNS
    return "\n".join(
        [
            "#figure(",
            *(["  text(size: 8pt, table("] if wide else ["  table("]),
            f"    columns: {len(header)},",
            f"    align: ({align},),",
            "    stroke: none,",
            "    table.hline(),",
            f"    table.header({cells[0]}),",
            "    table.hline(stroke: 0.5pt),",
            *(f"    {line}," for line in cells[1:]),
            "    table.hline(),",
            "  ))," if wide else "  ),",
            f"  caption: {_typst(caption)},",
            ")",
            "",
        ]
    )


def _caption(findings: Findings) -> str:
    metric = findings.results.metric
    what = f"{metric.title} of the last epoch, mean ± standard deviation over n seeds"
    text = f"{findings.results.study.title}: {what}."
    return f"{text} {rule}" if (rule := decision_rule(findings)) else text


def _latex(text: str) -> str:
    escaped = "".join(
        _LATEX.get(each, each if each <= _LAST_LATIN and each not in _LACKS else "?") for each in text
    )
    return re.sub(r"^\{-\}(?=\d)", "$-$", escaped)  # the minus of a number


def _stacked(text: str, side: str, place: str) -> str:
    """Break a long cell into lines, so that a table of many columns fits a page."""
    parts = re.split("(?<=[ \u200b])", _breakable(text))
    wrapped = [""]
    for part in parts:
        if wrapped[-1] and len((wrapped[-1] + part).strip()) > LONGEST_CELL[side]:
            wrapped.append("")
        wrapped[-1] += part
    lines = [line.replace("\xa0", " ").replace("\u200b", "").strip() for line in wrapped]
    if len(lines) < 2:
        return _latex(text)
    stacked = r"\\{}".join(map(_latex, lines))
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{stacked}\end{{tabular}}"


def _breakable(text: str) -> str:
    """Let a long word be broken after its punctuation, but never a number, or a mean from its std."""
    kept = text.replace(" ± ", "\xa0±\xa0")
    return re.sub(r"(?<=\w)([_.,=-])(?=[^\W\d])", "\\1\u200b", kept)


def _typst(text: str) -> str:
    """Return a string literal; Typst's escapes are those of JSON, but for ``\\uXXXX``."""
    return json.dumps(text, ensure_ascii=False)
