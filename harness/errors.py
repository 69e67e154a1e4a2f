"""The few errors of the harness; each message is one line that says what is wrong, where, and what to do."""


class HarnessError(Exception):
    """Base of all errors that reach the user as one line."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback: IPython asks for it."""
        return [f"{type(self).__name__}: {self}"]


class StudyError(HarnessError):
    """An invalid option or study file."""


class DataError(HarnessError):
    """Data that cannot be had or cannot be trusted: a folder, a shard, an archive, a cache."""


class AbsentDataError(DataError):
    """Data that is not there yet: a run would download it, or needs ``--data``. A dry run continues."""


class RunError(HarnessError):
    """A run cannot continue, or a run folder cannot be trusted."""


class HeldError(RunError):
    """Another process holds the lock of this run, range test or report."""


# Kinds of a failed run (run.json's ``error``) that are not its recipe's fault: faults of the
# machine, and a failed range test, which all seeds of a variant share. Every other kind, such as ``diverged``
# or what a network raised, is the recipe's.
NOT_THE_RECIPE = frozenset(
    {"out_of_memory", "disk", "disk_full", "damaged", "worker_died", "range_test"}
    | {"AcceleratorError", "DistError", "DistBackendError", "DistNetworkError", "DistStoreError"}
)
