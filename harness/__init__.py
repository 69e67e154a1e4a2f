"""A research benchmark harness on PyTorch-Ignite: seeded runs, mean ± std, an honest verdict."""

__version__ = "0.1.0"
