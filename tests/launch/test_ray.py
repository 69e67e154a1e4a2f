"""A real Ray cluster of two nodes on this machine: serial's tables, and what becomes of what is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Command
from tests.launch.conftest import MORE, SLOW, Start, gone, in_proc, same_tables, until_under_way

pytest.importorskip("ray")
APART = ("--set", "resources.in_place=false")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node and a second one, a run's room on each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.second = nodes.add_node(num_cpus=1)
    nodes.options = ("--launcher", "ray", "--ray-address", nodes.address)
    yield nodes
    nodes.shutdown()


def tasks(parent: int) -> list[int]:
    """The processes below this one that execute a task."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.Error):  # gone meanwhile
            if "".join(process.cmdline()).startswith("ray::run_on_node"):
                found.append(process.pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("apart", [APART, ()])
def test_a_node_is_killed_and_the_tables_are_serials(
    apart: tuple[str, ...], cluster: Any, start: Start, command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    tiny_file.write_text(tiny_file.read_text("utf-8") + MORE, "utf-8")
    long = ("--seeds", "0-1", "--set", "schedule.epochs=20", *apart)
    process = start(*cluster.options, *long)
    until_under_way(process)
    cluster.remove_node(cluster.second, allow_graceful=False)
    out, said = process.communicate(timeout=600)
    assert "retrying" in said, said
    one = command(tiny_file, *long, "--out", "serial", OMP_NUM_THREADS="1")
    assert one.returncode == process.returncode == 1  # of the variant that diverges
    assert one.stdout.replace("serial", str(tmp_path / "out")) == out
    same_tables(tmp_path / "out/tiny", tmp_path / "serial/tiny", 6)


@in_proc
@pytest.mark.slow
def test_a_worker_is_killed_and_its_run_goes_on(cluster: Any, start: Start) -> None:
    process = start(*cluster.options, *APART, "--seeds", "0-1", *SLOW)
    until_under_way(process)
    time.sleep(2)  # a checkpoint has been sent
    os.kill(tasks(os.getpid())[0], signal.SIGKILL)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert said.count("retrying") == 1 and said.count("resuming after epoch") == 1, said


@in_proc
@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_task_outlives_its_driver_and_the_next_one_goes_on(
    ending: signal.Signals, cluster: Any, start: Start, command: Command, tiny_file: Path
) -> None:
    process = start(*cluster.options, "--seeds", "0-1", *SLOW)
    until_under_way(process)
    team = tasks(os.getpid())
    assert len(team) == 2
    process.send_signal(ending)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == (130 if ending == signal.SIGINT else -ending), said
    assert gone(team)
    done = command(tiny_file, *cluster.options, "--seeds", "0-1", *SLOW, "--out", "out")
    assert done.returncode == 0 and done.stderr.count("resuming after epoch") == 2, done.stderr


@pytest.mark.slow
def test_a_cluster_of_this_machine_is_started_where_none_is_named(
    tiny_file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = command(tiny_file, "--launcher", "ray", "--out", "out")
    assert done.returncode == 0 and done.stderr.count("finished:") == 2, done.stderr
    again = command(tiny_file, "--launcher", "ray", "--out", "out")
    assert again.returncode == 0 and " epoch " not in again.stderr


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(tiny_file: Path, command: Command) -> None:
    done = command(tiny_file, "--launcher", "ray", "--ray-address", "127.0.0.1:9", "--out", "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: --ray-address 127.0.0.1:9: no cluster answers")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ("--ray-address", "ray://127.0.0.1:10001"),
            "start the command on a machine of the cluster",
            marks=pytest.mark.slow,
        ),
        pytest.param(("--set", "resources.cpus=1000"), "more than this machine has", marks=pytest.mark.slow),
        pytest.param(("--devices", "2", "--device", "cpu"), "one run at a time", marks=pytest.mark.slow),
        pytest.param(("--tracker", "mlflow"), "set MLFLOW_TRACKING_URI", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: tuple[str, ...],
    said: str,
    tiny_file: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = command(tiny_file, "--launcher", "ray", *arguments, "--out", "out")
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr


def test_an_address_without_the_launcher_is_refused(tiny_file: Path, command: Command) -> None:
    done = command(tiny_file, "--ray-address", "auto")
    assert done.returncode == 2 and "--ray-address: add --launcher ray" in done.stderr
