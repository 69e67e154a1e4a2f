"""The part of the Ray launcher that runs on a node: execute a task, send lines and files to the driver."""

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
from harness.launch.view import Speaker
from harness.messages import one_line
from harness.store.atomic import atomic_write
from harness.store.folders import OWN_RANGE_TEST
from harness.store.locks import locked
from harness.training.progress import Progress
from harness.version import __version__

# A checkpoint is sent so rarely that it takes this share of the time, at this assumed rate in bytes/s.
SENDING_RATE = 50e6
SENDING_SHARE = 0.05
CHECKPOINTED = ("checkpoint.pt", "history.csv", *OWN_RANGE_TEST)


@dataclass(frozen=True)
class Parcel:
    """A task as it is sent to a node.

    Attributes:
        version: of the driver's package.
        token: name of a file among the study's locks: a node that can see it writes in the study's folder;
            empty forbids that.
        files: of the run's folder, name -> content.
    """

    task: Task
    version: str
    token: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class TaskResult:
    """The last thing that a node sends, with files by their path below the study's folder."""

    answer: Answer
    files: Mapping[str, bytes] = field(default_factory=dict)


def run_on_node(
    parcel: Parcel, job: Job, data: Data
) -> Iterator[str | Progress | dict[str, bytes] | TaskResult]:
    """Execute a task; yield lines, progress, files of checkpoints, and finally the result, to the driver."""
    if parcel.version != __version__:
        where, ours = socket.gethostname(), __version__
        yield TaskResult(Answer(error=f"{where} has harness {ours}, the driver {parcel.version}"))
        return
    task, study = parcel.task, job.plan.folder
    in_place = task.seed is not None and parcel.token != "" and (study.locks / parcel.token).is_file()
    with tempfile.TemporaryDirectory(prefix="harness-") as own:
        study = study if in_place else replace(study, out=Path(own))
        messages: queue.SimpleQueue[str | Progress | TaskResult] = queue.SimpleQueue()
        plan = replace(job.plan, folder=study)
        speaker = Speaker(messages.put, messages.put)
        job = replace(job, plan=plan, load_data=lambda recipe: data, speaker=speaker)
        threading.Thread(target=_work, args=(parcel, job, in_place, messages.put), daemon=True).start()
        sent = time.monotonic()
        message: str | Progress | TaskResult = ""
        while not isinstance(message, TaskResult):
            with suppress(queue.Empty):
                message = messages.get(timeout=1)
                yield message
            if not in_place and task.seed is not None:
                run = task.run_folder(study)
                with suppress(OSError):  # there may be no checkpoint yet
                    pause = run.checkpoint_file.stat().st_size / SENDING_RATE / SENDING_SHARE
                    if time.monotonic() - sent > pause:
                        yield read_files(run.path, CHECKPOINTED)
                        sent = time.monotonic()


def _work(parcel: Parcel, job: Job, in_place: bool, send: Callable[[TaskResult], None]) -> None:
    """Execute a task and send its result; in a thread, so that its lines can be sent meanwhile."""
    task, study, answer = parcel.task, job.plan.folder, Answer()
    try:
        with ExitStack() as locks:
            if in_place:  # a task of a killed driver may still be running
                name = f"{task.variant.name}-{task.seed}"
                locks.enter_context(locked(study.locks / f"node-{name}.lock", f"{study.name}/{name}"))
            if task.seed is None:
                answer = Answer(rates=find_rates(job, task.variant, wait=True))
            else:
                write_files(task.run_folder(study).path, {} if in_place else parcel.files)
                answer = train(job, task)
        result = TaskResult(answer, {} if in_place else _all_files(study.path))
    except RunError as error:
        result = TaskResult(Answer(error=str(error)))
    except BaseException as error:
        result = TaskResult(Answer(error=f"{type(error).__name__}: {one_line(error, 200)}"))
    send(result)


def _all_files(folder: Path) -> dict[str, bytes]:
    """Read all files of the node's own study folder, except locks."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return read_files(folder, [path.as_posix() for path in paths if path.parts[0] != ".locks"])


def read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read the files that exist."""
    files = {}
    for name in names:
        with suppress(FileNotFoundError):
            files[name] = (folder / name).read_bytes()
    return files


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file atomically; records last, since they contain the others' checksums."""
    for name in sorted(files, key=lambda name: (name.endswith(".json"), name)):
        atomic_write(folder / name, files[name])
