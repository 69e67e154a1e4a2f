"""The ranked table for papers: hostile text is shown as it is, and all three formats compile."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.report.ranked import latex, ranked_files, typst
from tests.lab import MakeLab

HOSTILE = [
    "a_word_of_64_letters_that_has_no_space_but_could_be_broken_anyway", "\u0126\u0149",
    "a_b%&#$|<>*_~^\\{}[]\"'`@=+-/", "x--y---z.w_0", "``quoted'' <<fr>> ?` !`", "[optional] start",
    'crop [{"name": "Random_Crop"}]', "#show: none", "// comment", "$x$", "= heading", "- item", "é",
]  # fmt: skip
HEADER, NUMERIC = ["va_r%", "ac#c"], frozenset({1})
ROWS = [[text, "-0.52"] for text in HOSTILE]


def test_latex_escapes_everything_and_has_booktabs_rules() -> None:
    text = latex(HEADER, ROWS, NUMERIC, "50 % of a_b", "tab:a_b #1")
    lines = [line.strip() for line in text.splitlines()]
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == len(ROWS) and all(line.endswith(r" & $-$0.52 \\") for line in body)
    assert r"\begin{tabular}{lr}" in lines and r"\label{tab:a_b1}" in lines
    for line in body:  # no character of LaTeX's own is left, and no column or row too many
        bare = re.sub(r"\\[%&#$_{}]|\\[a-z]+\{\}", "", line.removesuffix(r" & $-$0.52 \\"))
        assert not re.search(r"[%&#$_~^\\<>|\"'`]|--|^\[", bare), line


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("columns", [2, 9])
def test_latex_compiles_and_fits_the_page(tmp_path: Path, columns: int) -> None:
    more = ("not significantly below the top (n = 3)", "94.07 ± 0.18", "0.04") * 3
    header, *rows = ([*row, *more][:columns] for row in (HEADER, *ROWS))
    packages, table = latex(header, rows, NUMERIC, "50 % of a_b", "tab:a_b #1").split("\n", 1)
    page = rf"\documentclass{{article}}{packages.lstrip('% ')}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "page.tex").write_text(page, "utf-8")
    program = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Overfull" not in done.stdout, done.stdout[-1500:]


def test_typst_compiles_and_shows_every_text(tmp_path: Path) -> None:
    compiler = pytest.importorskip("typst")
    (tmp_path / "table.typ").write_text(typst(HEADER, ROWS, NUMERIC, "50 % of *a_b* #1"), "utf-8")
    (tmp_path / "page.typ").write_text('#let table = include "table.typ"\n#table\n', "utf-8")
    assert compiler.compile(str(tmp_path / "page.typ")).startswith(b"%PDF")
    svg = compiler.compile(str(tmp_path / "page.typ"), format="svg")
    assert b"<svg" in (svg if isinstance(svg, bytes) else svg[0])


def test_all_formats_have_the_same_rows(lab: MakeLab) -> None:
    place = lab(variants={"we_ak--1": {"model.width": 5}}, seeds=[0, 1])
    for seed in (0, 1):
        place.finish("base", seed, logits=place.logits(330 + seed))
        place.finish("we_ak--1", seed, logits=place.logits(300 + 2 * seed))
    files = ranked_files(place.findings())
    assert r"we\_ak{-}{-}1 & width = 5 & 83.61 $\pm$ 0.39" in files["ranked.tex"]
    assert r"| 2 | we\_ak--1 | width = 5 | 83.61 ± 0.39 |" in files["ranked.md"]
    plain = files["ranked.typ"].replace("\u200b", "").replace("\xa0", " ")
    assert '"2", "we_ak--1", "width = 5", "83.61 ± 0.39"' in plain
    assert all("mean" in text and "standard deviation" in text for text in files.values())
