"""The laboratory's fixtures."""

from tests.lab import cache_of_this_session, lab, shared_lab

__all__ = ["cache_of_this_session", "lab", "shared_lab"]
