"""A research benchmark harness on PyTorch-Ignite: seeded runs, mean ± std, an honest verdict."""

import os

__version__ = "0.1.0"

# torch reads this once, while it is loaded: huge pages for its tensors made a training step 1.4 times faster
# on two CPU cores (docs/performance.md). It changes no number.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
