"""The most memory that a process has held."""

from __future__ import annotations

import resource
import sys


def peak_bytes(usage: resource.struct_rusage | None = None) -> int:
    """Return the highest resident set of this process, or of the one whose usage is given."""
    usage = usage or resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
