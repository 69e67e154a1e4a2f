"""The learning-rate range test of a variant, which chooses LRMAX and LRMIN.

``sweep`` trains a new network with rising rates, ``choice`` chooses LRMAX from its losses and accuracies, and
``stored`` keeps both on disk, where every run of the variant reads them.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, in fastai's form.
"""

from harness.training.range_test.stored import (
    check_agreement,
    ensure_range_test,
    set_stale_aside,
    stored_rates,
)

__all__ = ["check_agreement", "ensure_range_test", "set_stale_aside", "stored_rates"]
