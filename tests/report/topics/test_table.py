"""A table from its columns: the way to a value, what is written of it, and which columns are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.analysis.findings import Findings
from harness.report.topics.table import Column, Shown, Table, form, page_table, percent


@dataclass
class Part:
    share: float | None


@dataclass
class Whole:
    name: str
    part: Part | None


ROWS = [Whole("one", Part(0.123456)), Whole("two", Part(None)), Whole("three", None)]


def test_a_cell_is_the_rows_own_what_a_path_leads_to_or_what_a_function_says(findings: Findings) -> None:
    columns: tuple[Column[Whole], ...] = (
        Column("name", "its name"),
        Column("share", "of it", "part.share"),
        Column("percent", "the same", "part.share", lambda share: 100 * share),
        Column("length", "of the name", lambda row: len(row.name)),
    )
    table = Table("shares", "a whole", lambda _: ROWS, columns)
    assert table.csv(findings) == ("name,share,percent,length\none,0.123456,12.3456,3\ntwo,,,3\nthree,,,5\n")


def test_rows_may_be_dictionaries(findings: Findings) -> None:
    table: Table[dict[str, Any]] = Table(
        "x", "x", lambda _: [{"a": 1, "b": None}], (Column("a", ""), Column("b", ""))
    )
    assert table.csv(findings) == "a,b\n1,\n"


def test_the_page_shows_a_dash_for_what_is_not_known_and_marks_numbers() -> None:
    columns: tuple[Shown[Whole], ...] = (
        Shown("name", "name", numeric=False),
        Shown("share, %", "part.share", percent(1)),
        Shown("share", "part.share", form(".3f")),
    )
    block = page_table("shares", columns, ROWS)
    assert block.rows == [["one", "12.3", "0.123"], ["two", "–", "–"], ["three", "–", "–"]]
    assert block.numeric == {1, 2} and block.files == ["tables/shares.csv"]


def test_a_column_that_no_row_needs_is_left_out() -> None:
    columns: tuple[Shown[Whole], ...] = (
        Shown("name", "name"),
        Shown("share", "part.share", only_if="part.share"),
    )
    assert page_table("shares", columns, ROWS).header == ["name", "share"]
    assert page_table("shares", columns, ROWS[1:]).header == ["name"]
