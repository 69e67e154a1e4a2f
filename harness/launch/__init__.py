"""Launchers by name: who executes a plan's range tests and runs, and where.

A launcher is a file with a function like :class:`Launcher`, and a line in ``LAUNCHERS``. What is executed in
which order is :mod:`harness.launch.scheduler`'s matter; a launcher gives it a backend.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

from harness.errors import StudyError
from harness.messages import check_installed, one_line, suggest

if TYPE_CHECKING:
    from harness.launch.job import Job


@dataclass(frozen=True)
class LauncherInfo:
    """The facts about a launcher before it is imported.

    Attributes:
        function: ``"module:function"`` of a :class:`Launcher`.
        runs: how it executes them, for ``--help``.
        package: the package to install; the extra that installs it has the same name.
        several: whether it executes several runs at once.
        remote: whether on other machines, where timing this one says nothing.
    """

    function: str
    runs: str
    package: str | None = None
    several: bool = True
    remote: bool = False


LAUNCHERS = {
    "serial": LauncherInfo("harness.launch.serial:serial", "one after another", several=False),
    "process": LauncherInfo("harness.launch.process:process", "several at once"),
    "ray": LauncherInfo("harness.launch.ray:ray", "on a cluster", package="ray", remote=True),
}


class Launcher(Protocol):
    """Executes a job's missing range tests and runs; failures are recorded in the run folders."""

    def __call__(self, job: Job, workers: int | None) -> dict[str, str]:
        """Execute tasks until nothing is left to do.

        Args:
            workers: runs at once; None where the caller leaves it to the launcher.

        Returns:
            Run name -> cause, of failures that could not be recorded: a full disk, a folder that is gone.
        """


def check_launcher(name: str) -> None:
    """Refuse an unknown launcher; ``auto`` is serial or process, as :mod:`harness.launch.team` chooses.

    Raises:
        StudyError: there is no launcher of that name, or its package is not installed.
    """
    names = ["auto", *LAUNCHERS]
    if name not in names:
        raise StudyError(f"--launcher {name}: not a launcher{suggest(name, names)}")
    if name != "auto" and (package := LAUNCHERS[name].package) is not None:
        check_installed(package, f"--launcher {name}")


def parse_workers(text: str | int | None) -> int | None:
    """Read a number of runs at once; ``"auto"`` and None give None.

    Raises:
        StudyError: neither a number of runs nor ``auto``.
    """
    if text is None or text == "auto":
        return None
    if not re.fullmatch("-?[0-9]{1,8}", str(text)):
        raise StudyError(f"--workers {one_line(text, 80)}: expected a number of runs at once, or auto")
    if int(text) < 1:
        raise StudyError(f"--workers {text}: expected at least 1")
    return int(text)


def get_launcher(name: str) -> Launcher:
    """Import the launcher of a name in :data:`LAUNCHERS`."""
    launcher: Launcher = resolve_name(LAUNCHERS[name].function)
    return launcher
