"""MLflow: a study is an experiment, a variant a parent run, a seed a child run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from ignite.handlers.mlflow_logger import MLflowLogger

from harness.plan import Plan, Variant
from harness.store.folders import RunFolder, StudyFolder
from harness.trackers import REPORTED, Tracker

RUN_TAG, DIGEST_TAG, PARENT_TAG = "harness.run", "harness.digest", "mlflow.parentRunId"
# A server that does not answer must not delay a study; MLflow's own timeouts are minutes.
TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MLflow(Tracker):
    """Writes to ``MLFLOW_TRACKING_URI`` where that is set, else to ``<out>/mlflow.db``.

    Runs are found by their tags, so that a resumed run and a continued study add to their entries.
    """

    def __init__(self) -> None:
        self.experiment = ""
        self.parents: dict[str, str] = {}

    def begin(self, plan: Plan) -> None:
        """Make or find the experiment, and a parent run for each variant."""
        client, study = _client(plan.folder.out), plan.study.name
        experiment = client.get_experiment_by_name(study)
        if experiment is not None:
            self.experiment = experiment.experiment_id
        else:
            local = not os.environ.get("MLFLOW_TRACKING_URI")
            files = _files(plan.folder.out) if local else None
            self.experiment = client.create_experiment(study, artifact_location=files)
        for variant in plan.variants:
            tags = {RUN_TAG: f"{study}/{variant.name}", DIGEST_TAG: variant.digest}
            self.parents[variant.name], _ = self._run(client, tags, variant.name)

    def logger(self, variant: Variant, folder: RunFolder, done: Sequence[Mapping[str, Any]]) -> MLflowLogger:
        """Make or find a child run, with the recipe as its parameters."""
        client, parent = _client(folder.study.out), self.parents[variant.name]
        tags = {RUN_TAG: folder.name, DIGEST_TAG: variant.digest, PARENT_TAG: parent}
        child, new = self._run(client, tags, f"{variant.name}, seed {folder.seed}")
        if new:
            recipe = variant.recipe.model_dump(mode="json", exclude_none=True)
            for name, value in [*_flat(recipe), ("seed", folder.seed)]:
                client.log_param(child, name, str(value)[:500])
        mlflow.start_run(run_id=child)
        return MLflowLogger()

    def end(self, logger: MLflowLogger, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """Add the run's numbers and its small files."""
        for name, value in record["metrics"].items():
            logger.log_metric(name.replace(":", "."), float(value))  # of a study's own metric
        for name in ("run.json", "history.csv"):
            logger.log_artifact(str(folder.path / name))
        logger.end_run("FINISHED" if record["status"] == "finished" else "FAILED")

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Add mean and std over seeds, the tables, figures and report to each parent."""
        client = _client(folder.out)
        for row in variants:
            if (parent := self.parents.get(row["variant"])) is None:
                continue
            for name in REPORTED:
                if row.get(name) is not None:
                    client.log_metric(parent, name, float(row[name]))
            for part in ("tables", "figures"):
                client.log_artifacts(parent, str(folder.path / part), part)
            client.log_artifact(parent, str(folder.path / "report.html"))
            client.set_terminated(parent)

    def _run(self, client: mlflow.MlflowClient, tags: dict[str, str], name: str) -> tuple[str, bool]:
        """Find or make the run with these tags; return its id and whether it is new."""
        wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        for run in client.search_runs([self.experiment], wanted, max_results=1):
            return run.info.run_id, False
        return client.create_run(self.experiment, tags=tags, run_name=name).info.run_id, True


def _client(out: Path) -> mlflow.MlflowClient:
    """Return a client of the server or file that this process's MLflow uses."""
    for name, value in TIMEOUTS.items():
        os.environ.setdefault(name, value)
    place = os.environ.get("MLFLOW_TRACKING_URI")
    if not place:
        out.mkdir(parents=True, exist_ok=True)
        place = f"sqlite:///{out.resolve() / 'mlflow.db'}"
        os.environ.setdefault(
            "_MLFLOW_SERVER_ARTIFACT_ROOT", _files(out)
        )  # without it MLflow would make ./mlruns
    mlflow.set_tracking_uri(place)
    return mlflow.MlflowClient(place)


def _files(out: Path) -> str:
    return (out / "mlflow").resolve().as_uri()


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return a recipe's values under dotted names."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
