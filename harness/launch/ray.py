"""The Ray launcher: every range test and run is a task on a cluster; the driver alone writes its results.

A node needs this package and no shared file system: it is sent the images once and a run's last
checkpoint, and sends back lines, checkpoints and finally the run folder's bytes. Where it sees the driver's
folder (a shared file system), the run is written in place. A task whose worker or node is lost is sent
again, with the last checkpoint.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import Any

from harness.data.arrays import Data
from harness.device import threads_for
from harness.errors import HeldError, RunError, StudyError
from harness.launch.job import Job, find_rates
from harness.launch.ray_node import CHECKPOINTED, Parcel, TaskResult, read_files, run_on_node, write_files
from harness.launch.scheduler import Event, Scheduler, WorkerLost
from harness.launch.task import Answer, Task, to_train
from harness.messages import one_line
from harness.schedule import Rates
from harness.store.atomic import atomic_write
from harness.study_file.config import Recipe, Resources
from harness.training.progress import Progress
from harness.training.range_test import check_agreement, set_stale_aside, stored_rates
from harness.version import __version__

TRIES = 4  # how often a task is started whose worker or node is lost each time
PASSED_ON = ("MLFLOW_", "HARNESS_")  # prefixes of environment variables that nodes get


def ray(job: Job, workers: int | None) -> dict[str, str]:
    """Execute tasks as the cluster has room for them, at most ``workers`` at once."""
    resources = job.plan.study.resources or Resources()
    if resources.gpus is None:
        gpus = float(any(variant.device.startswith("cuda") for variant in job.plan.variants))
        resources = resources.model_copy(update={"gpus": gpus})
    if any(":" in variant.device for variant in job.plan.variants):
        raise StudyError("--device with --launcher ray: the cluster chooses the GPU; use cuda, cpu or auto")
    threads = threads_for(1, cores=max(1, int(resources.cpus)))
    with redirect_stdout(sys.stderr), _connected():  # Ray prints there, about lost nodes too
        _check_room(resources, job)
        job = replace(job, threads=threads)
        return Scheduler(job, _Cluster(job, resources, workers)).run()


@contextmanager
def _connected() -> Iterator[None]:
    """Connect to ``RAY_ADDRESS``, else to a cluster of this machine alone; an open connection stays."""
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
        signal.signal(signal.SIGTERM, before)  # Ray has set its own handler
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse an address that does not answer; Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise StudyError(f"--ray-address {address}: no cluster answers there ({error})") from None


def _check_room(resources: Resources, job: Job) -> None:
    """Refuse tasks that are too large for every node: they would wait forever, silently."""
    import ray

    cpus, gpus = resources.cpus, resources.gpus or 0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        wanted = f"{cpus:g} CPUs and {gpus:g} GPUs"
        if not os.environ.get("RAY_ADDRESS"):
            raise StudyError(f"resources: a run takes {wanted}, more than this machine has")
        job.say(f"warning: no node has the {wanted} that a run takes; waiting for one to join")


@dataclass
class _Sent:
    """A task that a node works on.

    Attributes:
        locks: locks that the driver holds meanwhile.
        result: set when the node has sent it, at the end.
    """

    slot: int
    task: Task
    locks: ExitStack
    result: TaskResult


class _Cluster:
    """The cluster as a :class:`~harness.launch.scheduler.Backend`.

    Attributes:
        sent: Ray's stream of what a task yields -> the task.
        token: a file in the driver's folder: a node that can see it shares the file system.
    """

    polls = True
    tries = TRIES

    def __init__(self, job: Job, resources: Resources, workers: int | None) -> None:
        import ray

        self.job, self.resources, self.workers = job, resources, workers
        self.remote = ray.remote(num_returns="streaming", max_retries=0)(run_on_node).options(
            num_cpus=resources.cpus, num_gpus=resources.gpus
        )
        self.sent: dict[Any, _Sent] = {}
        self.images: dict[int, Any] = {}
        folder = replace(job.plan.folder, out=job.plan.folder.out.resolve())
        self.nodes_job = ray.put(
            replace(job.of_worker(), plan=replace(job.plan, folder=folder), load_data=_no_data)
        )
        secret = secrets.token_hex(8)
        self.token = folder.locks / f"ray-{secret}"
        atomic_write(self.token, secret)

    def room(self) -> int:
        """Return as many as fit on the present nodes, and one more, so that the cluster may add a node."""
        if self.workers is not None:
            return self.workers
        import ray

        there = ray.cluster_resources()
        fit = there.get("CPU", 0) // self.resources.cpus
        if self.resources.gpus:
            fit = min(fit, there.get("GPU", 0) // self.resources.gpus)
        return int(fit) + 1

    def start(self, slot: int, task: Task) -> Answer | None:
        """Send a task to the cluster, if it needs work and no other process is at it."""
        variant, study = task.variant, self.job.plan.folder
        files: dict[str, bytes] = {}
        try:
            with ExitStack() as locks:
                if task.seed is None:
                    if variant.recipe.range_test_settings is None or stored_rates(variant, study) is not None:
                        return Answer(rates=find_rates(self.job, variant, wait=True))
                    locks.enter_context(study.range_test_lock(variant.name, wait=False))
                    set_stale_aside(variant, study, self.job.say)
                else:
                    run = task.run_folder(study)
                    locks.enter_context(run.lock(wait=False))
                    if not to_train(self.job, task):
                        return Answer()
                    files = read_files(run.path, ["run.json", *CHECKPOINTED])
                token = self.token.name if self.resources.in_place else ""
                parcel = Parcel(task, __version__, token, files)
                stream = self.remote.remote(parcel, self.nodes_job, self._images(task))
                silence = TaskResult(Answer(error="its node sent no result"))
                self.sent[stream] = _Sent(slot, task, locks.pop_all(), silence)
        except HeldError as error:
            return Answer(held=str(error))
        except RunError as error:
            return Answer(error=str(error))
        return None

    def _images(self, task: Task) -> Any:
        """Return the task's images in the object store, put there once."""
        import ray

        recipe = task.variant.recipe
        data = self.job.load_data(recipe if task.seed is None else recipe.of_run(task.seed))
        if id(data) not in self.images:
            self.images[id(data)] = (data, ray.put(data))  # keeping data keeps its id unique
        return self.images[id(data)][1]

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield at most one event of each task; keep the checkpoints that nodes send, without an event."""
        import ray

        ready, _ = ray.wait(list(self.sent), num_returns=len(self.sent), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(self.sent), num_returns=1, timeout=1)
        for stream in ready:
            sent = self.sent[stream]
            try:
                message = ray.get(next(stream))
            except StopIteration:
                yield sent.slot, self._end(stream)
            except ray.exceptions.RayTaskError as error:  # a bug, or a node without this package
                sent.result = TaskResult(Answer(error=one_line(str(error).strip().splitlines()[-1], 300)))
                yield sent.slot, self._end(stream)
            except ray.exceptions.RayError as error:
                self.sent.pop(stream).locks.close()
                yield sent.slot, WorkerLost("its worker or node was lost", type(error).__name__)
            else:
                if isinstance(message, str | Progress):
                    yield sent.slot, message
                elif isinstance(message, TaskResult):
                    sent.result = message
                else:
                    self._keep_checkpoint(sent.task, message)

    def _keep_checkpoint(self, task: Task, files: Mapping[str, bytes]) -> None:
        try:
            write_files(task.run_folder(self.job.plan.folder).path, files)
        except RunError as error:
            self.job.say(f"{task.name}  {error}; the checkpoint that was sent is lost")

    def _end(self, stream: Any) -> Answer:
        """Write the files that a task made, and return its answer."""
        sent, study = self.sent.pop(stream), self.job.plan.folder
        task, answer = sent.task, sent.result.answer
        try:
            with sent.locks:
                if isinstance(answer.rates, Rates) and task.variant.recipe.schedule.finds:
                    check_agreement(task.variant, study, answer.rates)
                write_files(study.path, sent.result.files)
                if task.seed is not None and (run := task.run_folder(study)).status() == "finished":
                    run.drop_checkpoint()
        except RunError as error:
            return Answer(error=answer.error or str(error))
        return answer

    def stop(self) -> None:
        """Cancel all tasks."""
        import ray

        for stream, sent in self.sent.items():
            with suppress(Exception):  # the cluster itself may have failed
                ray.cancel(stream, force=True)
            sent.locks.close()
        self.token.unlink(missing_ok=True)


def _no_data(recipe: Recipe) -> Data:
    """Replace ``load_data`` in the job that nodes get: the images are sent separately."""
    raise NotImplementedError
