"""Three variants or more by their accuracy, and which of them may be the best."""

from __future__ import annotations

import json
from functools import partial

from harness.analysis.findings import Findings
from harness.analysis.numbers import decimals_of, p_text
from harness.analysis.ranking import MOST_NAMED, Ranked, sentence
from harness.analysis.units import Units
from harness.messages import one_line
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS, SHOWN_VARIANT, Column, Shown, Table, page_table
from harness.store.sealed import canonical
from harness.study_file.grids import short_keys


def _measured_mean(ranked: Ranked) -> float | None:
    return None if ranked.place is None else ranked.metric.oriented(ranked.place.mean)


RANKING: Table[Ranked] = Table(
    "ranking",
    "a variant, the best mean first, those without a finished run last; of three variants or more",
    lambda findings: findings.ranking,
    (
        Column("rank", "1 for the best; equal means share one"),
        Column("variant", "its name"),
        Column("n", "finished runs", lambda ranked: ranked.place.n if ranked.place else 0),
        Column("mean", "of `metric`, last epoch", _measured_mean),
        Column("std", "over seeds", "place.std"),
        Column("behind", "how far this mean is from the best one", "place.behind"),
        Column(
            "p",
            "the smallest corrected p of the tests in which another variant was better: `p_holm` (the larger "
            "of it and `p_common`) of pairs in `comparisons`, of other pairs the primary test's p times the "
            "number of its rivals; empty without such a test, and where `answer` is not `fixed n`",
            "place.p",
        ),
        Column(
            "possible",
            "`yes` where it may be the best: `worse_than` is empty, so p > 0.05 or none; without a finished "
            "run `no` where its recipe made runs fail, empty where the machine did",
            lambda ranked: {True: "yes", False: "no", None: None}[ranked.possible],
        ),
        Column("changes", "what it changes of the file, as JSON", lambda ranked: canonical(ranked.changes)),
        Column("failed", "runs that failed"),
        Column(
            "worse_than",
            "variants that are shown to be better (p of that test at most 0.05), with spaces between",
            lambda ranked: " ".join(ranked.worse_than),
        ),
        Column("metric", "the target's, which ranks them", "metric.name"),
    ),
)
TABLES = (RANKING,)


def _changes(ranked: Ranked) -> str | None:
    """Write ``lr_max 0.2, momentum 0.9``."""
    values = (value if isinstance(value, str) else json.dumps(value) for value in ranked.changes.values())
    pairs = zip(short_keys(ranked.changes), values, strict=True)
    return one_line(", ".join(f"{key} {value}" for key, value in pairs), 120) or None


def _mean(ranked: Ranked) -> str:
    if ranked.place is None:
        return ranked.failed_text if ranked.failed else "–"
    units = Units(ranked.metric)
    decimals = decimals_of(units.scale * (ranked.place.std or 0.0), units.decimals(2))
    return f"{units.scale * ranked.metric.oriented(ranked.place.mean):.{decimals}f}"


def _possible(ranked: Ranked) -> str:
    if ranked.place is None:
        return "unknown" if ranked.possible is None else "no: none finished"
    if ranked.worse_than:
        more = len(ranked.worse_than) - MOST_NAMED
        names = ", ".join(ranked.worse_than[:MOST_NAMED])
        return f"no: worse than {names}{f' and {more} more' if more > 0 else ''}"
    if ranked.place.n == 1:
        return "yes: one run excludes nothing"
    return "yes, but runs fail" if ranked.by_recipe else "yes"


def _shown(units: Units) -> tuple[Shown[Ranked], ...]:
    best = "highest" if units.metric.higher_is_better else "lowest"
    return (
        Shown("rank", "rank"),
        SHOWN_VARIANT,
        Shown("what it changes", _changes, numeric=False),
        Shown(units.heading(f"mean {units.metric.title}"), _mean),
        Shown(units.heading("std"), "place.std", partial(units.std, decimals=2)),
        Shown("n", lambda ranked: ranked.place.n if ranked.place else 0),
        Shown("failed", lambda ranked: ranked.failed_text if ranked.failed else None),
        Shown(units.heading(f"behind the {best}", difference=True), "place.behind", units.value),
        Shown("p (another is better)", "place.p", p_text),
        Shown("may be the best", _possible, numeric=False),
    )


HOW_TO_READ = (
    "May be the best: every variant that no other one is shown to be better than. A pair in the "
    "comparisons above has the verdict that it has there. Other pairs are tested by the same test, with p "
    "times the number of the variant's rivals (multiple comparisons with the best). The best recipe is "
    "excluded in at most 1 of 20 studies. More seeds make the list shorter. A variant with one run has no "
    "spread, so it is neither excluded nor excludes another. A variant of which some runs failed is ranked "
    "by those that finished. One without a finished run stands last: it is not the best where its recipe "
    "made runs fail, and unknown where the machine did."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the ranking, with an explanation."""
    ranking, blocks = findings.ranking, []
    if ranking:
        blocks = [
            Block("text", f"{sentence(ranking, findings.results.metric)}."),
            page_table("ranking", _shown(Units(findings.results.metric)), ranking[:MOST_ROWS]),
            explained(HOW_TO_READ),
        ]
        recipe = findings.results.study.recipes.get(ranking[0].variant)
        if recipe is not None and recipe.data.holdout is None:
            text = (
                "These are test images: the winner's own result is the best of several draws, and so on "
                "average too good. To choose a recipe, set data.holdout, and run the chosen one on the test "
                "split once."
            )
            blocks.append(Block("text", text))
    return Section("Which variant may be the best", blocks)
