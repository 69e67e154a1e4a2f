"""Numbers in, numbers out: everything the report computes; knows no files, no tables and no plots.

Over seeds: ``distribution``, ``target``, ``reference``; between recipes: ``comparison``, ``failures``,
``ranking``, ``permutation``, ``images``; of the networks' outputs: ``classification``, ``ensemble``,
``variance``; of maps: ``ranks``.
docs/statistics.md says why each is used and how it did in simulations. scipy, which does the mathematics, is
imported where needed.
"""

from harness.report.statistics.classification import (
    Reliability,
    accuracy_from_logits,
    brier_score,
    confusion,
    count_ties,
    cross_entropy_from_logits,
    log_softmax,
    predictions,
    reliability,
    row_shares,
)
from harness.report.statistics.comparison import (
    MOST_SEEDS,
    Comparison,
    Estimate,
    compare,
    compare_by_failures,
    compare_networks,
    holm,
    judge,
    paired_t,
    seeds_needed,
    t_power,
    welch_t,
)
from harness.report.statistics.distribution import (
    BOOTSTRAP_FROM,
    CONFIDENCE_LEVEL,
    Distribution,
    bootstrap_interval,
    describe,
    interquartile_mean,
    judgeable_std,
    mean_of,
    median_of,
    std_of,
    t_interval,
)
from harness.report.statistics.ensemble import (
    always_missed,
    ensemble_predictions,
    error_consistency,
    most_voted,
)
from harness.report.statistics.failures import Failures, compare_failures
from harness.report.statistics.images import NetworkComparison, compare_images, mcnemar
from harness.report.statistics.permutation import Permutation, relabelled, sign_flips
from harness.report.statistics.ranking import Place, rank_recipes
from harness.report.statistics.ranks import mean_known, rank_correlations
from harness.report.statistics.reference import (
    Standing,
    accuracy_standing,
    prediction_interval,
    share_prediction,
    share_standing,
)
from harness.report.statistics.target import (
    Share,
    TimeToTarget,
    clopper_pearson,
    p_above,
    share,
    time_to_target,
)
from harness.report.statistics.variance import Spread, sampling_std, spread

__all__ = [
    "BOOTSTRAP_FROM",
    "CONFIDENCE_LEVEL",
    "MOST_SEEDS",
    "Comparison",
    "Distribution",
    "Estimate",
    "Failures",
    "NetworkComparison",
    "Permutation",
    "Place",
    "Reliability",
    "Share",
    "Spread",
    "Standing",
    "TimeToTarget",
    "accuracy_from_logits",
    "accuracy_standing",
    "always_missed",
    "bootstrap_interval",
    "brier_score",
    "clopper_pearson",
    "compare",
    "compare_by_failures",
    "compare_failures",
    "compare_images",
    "compare_networks",
    "confusion",
    "count_ties",
    "cross_entropy_from_logits",
    "describe",
    "ensemble_predictions",
    "error_consistency",
    "holm",
    "interquartile_mean",
    "judge",
    "judgeable_std",
    "log_softmax",
    "mcnemar",
    "mean_known",
    "mean_of",
    "median_of",
    "most_voted",
    "p_above",
    "paired_t",
    "prediction_interval",
    "predictions",
    "rank_correlations",
    "rank_recipes",
    "relabelled",
    "reliability",
    "row_shares",
    "sampling_std",
    "seeds_needed",
    "share",
    "share_prediction",
    "share_standing",
    "sign_flips",
    "spread",
    "std_of",
    "t_interval",
    "t_power",
    "time_to_target",
    "welch_t",
]
