"""MLflow: a study is an experiment, a variant a parent run, a seed a child run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from ignite.handlers.mlflow_logger import MLflowLogger
from mlflow.entities import Run

from harness.plan import Plan, Variant
from harness.store.folders import RunFolder, StudyFolder

RUN_TAG, DIGEST_TAG, PARENT_TAG = "harness.run", "harness.digest", "mlflow.parentRunId"
# A server that does not answer must not hold up a study; MLflow's own defaults are minutes.
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MLflow:
    """To ``MLFLOW_TRACKING_URI`` where that is set, else to ``<out>/mlflow.db``.

    Runs are found again by their tags: one that goes on, or a study that is continued, adds to what is there.
    """

    def __init__(self) -> None:
        self.experiment = ""
        self.parents: dict[str, str] = {}

    def begin(self, plan: Plan) -> None:
        """The experiment, and a parent run for each variant."""
        client = _client(plan.folder.out)
        self.experiment = self._experiment(client, plan.folder)
        for variant in plan.variants:
            tags = {RUN_TAG: f"{plan.study.name}/{variant.name}", DIGEST_TAG: variant.digest}
            parent = self._find(client, tags) or client.create_run(
                self.experiment, tags=tags, run_name=variant.name
            )
            self.parents[variant.name] = parent.info.run_id

    def logger(self, variant: Variant, folder: RunFolder) -> MLflowLogger:
        """A child run, made or found, with the recipe as its parameters."""
        client = _client(folder.study.out)
        parent = self.parents[variant.name]
        tags = {RUN_TAG: folder.name, DIGEST_TAG: variant.digest, PARENT_TAG: parent}
        child = self._find(client, tags)
        if child is None:
            child = client.create_run(
                self.experiment, tags=tags, run_name=f"{variant.name}, seed {folder.seed}"
            )
            for name, value in _flat(variant.recipe.model_dump(mode="json", exclude_none=True)):
                client.log_param(child.info.run_id, name, str(value)[:500])
            client.log_param(child.info.run_id, "seed", folder.seed)
        mlflow.start_run(run_id=child.info.run_id)
        return MLflowLogger()

    def end(self, logger: MLflowLogger, folder: RunFolder, record: Mapping[str, Any]) -> None:
        """The run's numbers and its small files."""
        for name, value in record["metrics"].items():
            logger.log_metric(name, float(value))
        for name in ("run.json", "history.csv"):
            logger.log_artifact(str(folder.path / name))
        logger.end_run("FINISHED" if record["status"] == "finished" else "FAILED")

    def report(self, folder: StudyFolder, variants: Sequence[Mapping[str, Any]]) -> None:
        """Mean and std over seeds on each parent; there the tables, figures and report as well."""
        client = _client(folder.out)
        for found in variants:
            if (parent := self.parents.get(found["variant"])) is None:
                continue
            for name in ("test_accuracy_mean", "test_accuracy_std", "finished", "failed"):
                if found[name] is not None:
                    client.log_metric(parent, name, float(found[name]))
            for part in ("tables", "figures"):
                client.log_artifacts(parent, str(folder.path / part), part)
            client.log_artifact(parent, str(folder.path / "report.html"))
            client.set_terminated(parent)

    def _experiment(self, client: mlflow.MlflowClient, folder: StudyFolder) -> str:
        known = client.get_experiment_by_name(folder.name)
        if known is not None:
            return str(known.experiment_id)
        local = not os.environ.get("MLFLOW_TRACKING_URI")
        files = _files(folder.out) if local else None
        return str(client.create_experiment(folder.name, artifact_location=files))

    def _find(self, client: mlflow.MlflowClient, tags: Mapping[str, str]) -> Run | None:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return next(iter(client.search_runs([self.experiment], wanted, max_results=1)), None)


def _client(out: Path) -> mlflow.MlflowClient:
    """A client of the place that this process's MLflow writes to."""
    for name, value in IMPATIENCE.items():
        os.environ.setdefault(name, value)
    place = os.environ.get("MLFLOW_TRACKING_URI")
    if not place:
        out.mkdir(parents=True, exist_ok=True)
        place = f"sqlite:///{out.resolve() / 'mlflow.db'}"
        os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", _files(out))  # else it makes ./mlruns
    mlflow.set_tracking_uri(place)
    return mlflow.MlflowClient(place)


def _files(out: Path) -> str:
    return (out / "mlflow").resolve().as_uri()


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of a recipe's values."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
