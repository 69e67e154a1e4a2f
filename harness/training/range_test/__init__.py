"""The learning-rate range test of a variant, which finds LRMAX and LRMIN.

``sweep`` trains a fresh network with rising rates, ``choice`` picks LRMAX from what was measured, and
``stored`` keeps both on disk, where every run of the variant finds them.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, in fastai's form.
"""

from harness.training.range_test.stored import (
    check_agreement,
    ensure_range_test,
    set_stale_aside,
    stored_rates,
)

__all__ = ["check_agreement", "ensure_range_test", "set_stale_aside", "stored_rates"]
