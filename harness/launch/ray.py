"""The Ray launcher: every range test and run is a task on a cluster; the driver alone writes its results.

A node needs this package and no shared file system: it is sent the images once and a run's last
checkpoint, and sends back lines, checkpoints and at last the run folder's bytes. Where it sees the driver's
folder all the same, the run is written in place. A task whose worker or node is lost is given out again with
what it had sent.
"""

from __future__ import annotations

import os
import queue
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness
from harness.data.arrays import Data
from harness.device import threads_for
from harness.errors import HeldError, RunError, StudyError
from harness.launch.job import Job, claim, find_rates, needs_work, outcome_line, rates_without, task_name
from harness.launch.view import View
from harness.messages import one_line
from harness.plan import Variant
from harness.schedule import Rates
from harness.store.atomic import atomic_write
from harness.store.folders import StudyFolder
from harness.store.locks import locked
from harness.study_file.config import Resources
from harness.trackers import Guarded
from harness.training.failures import record_failure
from harness.training.range_test import check_agreement, ensure_range_test, set_stale_aside, stored_rates
from harness.training.run import execute

TRIES = 4  # of a task whose worker or node is lost each time
# A checkpoint is sent so rarely that at this rate it takes a twentieth of the time: bytes/s.
SENDING_RATE = 50e6
SENDING_SHARE = 0.05
CHECKPOINTED = ("checkpoint.pt", "history.csv")
PASSED_ON = ("MLFLOW_", "HARNESS_")  # environment variables, by their beginnings


@dataclass(frozen=True)
class Task:
    """A variant's range test (``seed`` is None), or one of its runs with the rates that this found."""

    variant: Variant
    seed: int | None = None
    rates: Rates | RunError | None = None
    tries: int = 0
    told: bool = False  # that another process holds it


@dataclass(frozen=True)
class Order:
    """A task as a node is told it.

    Attributes:
        out: the driver's results folder; in place where ``token`` is found in it.
        files: what the run's folder holds.
    """

    variant: Variant
    seed: int | None
    rates: Rates | None
    threads: int
    profile: bool
    tracker: Guarded | None
    version: str
    out: Path
    token: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Outcome:
    """The last thing that a node says: files below the study's folder, or why there are none."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    rates: Rates | None = None
    error: str = ""


@dataclass
class Busy:
    """A task that a node works on, and the locks that the driver holds for it meanwhile."""

    task: Task
    number: int
    locks: ExitStack
    outcome: Outcome | None = None


def ray(job: Job, workers: int | None) -> dict[str, str]:
    """Tasks as the cluster has room for them, at most ``workers`` at once."""
    resources = job.plan.study.resources or Resources()
    job = replace(job, threads=threads_for(1, cores=max(1, int(resources.cpus))))
    gpus = resources.gpus
    if gpus is None:
        gpus = float(any(variant.device.startswith("cuda") for variant in job.plan.variants))
    if any(":" in variant.device for variant in job.plan.variants):
        raise StudyError("--device with --launcher ray: the cluster chooses the GPU; use cuda, cpu or auto")
    with redirect_stdout(sys.stderr), _connected():  # until its end Ray speaks there of lost nodes
        _check_room(resources.cpus, gpus, job)
        with View(job, 0) as view:
            return _Driver(replace(job, say=view.say), view, resources, gpus, workers).drive()


@contextmanager
def _connected() -> Iterator[None]:
    """To ``RAY_ADDRESS``, else to a cluster of this machine alone; a connection that is there stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    if address.startswith("ray://"):
        raise StudyError(f"--ray-address {address}: start the command on a machine of the cluster")
    if address != "local":
        _check_answers(address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": passed_on},
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        raise StudyError(f"--ray-address {address}: {one_line(error, 200)}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray puts its own in place
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise StudyError(f"--ray-address {address}: no cluster answers there ({error})") from None


def _check_room(cpus: float, gpus: float, job: Job) -> None:
    """A task that no node can take would wait for ever, and say nothing."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        wanted = f"{cpus:g} CPUs and {gpus:g} GPUs"
        if not os.environ.get("RAY_ADDRESS"):
            raise StudyError(f"resources: a run takes {wanted}, more than this machine has")
        job.say(f"warning: no node has the {wanted} that a run takes; waiting for one to join")


class _Driver:
    """Who does what: tasks that wait, tasks on nodes, tasks that other processes hold."""

    def __init__(self, job: Job, view: View, resources: Resources, gpus: float, workers: int | None) -> None:
        import ray

        self.job, self.view, self.resources = job, view, resources
        self.remote = ray.remote(num_returns="streaming", max_retries=0)(_execute).options(
            num_cpus=resources.cpus, num_gpus=gpus
        )
        self.gpus, self.workers = gpus, workers
        self.out = job.plan.folder.out.resolve()
        self.token = secrets.token_hex(8)
        self.waiting = deque(Task(variant) for variant in job.plan.variants)
        self.held: list[Task] = []
        self.busy: dict[Any, Busy] = {}
        self.images: dict[int, Any] = {}
        self.unrecorded: dict[str, str] = {}

    def drive(self) -> dict[str, str]:
        """Until nothing is left to do; an interrupt ends all tasks."""
        import ray

        token = self.job.plan.folder.locks / f"ray-{self.token}"
        atomic_write(token, self.token)
        try:
            while self.waiting or self.held or self.busy:
                room = self._room()
                while self.waiting and len(self.busy) < room:
                    self._begin(self.waiting.popleft())
                self._listen()
                if not self.waiting:
                    self.waiting, self.held = deque(self.held), []
        finally:
            for stream, busy in self.busy.items():
                with suppress(Exception):  # the cluster may be what failed
                    ray.cancel(stream, force=True)
                busy.locks.close()
            token.unlink(missing_ok=True)
        return self.unrecorded

    def _room(self) -> int:
        """Tasks to give out: as many as fit on the nodes that are there, and one that asks for more."""
        if self.workers is not None:
            return self.workers
        import ray

        there = ray.cluster_resources()
        fit = there.get("CPU", 0) // self.resources.cpus
        if self.gpus:
            fit = min(fit, there.get("GPU", 0) // self.gpus)
        return int(fit) + 1

    def _begin(self, task: Task) -> None:
        """Give it out, if there is work to do that nobody else is at."""
        variant, folder, locks = task.variant, self.job.plan.folder, ExitStack()
        try:
            if task.seed is None:
                if _tested(variant, folder):
                    self._found(variant, find_rates(self.job, variant, wait=True))
                    return
                locks.enter_context(folder.range_test_lock(variant.name, wait=False))
                set_stale_aside(variant, folder, self.job.say)
                files: dict[str, bytes] = {}
            else:
                run = folder.run(variant.name, task.seed)
                locks.enter_context(run.lock(wait=False))
                if not needs_work(variant, run, self.job.say):
                    locks.close()
                    return
                claim(variant, run)
                if isinstance(task.rates, RunError):
                    record_failure(variant, run, task.rates, "range_test")
                    locks.close()
                    return
                files = _files_of(run.path, ["run.json", *CHECKPOINTED])
            self._submit(task, files, locks)
        except HeldError as error:
            locks.close()
            if not task.told:
                self.job.say(f"{error}; left for later")
            self.held.append(replace(task, told=True))
        except RunError as error:
            locks.close()
            self._lost(task, str(error))

    def _submit(self, task: Task, files: Mapping[str, bytes], locks: ExitStack) -> None:
        order = Order(
            task.variant,
            task.seed,
            task.rates if isinstance(task.rates, Rates) else None,
            self.job.threads,
            self.job.profile,
            self.job.tracker,
            harness.__version__,
            self.out,
            self.token if self.resources.in_place else "",
            files,
        )
        stream = self.remote.remote(order, self._images(task.variant))
        number = min(set(range(len(self.busy) + 1)) - {busy.number for busy in self.busy.values()})
        self.busy[stream] = Busy(task, number, locks)
        self.view.begins(number, self._name(task))

    def _images(self, variant: Variant) -> Any:
        """The variant's images in the object store, put there once."""
        import ray

        data = self.job.load_data(variant.recipe)
        if id(data) not in self.images:
            self.images[id(data)] = (data, ray.put(data))  # the first keeps the id from being another's
        return self.images[id(data)][1]

    def _listen(self) -> None:
        """Take in what the tasks say; wait a moment where they say nothing."""
        import ray

        if not self.busy:
            if self.held and not self.waiting:
                time.sleep(1)
            return
        ready, _ = ray.wait(list(self.busy), num_returns=len(self.busy), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(self.busy), num_returns=1, timeout=1)
        for stream in ready:
            busy = self.busy[stream]
            try:
                self._heard(busy, ray.get(next(stream)))
            except StopIteration:
                del self.busy[stream]
                self._end(busy)
            except ray.exceptions.RayTaskError as error:  # ours, or a node without this package
                del self.busy[stream]
                busy.outcome = Outcome(error=one_line(str(error).strip().splitlines()[-1], 300))
                self._end(busy)
            except ray.exceptions.RayError as error:
                del self.busy[stream]
                self._end_lost(busy, type(error).__name__)

    def _heard(self, busy: Busy, message: str | Mapping[str, bytes] | Outcome) -> None:
        if isinstance(message, str):
            self.view.says(busy.number, message)
        elif isinstance(message, Outcome):
            busy.outcome = message
        else:
            assert busy.task.seed is not None
            run = self.job.plan.folder.run(busy.task.variant.name, busy.task.seed)
            try:
                _write_files(run.path, message)
            except RunError as error:
                self.job.say(f"{run.name}  {error}; the checkpoint that was sent is lost")

    def _end(self, busy: Busy) -> None:
        """A task is done: keep what it made, go on with what this makes possible."""
        task, outcome, folder = busy.task, busy.outcome, self.job.plan.folder
        self.view.ends(busy.number)
        with busy.locks:
            if outcome is None:
                self._lost(task, "its node said nothing at the end")
                return
            try:
                if outcome.rates is not None and task.variant.recipe.schedule.finds:
                    check_agreement(task.variant, folder, outcome.rates)
                _write_files(folder.path, outcome.files)
                if task.seed is not None and not outcome.error:
                    run = folder.run(task.variant.name, task.seed)
                    if run.status() == "finished":
                        run.drop_checkpoint()
            except RunError as error:
                outcome = Outcome(error=str(error))
        if outcome.error:
            self._lost(task, outcome.error)
        elif task.seed is None:
            self._found(task.variant, find_rates(self.job, task.variant, wait=True))

    def _end_lost(self, busy: Busy, cause: str) -> None:
        """Its worker or node died: again with what it had sent, or not again."""
        self.view.ends(busy.number)
        task = replace(busy.task, tries=busy.task.tries + 1)
        with busy.locks:
            if task.tries < TRIES:
                self.job.say(f"{self._name(task)}  its worker or node was lost ({cause}); given out again")
                self.waiting.appendleft(task)
                return
            error = RunError(f"its worker or node was lost {task.tries} times ({cause})")
            if task.seed is not None:
                self.job.say(f"{self._name(task)}  FAILED: {error}")
                run = self.job.plan.folder.run(task.variant.name, task.seed)
                try:
                    record_failure(task.variant, run, error, "worker_died")
                except RunError as second:
                    self.unrecorded[run.name] = f"{error}; {second}"
                return
        self._lost(task, str(error))

    def _found(self, variant: Variant, rates: Rates | RunError) -> None:
        """The variant's runs can begin."""
        self.waiting += [Task(variant, seed, rates) for seed in self.job.plan.seeds]

    def _lost(self, task: Task, cause: str) -> None:
        if task.seed is None:
            self._found(task.variant, rates_without(self.job, task.variant, RunError(cause)))
        else:
            self.job.say(f"{self._name(task)}  FAILED: {cause}")
            self.unrecorded[self._name(task)] = cause

    def _name(self, task: Task) -> str:
        return task_name(self.job.plan.folder, task.variant.name, task.seed)


def _tested(variant: Variant, folder: StudyFolder) -> bool:
    """Whether the variant needs no range test, or has had it."""
    return variant.recipe.range_test_settings is None or stored_rates(variant, folder) is not None


def _execute(order: Order, data: Data) -> Iterator[str | dict[str, bytes] | Outcome]:
    """A node's work: what it yields goes to the driver at once."""
    if order.version != harness.__version__:
        where = socket.gethostname()
        yield Outcome(error=f"{where} has harness {harness.__version__}, the driver {order.version}")
        return
    with tempfile.TemporaryDirectory(prefix="harness-") as own:
        study = StudyFolder(Path(own), order.variant.study)
        token = StudyFolder(order.out, study.name).locks / f"ray-{order.token}"
        in_place = order.seed is not None and order.token != "" and token.is_file()
        if in_place:
            study = StudyFolder(order.out, study.name)
        lines: queue.SimpleQueue[str | Outcome] = queue.SimpleQueue()
        work = threading.Thread(target=_work, args=(order, data, study, in_place, lines), daemon=True)
        work.start()
        sent = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                line = ""
            if isinstance(line, Outcome):
                break
            if line:
                yield line
            if not in_place and order.seed is not None:
                run = study.run(order.variant.name, order.seed)
                with suppress(OSError):  # there is none yet
                    pause = run.checkpoint_file.stat().st_size / SENDING_RATE / SENDING_SHARE
                    if time.monotonic() - sent > pause:
                        yield _files_of(run.path, CHECKPOINTED)
                        sent = time.monotonic()
        yield line


def _work(
    order: Order, data: Data, study: StudyFolder, in_place: bool, lines: queue.SimpleQueue[str | Outcome]
) -> None:
    """In a thread, so that what it says can be passed on meanwhile; its last word is an outcome."""
    try:
        with ExitStack() as locks:
            if in_place:  # one whose driver was killed may not have been told yet
                name = f"{order.variant.name}-{order.seed}"
                locks.enter_context(locked(study.locks / f"node-{name}.lock", f"{study.name}/{name}"))
            lines.put(_train(order, data, study, in_place, lines))
    except RunError as error:
        lines.put(Outcome(error=str(error)))
    except BaseException as error:
        lines.put(Outcome(error=f"{type(error).__name__}: {one_line(error, 200)}"))


def _train(
    order: Order, data: Data, study: StudyFolder, in_place: bool, lines: queue.SimpleQueue[str | Outcome]
) -> Outcome:
    variant = order.variant
    if order.seed is None:
        rates = ensure_range_test(variant, study, lambda: data, threads=order.threads, say=lines.put)
        return Outcome(_all_files(study.path), rates)
    folder = study.run(variant.name, order.seed)
    if not in_place:
        _write_files(folder.path, order.files)
    assert order.rates is not None
    record = execute(
        variant,
        folder,
        data,
        order.rates,
        threads=order.threads,
        say=lines.put,
        profile=order.profile,
        tracker=order.tracker,
    )
    lines.put(outcome_line(folder, record))
    return Outcome({} if in_place else _all_files(study.path))


def _all_files(folder: Path) -> dict[str, bytes]:
    """Of a study's own folder on a node."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return _files_of(folder, [path.as_posix() for path in paths if path.parts[0] != ".locks"])


def _files_of(folder: Path, names: list[str] | tuple[str, ...]) -> dict[str, bytes]:
    """Those that are there."""
    files = {}
    for name in names:
        with suppress(FileNotFoundError):
            files[name] = (folder / name).read_bytes()
    return files


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each whole or not at all; a record last, since it vouches for the others."""
    for name in sorted(files, key=lambda name: (name.endswith(".json"), name)):
        atomic_write(folder / name, files[name])
