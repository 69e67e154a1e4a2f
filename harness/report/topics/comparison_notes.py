"""How to read the comparisons: the page's explanations of what stands in their table."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparisons import VariantComparison
from harness.analysis.findings import Findings
from harness.metrics import ACCURACY
from harness.report.blocks import Block, explained


def explanations(findings: Findings, pairwise: bool) -> list[Block]:
    """Explain the kinds of tests, verdicts and answers that the table has."""
    compared, comparisons = findings.compared, findings.comparisons
    metric = findings.results.metric
    what = "accuracies" if metric.name == ACCURACY else metric.title
    lower = "" if metric.higher_is_better else "; below 0 is better, because lower values are"
    other = "the second" if pairwise else comparisons[0].baseline
    text = (
        f"Differences are {metric.title} minus that of {other}, last "
        f"epoch, over finished runs{lower}. The test is fixed in advance: the paired t test over the "
        "seeds that both have, or Welch's t test where they share fewer than two. "
        + (f"Holm's correction is over all comparisons of {what}. " if len(compared) > 1 else "")
        + "A verdict needs p (Holm) of at most 0.05. The intervals are not corrected. The difference "
        "that n detects with 80 % power uses the upper 80 % bound of the measured spread. It does not use "
        "the measured difference, which is often too large with few seeds. P(better) is how often a run "
        f"is better than one of {other}, with its 95 % interval; Bouthillier et al. (2021) call 75 % "
        "meaningful. comparisons.csv has more: p without correction, effect sizes, Welch's and "
        "permutation tests, and the interval that holds at all looks."
    )
    text += _kinds_explained(comparisons)
    if any(comparison.failures for comparison in comparisons):
        text += (
            " Failed runs are those that diverged, or whose network raised an error. Their numbers are "
            "compared by Fisher's exact test, with Holm's correction over these tests and a verdict of their "
            "own. If one of two variants has no finished run, this is the comparison; else it is given "
            "beside the means, which are of the finished runs only."
        )
    if any(comparison.margin for comparison in comparisons):
        text += (
            " The margin is the study's: the largest difference that does not matter. Two variants are "
            "equivalent if both a gain and a loss of the margin or more are excluded at 5 % (TOST). Better, "
            "worse and not worse are one-sided tests at 2.5 %."
        )
    if any(comparison.result and comparison.result.careful for comparison in comparisons):
        text += (
            " A seed of the study is an outlier among its variant's seeds (Grubbs's test at 5 %, which flags "
            "one variant in twenty by chance). It stays in all numbers. Other variants may have such seeds "
            "too, only not among those that were run, so a verdict then also needs p of at most 0.05 with "
            "the median spread of all comparisons, if that is larger than the pair's own. The sentences also "
            "give the result without the outlier."
        )
    blocks = [explained(text)]
    if any(comparison.test == "McNemar" for comparison in comparisons):
        text = (
            "McNemar's test compares two single networks on the same images, with a bootstrap interval "
            "over images. It compares these two networks, not two recipes: with another seed the "
            "result may be the opposite."
        )
        blocks.append(Block("text", text))
    named = {name for comparison in comparisons for name in (comparison.variant, comparison.baseline)}
    if failed := [
        comparison.variant
        for comparison in findings.summaries
        if comparison.failed and comparison.variant in named
    ]:
        blocks.append(Block("text", f"Differences of means do not include failed runs: {', '.join(failed)}."))
    return blocks


def _kinds_explained(comparisons: Sequence[VariantComparison]) -> str:
    """Explain the kinds of answers that stand in the table."""
    kinds = {one.evidence.answer.kind for one in comparisons if one.evidence is not None}
    text = (
        " The stopping rule says when n was decided. Fixed n: all seeds were planned together, and the test "
        "decides once. The e-value stays valid after any number of looks: it decides where seeds were added "
        "after looking, and must reach 20 for one comparison, 20 k for k comparisons."
    )
    if "looks" in kinds:
        text += (
            " Look j as planned: the study planned its looks before the first run; |t| must reach the bound "
            "of that look, so that all looks together are wrong in at most 5 % of studies."
        )
    if "added" in kinds:
        text += (
            " Seeds were added after looking: results were known before these seeds were planned. Adding "
            "seeds until a test is significant is wrong much more often than in 5 % of studies, so p does "
            "not decide here."
        )
    if "interim" in kinds:
        text += (
            " Some of the planned seeds: runs are missing, so this look was not planned. Finish the planned "
            "runs, and the test decides."
        )
    if kinds - {"fixed"}:
        text += (
            " Where n was not fixed, difference and interval are those of the look that decided, or of all "
            "seeds with an interval for all looks together: the t interval would be too narrow."
        )
    return text
