"""The table and its CSVs: unrounded, byte for byte the same, empty where nothing is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import trapezoid

from harness.analysis.attributions import Attributions, measure
from harness.analysis.findings import Findings
from harness.analysis.images import RunImages
from harness.report.topics import attribution, csv_tables
from tests.lab import MakeLab, sections


@pytest.fixture(scope="module")
def found(shared_lab: MakeLab) -> Attributions:
    place = shared_lab(seeds=[0, 1], attribution={"layers": ["layer1", "res2"], "images": 4})
    place.finish(seed=0)
    place.finish(seed=1)
    results = place.results()
    return measure(results, RunImages(results, place.load_data))[0][0]


@pytest.fixture
def reported(nothing: Findings) -> Callable[..., Findings]:
    """Findings with these measures."""
    return lambda *maps: replace(nothing, attributions=maps)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_numbers_are_unrounded_means_of_what_was_measured(
    found: Attributions, reported: Callable[..., Findings]
) -> None:
    table = rows(csv_tables(reported(found))["attributions"])
    assert [(row["variant"], row["layer"]) for row in table] == [("base", "layer1"), ("base", "res2")]
    row = table[1]
    assert (row["images"], row["seeds"], row["seed_pairs"], row["seed"], row["draws"]) == (
        "4",
        "2",
        "1",
        "0",
        "3",
    )
    assert float(row["seed_rank_correlation"]) == np.nanmean(found.agreement[:, 1])
    assert float(row["randomised_rank_correlation"]) == pytest.approx(
        np.nanmean(found.network.sanity[:, -1, 1]), abs=1e-15
    )
    for at, kind in enumerate(
        ("deletion_auc", "insertion_auc", "deletion_auc_random", "insertion_auc_random")
    ):
        expected = np.mean([trapezoid(curve, np.linspace(0, 1, 11)) for curve in found.network.curves[at, 1]])
        assert float(row[kind]) == pytest.approx(expected, abs=1e-12)


def test_curves_have_every_point(found: Attributions, reported: Callable[..., Findings]) -> None:
    table = rows(csv_tables(reported(found))["attribution_curves"])
    assert len(table) == 2 * (7 + 4 * 11)
    cascade = [row for row in table if row["curve"] == "randomisation" and row["layer"] == "res2"]
    assert [row["at"] for row in cascade] == ["head", "res2", "layer3", "layer2", "res1", "layer1", "prep"]
    falling = [row for row in table if row["curve"] == "deletion" and row["layer"] == "layer1"]
    assert [float(row["at"]) for row in falling] == [step / 10 for step in range(11)]
    np.testing.assert_array_equal(
        [float(row["mean"]) for row in falling], found.network.curves[0, 0].mean(axis=0)
    )


def test_what_is_not_known_is_an_empty_cell_and_a_dash(
    found: Attributions, reported: Callable[..., Findings]
) -> None:
    bare = replace(
        found,
        seeds=(0,),
        agreement=found.agreement[:0],
        agreement_other=found.agreement_other[:0],
        network=replace(
            found.network,
            predicted=found.network.predicted[:, :0],
            sanity=np.full_like(found.network.sanity, np.nan),
        ),
    )
    tables = csv_tables(reported(bare))
    row = rows(tables["attributions"])[0]
    empty = {name for name, cell in row.items() if cell == ""}
    assert empty == {
        "seed_rank_correlation", "seed_rank_correlation_other_images", "predicted_true_rank_correlation",
        "randomised_rank_correlation",
    }  # fmt: skip
    assert row["sanity_check"] == "not judged" and "nan" not in tables["attribution_curves"]
    table = sections(reported(bare), attribution)[1]
    assert table.rows[0][4:8] == ["–", "–", "–", "not judged"]


def test_the_table_names_seeds_images_and_controls(
    found: Attributions, reported: Callable[..., Findings]
) -> None:
    _, table, *texts = sections(reported(found), attribution)
    assert len(table.rows) == 2 and all(len(row) == len(table.header) for row in table.rows)
    assert table.rows[0][:4] == ["base", "layer1", "4", "2 (1)"]
    assert "(" in table.rows[1][4] and "(" in table.rows[1][8]
    text = " ".join(block.text for block in texts)
    assert "first 5 finished seeds" in text and "of seed 0" in text and "above 0.5" in text


def test_a_small_negative_number_is_no_minus_zero(
    found: Attributions, reported: Callable[..., Findings]
) -> None:
    tiny = replace(found, network=replace(found.network, sanity=np.full_like(found.network.sanity, -0.001)))
    assert sections(reported(tiny), attribution)[1].rows[0][6].startswith("0.00 (")


def test_a_page_shows_the_first_rows_and_says_where_the_others_are(
    found: Attributions, reported: Callable[..., Findings]
) -> None:
    blocks = sections(reported(*[found] * 31), attribution)
    assert len(blocks[1].rows) == 60
    assert blocks[2].text == "2 more layers stand in tables/attributions.csv."


def test_nothing_measured_says_nothing(nothing: Findings) -> None:
    assert sections(nothing, attribution) == []
    assert all(not rows(table.csv(nothing)) for table in attribution.TABLES)
