"""The small studies of the report's tests."""

from tests.report.conftest import _cache_of_this_session, lab, shared_lab  # noqa: F401 (fixtures)
