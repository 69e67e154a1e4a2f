"""The command in forked children of a process that has imported everything: it starts at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPU = ("--device", "cpu")  # faults are those of the host
POSSIBLE = hasattr(os, "fork") and Path("/proc/self/stat").exists()


def one_at_a_time(*arguments: object) -> list[str]:
    """Return the arguments, by default with the serial launcher, whose lines come in order."""
    given = [str(argument) for argument in arguments]
    return given if "--launcher" in given else ["--launcher", "serial", *given]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: its exit status, or minus the signal that ended it.
        cpu: seconds of processor time it took.
        operations: files opened for writing, renamed, removed or made below ``operations_in``.
    """

    status: int
    stdout: str
    stderr: str
    cpu: float
    operations: int


class Nursery:
    """Runs the command in forked children of a process that has imported everything."""

    def __init__(self) -> None:
        root = Path(__file__).parents[1]
        environment = {"OMP_NUM_THREADS": "1", "HARNESS_DATA": "", "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request; return the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        assert line, f"the nursery has ended with status {self.process.wait(timeout=60)}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def request(self, place: Path, arguments: tuple[object, ...], wishes: dict[str, Any]) -> dict[str, Any]:
        """Return a request whose files lie in a place of their own."""
        place.mkdir(parents=True, exist_ok=True)
        files = {name: place / name for name in ("stdout", "stderr")}
        for file in files.values():
            file.write_text("")
            file.chmod(0o666)
        paths = {name: str(file) for name, file in files.items()}
        return {"arguments": one_at_a_time(*CPU, *arguments), "cwd": str(place), **paths, **wishes}

    def run(self, place: Path, *arguments: object, **wishes: Any) -> Outcome:
        """Run the command to its end.

        Args:
            place: an own folder, its working directory.
            wishes: see ``nursery.be_the_command`` and ``attend``.
        """
        return outcome(place, self.ask(self.request(place, arguments, wishes)))

    def run_as(self, cwd: Path, arguments: list[str], environment: dict[str, str], timeout: float) -> Outcome:
        """Run the command to its end in a folder that is left to it alone, in this very environment."""
        with tempfile.TemporaryDirectory() as said:
            wishes = {"cwd": str(cwd), "whole_environment": environment, "timeout": timeout}
            return self.run(Path(said), arguments=arguments, **wishes)

    def begin(self, place: Path, *arguments: object, **wishes: Any) -> Child:
        """Run the command beside the test; with ``asleep_at``, until it has said these words on stderr and
        put itself to sleep: whoever waits for a line is too late for what follows it."""
        answer = self.ask(self.request(place, arguments, {**wishes, "background": True}))
        child = Child(self, answer["pid"], place)
        assert answer["asleep"] == ("asleep_at" in wishes), child.said
        return child

    def close(self) -> None:
        """End the process; no more children."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@dataclass(frozen=True)
class Child:
    """A command under way, in a place of its own."""

    nursery: Nursery
    pid: int
    place: Path

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return (self.place / "stderr").read_text()

    def wait(self, **wishes: Any) -> Outcome:
        """Wait for its end."""
        return outcome(self.place, self.nursery.ask({**wishes, "pid": self.pid}))


def outcome(place: Path, answer: dict[str, Any]) -> Outcome:
    """Return how a command ended, by the nursery's answer and what the command said."""
    stdout, stderr = ((place / name).read_text() for name in ("stdout", "stderr"))
    return Outcome(answer["status"], stdout, stderr, answer["cpu"], answer.get("operations", 0))
