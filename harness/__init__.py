"""A research benchmark harness on PyTorch-Ignite: seeded runs, mean ± std, an honest verdict.

In Python::

    from harness import run
    results = run("quickstart", seeds=[0, 1])
    results.verdict, results.summary, results.figure("curves")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.version import __version__

if TYPE_CHECKING:
    from harness.api import Comparison, Results, run
    from harness.predictor import Predictor, load
    from harness.study_file.config import Study
    from harness.study_file.load import load_study

__all__ = ["__version__", "Comparison", "Predictor", "Results", "Study", "load", "load_study", "run"]

_HOMES = {
    "Comparison": "harness.api",
    "Predictor": "harness.predictor",
    "Results": "harness.api",
    "Study": "harness.study_file.config",
    "load": "harness.predictor",
    "load_study": "harness.study_file.load",
    "run": "harness.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
