"""The columns of every table in ``tables/``, in their order, and what stands in them.

Accuracies and shares are fractions, times seconds, learning rates as the optimizer had them; an unknown value
is an empty cell. The names are a contract: others' scripts read them.
"""

from __future__ import annotations

_VARIANT = {"variant": "its name; `base` is the study file itself"}
_RUN = _VARIANT | {"seed": "of the run"}
_STEP = {"iteration": "optimizer step, from 1", "epoch": "from 1", "lr": "learning rate of the step"}
_INTERVAL = {"ci_low": "lower end of the 95 % interval", "ci_high": "upper end"}

# table -> (what a row is, column -> what stands in it)
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "runs": (
        "a run, finished or not",
        _RUN
        | {
            "status": "`finished`, `failed` or `missing`",
            "epochs": "that were trained",
            "test_accuracy": "of the last epoch, in float32: the one that counts",
            "test_loss": "cross-entropy of the last epoch, in float32",
            "train_accuracy": "of the last epoch, over the batches as trained on",
            "best_test_accuracy": "over all epochs; mentioned, never used",
            "best_epoch": "when that was",
            "epochs_to_target": "first epoch that reached the study's target",
            "seconds_to_target": "training time until then",
            "parameters": "trainable ones",
            "lr_min": "the rate found or given: the schedule's lower corner",
            "lr_max": "the rate found or given: the schedule's upper corner; where that falls between two "
            "steps, no step has it: see `learning_rates`",
            "seconds": "training and evaluation, over all processes that worked on it",
            "error": "why it failed",
        },
    ),
    "history": (
        "an epoch of a run",
        _RUN
        | {
            "epoch": "from 1",
            "lr": "of the epoch's first step",
            "train_loss": "mean over the epoch's batches, as trained on",
            "train_accuracy": "likewise",
            "test_loss": "after the epoch; after the last one in float32",
            "test_accuracy": "likewise",
            "train_seconds": "of the epoch's training",
            "eval_seconds": "of its evaluation",
            "images_per_second": "trained on",
        },
    ),
    "summary": (
        "a variant",
        _VARIANT
        | {
            "evaluated_on": "`test` or `holdout`",
            "runs": "finished and failed runs",
            "failed": "failed ones, which count as misses",
            "test_accuracy_mean": "over finished runs, last epoch",
            "test_accuracy_std": "over seeds, divisor n - 1",
            "test_accuracy_sem": "std / √n",
            "test_accuracy_ci_low": "of the 95 % t interval of the mean, cut at 0 and 1",
            "test_accuracy_ci_high": "its upper end",
            "test_accuracy_min": "lowest run",
            "test_accuracy_max": "highest run",
            "target": "the study's",
            "reached": "finished runs at the target or above",
            "test_loss_mean": "over finished runs",
            "test_loss_std": "over seeds",
            "train_accuracy_mean": "over finished runs",
            "train_accuracy_std": "over seeds",
            "parameters": "trainable ones",
            "seconds_mean": "of a run",
            "seconds_std": "over runs",
            "test_accuracy_median": "over finished runs",
            "test_accuracy_iqm": "mean of the middle half",
            "bootstrap_low": "of the BCa bootstrap interval of the mean, from 50 runs on",
            "bootstrap_high": "its upper end",
            "reached_low": "of the 95 % Clopper-Pearson interval of the share of runs at the target",
            "reached_high": "its upper end",
            "p_above_target": "one-sided t test of a mean that is not above the target",
            "epochs_to_target_median": "median over finished and failed runs, a miss being infinite; empty "
            "where half of them or more missed it",
            "steps_to_target_median": "likewise, in steps",
            "seconds_to_target_median": "likewise, in training seconds",
            "ever_reached": "runs that reached it in any epoch",
            "images": "evaluated on",
            "noise_seeds": "std of the accuracy that independent errors on these images would give",
            "noise_seeds_plug_in": "the same without its correction for few seeds",
            "variance_between_runs": "what exceeds that, in squared fractions; unbiased, so also negative",
            "p_luck": "of the measured variance, if there were nothing else",
            "noise_new_images": "std of one network's accuracy over test sets of this size",
            "ensemble_accuracy": "of the seeds' averaged probabilities",
            "error_consistency": "mean Cohen's κ of being right, over pairs of seeds",
            "missed_by_every_seed": "images",
            "ece_mean": "expected calibration error, 15 bins",
            "ece_std": "over seeds",
            "brier_mean": "Brier score, 0 to 2",
            "brier_std": "over seeds",
            "between_runs_low": "lower end of the 95 % interval of the std between runs, the root of "
            "`variance_between_runs`; empty where the seeds differ too little for any",
            "between_runs_high": "its upper end",
        },
    ),
    "comparisons": (
        "a variant against the baseline, or a pair of variants",
        {
            "variant": "the first",
            "baseline": "the second",
            "test": "`paired t`, `Welch t`, `McNemar`, or `Fisher` where one has no finished run",
            "n": "runs of the first in it",
            "difference": "mean of the first minus mean of the second; empty for `Fisher`",
            **_INTERVAL,
            "p": "two-sided",
            "p_holm": "after Holm's correction over the table",
            "effect_size": "Cohen's d (d_z where paired, g for networks)",
            "verdict": "`better`, `worse` or `cannot tell`; for `Fisher`, of how often it fails",
            "n_baseline": "runs of the second in it",
            "welch_p": "beside a paired test",
            "permutation_p": "of the permutation test",
            "smallest_p": "the smallest that this n allows it",
            "seeds_needed": "of each, that would tell a difference of this size with power 80 %",
            "failed": "runs of the first that its recipe made fail: they diverged, or the network raised an "
            "error; empty where no run of either did",
            "failed_of": "these and its finished runs",
            "failed_baseline": "the same of the second",
            "failed_of_baseline": "likewise",
            "failed_p": "Fisher's exact test of these counts, two-sided, not corrected",
        },
    ),
    "ranking": (
        "a variant, the highest mean first, those without a finished run last; of three variants or more",
        {
            "rank": "1 for the highest; equal means share one",
            "variant": "its name",
            "n": "finished runs",
            "mean": "accuracy of the last epoch",
            "std": "over seeds",
            "behind": "the highest mean minus this one",
            "p": "Games-Howell, of no difference from the highest, corrected for all pairs",
            "possible": "`yes` where it may be the best: p > 0.05 or none, and `worse_than` empty; without a "
            "finished run `no` where its recipe made runs fail, empty where the machine did",
            "changes": "what it changes of the file, as JSON",
            "failed": "runs that failed",
            "worse_than": "variants that `comparisons` has shown it to be worse than, with spaces between",
        },
    ),
    "references": (
        "a published number and a variant",
        {
            "reference": "its name in the study",
            "published": "the number, a fraction",
            "runs": "that were published",
            "variant": "compared with it",
            "n": "its finished runs; for a `share` failed ones too, which have not reached it",
            "difference": "published minus measured",
            "percentile": "of the published accuracy among the runs",
            "prediction_low": "of the 95 % prediction interval for as many further runs, cut at 0 and 1",
            "prediction_high": "its upper end",
            "plausible": "`yes` where the published number lies inside",
            "source": "who published it",
            "statistic": "what was published: `mean` or `median` accuracy, or the `share` of runs at "
            "`at_least` or more",
            "at_least": "the accuracy of a `share`",
            "measured": "the same statistic of our runs",
        },
    ),
    "per_class": (
        "a class of a run",
        _RUN
        | {
            "class": "its name",
            "images": "of it",
            "correct": "that were right",
            "accuracy": "the share",
            "ci_low": "of its 95 % Clopper-Pearson interval",
            "ci_high": "upper end",
        },
    ),
    "misclassified": (
        "an error of a run",
        _RUN
        | {
            "index": "the image's place in the evaluation split, from 0",
            "label": "true class, from 0",
            "predicted": "class it was taken for",
            "confidence": "softmax of that class",
        },
    ),
    "always_missed": (
        "an image that every seed of a variant misses",
        _VARIANT
        | {
            "runs": "that missed it",
            "index": "its place in the evaluation split, from 0",
            "label": "true class",
            "predicted": "class it was most often taken for",
            "votes": "how often",
        },
    ),
    "calibration": (
        "a bin of confidence of a run, where images lie in it",
        _RUN
        | {
            "bin_low": "above this confidence",
            "bin_high": "up to this",
            "images": "in it",
            "confidence": "their mean",
            "accuracy": "their share that was right",
        },
    ),
    "range_test": (
        "a step of a variant's range test",
        _VARIANT
        | {
            "iteration": "from 1",
            "lr": "of the step",
            "loss": "of its batch",
            "smoothed_loss": "by an exponential mean",
            "accuracy": "of its batch",
            "smoothed_accuracy": "likewise",
        },
    ),
    "learning_rates": ("a step of a variant's first finished run", _VARIANT | _STEP),
    "model": (
        "a layer of a variant's network",
        _VARIANT
        | {
            "layer": "its name",
            "output_shape": "of one image, such as 64x32x32",
            "parameters": "trainable ones",
            "bytes": "of these, in float32",
        },
    ),
    "attributions": (
        "a layer of a variant whose Grad-CAM maps were measured",
        _VARIANT
        | {
            "layer": "its name",
            "images": "measured on",
            "seeds": "whose maps were compared",
            "seed_pairs": "of these",
            "seed_rank_correlation": "of two seeds' maps of an image",
            "seed_rank_correlation_other_images": "of two seeds' maps of different images",
            "seed": "whose network the following is about",
            "errors": "confident ones looked at",
            "predicted_true_rank_correlation": "of the maps of the predicted and the true class on these",
            "draws": "of random weights",
            "randomised_rank_correlation": "with the maps of the network whose weights were drawn anew",
            "randomised_rank_correlation_other_images": "the same for different images",
            "sanity_check": "all three checks together: `passed` where each passed, `failed` where one "
            "failed, else `not judged`",
            "deletion_auc": "area under the true class's probability while the most important places go",
            "deletion_auc_random": "the same with random maps",
            "insertion_auc": "area while they come",
            "insertion_auc_random": "the same with random maps",
            "without_evidence": "share of maps without any positive evidence",
            "randomisation_check": "whether the maps depend on the weights: `passed`, `failed`, `not judged`",
            "deletion_check": "whether deletion does more harm than in the order of random maps: likewise",
            "insertion_check": "whether insertion brings more than in the order of random maps: likewise",
        },
    ),
    "attribution_curves": (
        "a point of a curve behind `attributions`",
        _VARIANT
        | {
            "layer": "its name",
            "curve": "`randomisation`, `deletion`, `insertion`, and the last two with `_random` maps",
            "step": "of the curve",
            "at": "share of the pixels, or the block that was the last to lose its weights",
            "mean": "over images: probability of the true class, or rank correlation",
        },
    ),
}


def columns(table: str) -> tuple[str, ...]:
    """The header of ``tables/<table>.csv``."""
    return tuple(TABLES[table][1])
