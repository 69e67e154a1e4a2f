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
        f"epoch, over finished runs{lower}. The test is named in advance: the paired t test over the "
        "seeds that both have, Welch's where they share fewer than two. "
        + (f"Holm's correction is over all comparisons of {what}. " if len(compared) > 1 else "")
        + "A verdict needs p (Holm) of at most 0.05. The intervals are not corrected. The difference "
        "that n shows is the true difference that so many seeds show in 4 of 5 studies. It takes the upper "
        "80 % bound of the measured spread, and not the measured difference, which from few seeds is mostly "
        "too large where it is large at all. P(better) is how often a run is better than one of "
        f"{other}, with its 95 % interval; Bouthillier et al. (2021) call 75 % meaningful. "
        "comparisons.csv has more: p without correction, effect sizes, Welch's and permutation tests, "
        "and the interval that holds at all looks."
    )
    text += _kinds_explained(comparisons)
    if any(comparison.failures for comparison in comparisons):
        text += (
            " Failed are the runs that their recipe made fail: they diverged, or the network raised an "
            "error. Their numbers are compared by Fisher's exact test, with Holm's correction over these "
            "tests and a verdict of their own. Where one of two variants has no finished run, that is the "
            "comparison; elsewhere it stands beside the means, which are of the runs that finished alone."
        )
    if any(comparison.margin for comparison in comparisons):
        text += (
            " The margin is the study's: the largest difference that does not matter. Equivalent are two "
            "variants where both a gain and a loss of the margin or more are excluded at 5 % (TOST). Better, "
            "worse and not worse take 2.5 %, as one side of the test of the difference does."
        )
    if any(comparison.result and comparison.result.careful for comparison in comparisons):
        text += (
            " A seed of the study lies apart from its variant's others (Grubbs's test at 5 %; chance alone "
            "flags one variant in twenty). It is left in. But such seeds may also be rare in variants where "
            "none was drawn, so a verdict then also needs p of at most 0.05 with the median spread of all "
            "comparisons, where that is larger than the pair's own. The sentences give the result without it."
        )
    blocks = [explained(text)]
    if any(comparison.test == "McNemar" for comparison in comparisons):
        text = (
            "McNemar's test compares two single networks on the same images, with a bootstrap interval "
            "over images. It can tell these two networks apart and never two recipes: another seed may "
            "turn it round."
        )
        blocks.append(Block("text", text))
    named = {name for comparison in comparisons for name in (comparison.variant, comparison.baseline)}
    if failed := [
        comparison.variant
        for comparison in findings.summaries
        if comparison.failed and comparison.variant in named
    ]:
        blocks.append(Block("text", f"Failed runs are in no difference of means: {', '.join(failed)}."))
    return blocks


def _kinds_explained(comparisons: Sequence[VariantComparison]) -> str:
    """Explain the kinds of answers that stand in the table."""
    kinds = {one.evidence.answer.kind for one in comparisons if one.evidence is not None}
    text = (
        " The kind of answer says when n was decided. Fixed n: all seeds were planned together, and the test "
        "decides once. The e-value holds however often one looks: it decides where seeds were added after "
        "looking, and takes 20 for one comparison, k times as much for k."
    )
    if "looks" in kinds:
        text += (
            " Look j as planned: the study planned its looks before the first run; |t| has to reach what is "
            "needed at that look, so that all looks together are wrong in at most 5 % of studies."
        )
    if "added" in kinds:
        text += (
            " Seeds were added after looking: somebody could see results before these seeds were planned. "
            "Adding seeds until a test says better is wrong much more often than in 5 % of studies, so p "
            "does not decide here."
        )
    if "interim" in kinds:
        text += (
            " So many of the planned seeds: runs are missing, so this is a look that nobody planned. Finish "
            "the planned runs, and the test decides."
        )
    if kinds - {"fixed"}:
        text += (
            " Where n was not fixed, difference and interval are those of the look that decided, or of all "
            "seeds with an interval that holds at all looks together: the t interval holds too rarely there."
        )
    return text
