"""The claim: the ranked variants, the decision rule, what is unusual, and what to copy into a paper."""

from __future__ import annotations

from harness.analysis.claim import claim_sentence, decision_rule
from harness.analysis.findings import Findings
from harness.analysis.numbers import several
from harness.analysis.provenance import times_note
from harness.analysis.summary import found_rate_sentence
from harness.analysis.unusual import unusual
from harness.report.blocks import Block, Section, explained
from harness.report.ranked import FORMATS, ranked_files, ranked_table
from harness.report.topics import ranking, summary
from harness.report.topics.figures import Figures
from harness.report.topics.table import MOST_ROWS

TABLES = (summary.SUMMARY, ranking.RANKING)

PLUS_MINUS = (
    "Every ± in this report is the standard deviation over seeds (divisor n - 1, n = the finished runs); "
    "a single run has none. All numbers are from the last epoch; no epoch was selected on the test "
    "images. The 95 % interval of the mean is the t interval over seeds on this one set of images: it is "
    "about the mean, not about a single run. It is wide with few seeds; an interval of a percentage is "
    "cut at 0 and 100; there is none if all seeds have the same result. A failed run counts as one that "
    "did not reach the target."
)
RANKING_EXPLAINED = (
    "p is the smallest corrected p of the tests in which another variant was better. The "
    "pairs in the comparisons below keep that verdict. Other pairs are tested by the same test, with p "
    "multiplied by the number of the variant's rivals (multiple comparisons with the best). The best recipe "
    "is wrongly called significantly below another in at most 1 of 20 studies. A variant with one run has "
    "no spread, so it is not tested. A variant with failed runs is ranked by its finished runs."
)
SELECTED = (
    "These are test images. The top variant was selected by them, so its result is too good on "
    "average (selection bias). To select a recipe, set data.holdout. Then run the selected recipe once on "
    "the test split."
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show the ranked table and its rule, what is unusual, and the sentence and tables to copy."""
    blocks = [Block("warning", text) for text in unusual(findings.results)]
    header, rows, numeric = ranked_table(findings)
    files = [*(f"tables/{file}" for file in FORMATS), "tables/summary.csv"]
    blocks.append(Block("table", header=header, rows=rows[:MOST_ROWS], numeric=numeric, files=files))
    if (rest := len(rows) - MOST_ROWS) > 0:
        blocks.append(Block("text", f"{several(rest, 'more variant')}: tables/ranking.csv."))
    blocks.append(Block("text", " ".join(filter(None, (decision_rule(findings), _lead(findings))))))
    blocks.append(Block("heading", "Text to copy"))
    blocks.append(Block("code", claim_sentence(findings)))
    texts = ranked_files(findings)
    blocks += [Block("code", texts[file], title=f"The table in {title}") for file, title in FORMATS.items()]
    blocks += [Block("warning", warning) for warning in findings.warnings]
    blocks.append(summary.block(findings))
    blocks.append(explained(_explanation(findings)))
    return Section("Result", blocks)


def _lead(findings: Findings) -> str:
    """Say what ± is, and whether it includes the range test."""
    what = "± is the standard deviation over seeds. All results are from the last epoch."
    return " ".join(filter(None, (what, found_rate_sentence(findings.summaries))))


def _explanation(findings: Findings) -> str:
    text = " ".join(filter(None, (PLUS_MINUS, times_note(findings.results))))
    corrected = [each.variant for each in findings.summaries if each.corrected is not None]
    if corrected:
        text += (
            f" The runs of {', '.join(corrected)} share levels of a crossed design, or images of their "
            "hold-outs: their standard error and interval are corrected for that (docs/variance.md)."
        )
    if len(findings.summaries) > 1:
        text += f" {RANKING_EXPLAINED}"
        recipe = findings.results.study.recipes.get(findings.ranking[0].variant) if findings.ranking else None
        if recipe is not None and recipe.data.holdout is None:
            text += f" {SELECTED}"
    return text
