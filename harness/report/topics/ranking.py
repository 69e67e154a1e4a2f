"""``ranking.csv``: three variants or more, ranked by the target's metric."""

from __future__ import annotations

from harness.analysis.findings import Findings
from harness.analysis.ranking import FEWEST, Ranked
from harness.report.topics.table import Column, Table
from harness.store.sealed import canonical


def _rows(findings: Findings) -> list[Ranked]:
    return findings.ranking if len(findings.ranking) >= FEWEST else []


def _measured_mean(ranked: Ranked) -> float | None:
    return None if ranked.place is None else ranked.metric.oriented(ranked.place.mean)


RANKING: Table[Ranked] = Table(
    "ranking",
    "a variant, the best mean first, those without a finished run last; of three variants or more",
    _rows,
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
            "`yes` where it is not significantly below another: `worse_than` is empty, so p > 0.05 or none; "
            "without a finished run `no` where its recipe made runs fail, empty where the machine did",
            lambda ranked: {True: "yes", False: "no", None: None}[ranked.possible],
        ),
        Column("changes", "what it changes of the file, as JSON", lambda ranked: canonical(ranked.changes)),
        Column("failed", "runs that failed"),
        Column(
            "worse_than",
            "variants that are significantly better (p of that test at most 0.05), with spaces between",
            lambda ranked: " ".join(ranked.worse_than),
        ),
        Column("metric", "the target's, which ranks them", "metric.name"),
    ),
)
