"""Launchers by name: who executes a plan's range tests and runs, and where."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from harness.errors import StudyError
from harness.schema import check_installed, suggest

if TYPE_CHECKING:
    from harness.launch.job import Job

# name -> "module:function"
LAUNCHERS = {
    "serial": "harness.launch.local:serial",
    "process": "harness.launch.process:process",
    "ray": "harness.launch.ray:ray",
}


class Launcher(Protocol):
    """Executes what is missing of a job's range tests and runs; failures are recorded in the run folders."""

    def __call__(self, job: Job, workers: int | None) -> dict[str, str]:
        """Return when nothing is left to do.

        Args:
            workers: runs at once; None where nobody has said.

        Returns:
            Run name -> cause, of failures that could not be recorded: a full disk, a folder that is gone.
        """


def get_launcher(name: str) -> Launcher:
    """The launcher of that name.

    Raises:
        StudyError: there is none, or its package is not installed.
    """
    if name not in LAUNCHERS:
        raise StudyError(f"--launcher {name}: not a launcher{suggest(name, LAUNCHERS)}")
    if name == "ray":
        check_installed("ray", "--launcher ray")
    module, function = LAUNCHERS[name].split(":")
    launcher: Launcher = getattr(import_module(module), function)
    return launcher
