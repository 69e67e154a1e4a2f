"""A real MLflow server on the loopback, asked what it was told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command

mlflow = pytest.importorskip("mlflow")
TRACK = ("--out", "out", "--tracker", "mlflow")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that keeps what it is told in SQLite."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tmp_path / "server"
    place.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(place / "files")]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((place / "log").read_text())
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(120)


@pytest.mark.slow
def test_a_study_is_an_experiment_a_variant_a_parent_a_seed_a_child(
    tiny_file: Path, command: Command, server: str, tmp_path: Path
) -> None:
    tiny_file.write_text(tiny_file.read_text() + "\n[variants.low]\n'schedule.lr_max' = 0.01\n")
    for seeds in ("0", "0-1"):  # continued: nothing is there twice
        done = command(tiny_file, *TRACK, "--seeds", seeds, MLFLOW_TRACKING_URI=server)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.info.run_name: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert set(parents) == {"base", "low"} and len(runs) == 6
    summary = pd.read_csv(tmp_path / "out" / "tiny" / "tables" / "summary.csv").set_index("variant")
    history = pd.read_csv(tmp_path / "out" / "tiny" / "tables" / "history.csv")
    for name, parent in parents.items():
        for key in ("test_accuracy_mean", "test_accuracy_std"):
            assert parent.data.metrics[key] == pytest.approx(summary.loc[name, key])
        assert {"tables", "figures", "report.html"} <= {
            file.path for file in client.list_artifacts(parent.info.run_id)
        }
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert sorted(run.data.params["seed"] for run in children) == ["0", "1"]
        for child in children:
            assert child.info.status == "FINISHED" and child.data.params["optimizer.name"] == "SGD"
            ours = history[(history.variant == name) & (history.seed == int(child.data.params["seed"]))]
            shown = client.get_metric_history(child.info.run_id, "epoch test_accuracy")
            assert [event.value for event in shown] == pytest.approx(list(ours.test_accuracy))


@pytest.mark.slow
def test_without_a_server_it_is_kept_beside_the_study(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    done = command(tiny_file, *TRACK, "--seeds", "0")
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}")
    assert len(client.search_runs([client.get_experiment_by_name("tiny").experiment_id])) == 2
    assert not (tmp_path / "mlruns").exists() and not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_a_server_that_is_not_there_is_said_once_and_soon(tiny_file: Path, command: Command) -> None:
    started = time.monotonic()
    done = command(tiny_file, *TRACK, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 0 and done.stderr.count("continues without it") == 1, done.stderr
    assert time.monotonic() - started < 200
