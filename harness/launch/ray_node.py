"""What a node of a Ray cluster does with a task: it sends lines, checkpoints and the files to the driver."""

from __future__ import annotations

import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data.arrays import Data
from harness.errors import RunError
from harness.launch.job import Job, find_rates
from harness.launch.task import Answer, Task, train
from harness.messages import one_line
from harness.schedule import Rates
from harness.store.atomic import atomic_write
from harness.store.locks import locked
from harness.version import __version__

# A checkpoint is sent so rarely that at this rate it takes a twentieth of the time: bytes/s.
SENDING_RATE = 50e6
SENDING_SHARE = 0.05
CHECKPOINTED = ("checkpoint.pt", "history.csv")


@dataclass(frozen=True)
class Parcel:
    """A task as a node is sent it.

    Attributes:
        version: of the driver's package.
        token: name of a file among the study's locks: a node that sees it writes there; empty for no writing.
        files: name -> content, of the run's folder.
    """

    task: Task
    version: str
    token: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Result:
    """The last thing that a node sends, with files by their path below the study's folder."""

    answer: Answer
    files: Mapping[str, bytes] = field(default_factory=dict)


def run_on_node(parcel: Parcel, job: Job, data: Data) -> Iterator[str | dict[str, bytes] | Result]:
    """Execute a task; what is yielded goes to the driver at once: lines, a checkpoint's files, the result."""
    if parcel.version != __version__:
        where, ours = socket.gethostname(), __version__
        yield Result(Answer(error=f"{where} has harness {ours}, the driver {parcel.version}"))
        return
    task, study = parcel.task, job.plan.folder
    in_place = task.seed is not None and parcel.token != "" and (study.locks / parcel.token).is_file()
    with tempfile.TemporaryDirectory(prefix="harness-") as own:
        study = study if in_place else replace(study, out=Path(own))
        messages: queue.SimpleQueue[str | Result] = queue.SimpleQueue()
        plan = replace(job.plan, folder=study)
        job = replace(job, plan=plan, load_data=lambda recipe: data, say=messages.put)
        threading.Thread(target=_work, args=(parcel, job, in_place, messages.put), daemon=True).start()
        sent = time.monotonic()
        message: str | Result = ""
        while not isinstance(message, Result):
            with suppress(queue.Empty):
                message = messages.get(timeout=1)
                yield message
            if not in_place and task.seed is not None:
                run = task.run_folder(study)
                with suppress(OSError):  # there is no checkpoint yet
                    pause = run.checkpoint_file.stat().st_size / SENDING_RATE / SENDING_SHARE
                    if time.monotonic() - sent > pause:
                        yield read_files(run.path, CHECKPOINTED)
                        sent = time.monotonic()


def _work(parcel: Parcel, job: Job, in_place: bool, send: Callable[[Result], None]) -> None:
    """Execute a task in a thread, so that its lines can be sent meanwhile."""
    task, study, answer = parcel.task, job.plan.folder, Answer()
    try:
        with ExitStack() as locks:
            if in_place:  # a task whose driver was killed may not have been told yet
                name = f"{task.variant.name}-{task.seed}"
                locks.enter_context(locked(study.locks / f"node-{name}.lock", f"{study.name}/{name}"))
            if task.seed is None:
                answer = Answer(rates=find_rates(job, task.variant, wait=True))
            else:
                assert isinstance(task.rates, Rates)
                write_files(task.run_folder(study).path, {} if in_place else parcel.files)
                train(job, task, task.rates)
        result = Result(answer, {} if in_place else _all_files(study.path))
    except RunError as error:
        result = Result(Answer(error=str(error)))
    except BaseException as error:
        result = Result(Answer(error=f"{type(error).__name__}: {one_line(error, 200)}"))
    send(result)


def _all_files(folder: Path) -> dict[str, bytes]:
    """Read a node's own study folder."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return read_files(folder, [path.as_posix() for path in paths if path.parts[0] != ".locks"])


def read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read those of the files that exist."""
    files = {}
    for name in names:
        with suppress(FileNotFoundError):
            files[name] = (folder / name).read_bytes()
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file whole or not at all; records last, since they vouch for the others."""
    for name in sorted(files, key=lambda name: (name.endswith(".json"), name)):
        atomic_write(folder / name, files[name])
