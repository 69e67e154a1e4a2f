"""A run is a pure function of variant, seed and data, and leaves a complete folder."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data import load_data
from harness.data.arrays import Data
from harness.models.weights import load_weights
from harness.plan import Variant, resolve_variant
from harness.schedule import Rates, resolve_rates
from harness.store.folders import ARTEFACTS, RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.store.run_files import HISTORY
from harness.study_file.config import Study
from harness.training import run as run_module
from harness.training.progress import silent
from harness.training.run import execute
from harness.training.sharing import count_runs_on

TIME_COLUMNS = {"train_seconds", "eval_seconds", "images_per_second"}


def data_of(study: Study, tmp_path: Path) -> Data:
    config = study.data
    return load_data(config.source, tmp_path, train_limit=config.train_limit, test_limit=config.test_limit)


def run(study: Study, out: Path, seed: int = 0, **options: Any) -> tuple[RunRecord, RunFolder, Variant]:
    data = data_of(study, out.parent)
    variant = resolve_variant(study, "base", data, device="cpu")
    folder = StudyFolder(out, study.name).run("base", seed)
    rates = options.pop("rates", None) or resolve_rates(study.schedule, None)
    return execute(variant, folder, data, rates, threads=1, say=options.pop("say", silent)), folder, variant


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def test_a_finished_run_has_every_artefact_and_no_checkpoint(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    record, folder, _ = run(tiny(), tmp_path / "out")
    assert record.status == "finished"
    names = {path.name for path in folder.path.iterdir()}
    assert names == {*ARTEFACTS, "run.json"}
    assert folder.verify().metrics == record.metrics
    with (folder.path / "history.csv").open() as file:
        assert tuple(file.readline().strip().split(",")) == HISTORY


def test_a_run_records_how_many_shared_its_device(
    tiny: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    record, _, _ = run(tiny(), tmp_path / "alone")
    assert record.timings["runs_at_once"] == [1, 1]
    with count_runs_on("cpu"):
        record, _, _ = run(tiny(), tmp_path / "beside")
    assert record.timings["runs_at_once"] == [2, 2]


def test_the_last_epochs_numbers_are_those_of_the_predictions(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    record, folder, _ = run(tiny(), tmp_path / "out")
    archive = np.load(folder.path / "predictions.npz")
    logits, labels = archive["logits"], archive["labels"]
    assert logits.dtype == np.float32 and logits.shape == (60, 10)
    accuracy = float((logits.argmax(1) == labels).mean())
    wide = logits.astype(np.float64)
    loss = float(np.mean(np.log(np.exp(wide).sum(1)) - wide[np.arange(60), labels]))
    last = rows(folder.path / "history.csv")[-1]
    assert record.metrics["test_accuracy"] == accuracy == float(last["test_accuracy"])
    assert record.metrics["test_loss"] == float(last["test_loss"]) == pytest.approx(loss, abs=1e-12)


def test_the_saved_weights_give_the_saved_predictions(tiny: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny(("precision", "float32"))
    _, folder, variant = run(study, tmp_path / "out")
    model, _ = load_weights(folder.path / "model.safetensors")
    data = data_of(study, tmp_path)
    batches = run_module.Batches(data.evaluation, variant.test_transforms, 60, seed=0, shuffle=False)
    images, _ = next(iter(batches))
    with torch.no_grad():
        logits = model(images).numpy()
    np.testing.assert_allclose(logits, np.load(folder.path / "predictions.npz")["logits"], atol=1e-5)


def test_the_numbers_of_a_run_in_bfloat16_are_of_a_pass_in_float32(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    record, folder, variant = run(tiny(("precision", "bfloat16")), tmp_path / "out")
    logits = np.load(folder.path / "predictions.npz")["logits"]
    assert not np.array_equal(logits, torch.from_numpy(logits).bfloat16().float().numpy())
    model, _ = load_weights(folder.path / "model.safetensors")
    data = data_of(tiny(), tmp_path)
    images, _ = next(
        iter(run_module.Batches(data.evaluation, variant.test_transforms, 60, seed=0, shuffle=False))
    )
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(images).numpy(), atol=1e-4)
    assert record.metrics["test_ties"] == 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    study = tiny(("model.dropout", 0.2))
    _, first, _ = run(study, tmp_path / "a")
    torch.manual_seed(12345)  # the surroundings' random state is none of the run's business
    _, second, _ = run(study, tmp_path / "b")
    _, other, _ = run(study, tmp_path / "b", seed=1)
    assert rows(first.path / "history.csv") == rows(second.path / "history.csv")
    for name in ("predictions.npz", "model.safetensors", "learning_rates.csv"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
        if name != "learning_rates.csv":
            assert (first.path / name).read_bytes() != (other.path / name).read_bytes()


def test_a_network_that_draws_from_numpy_and_python_is_a_function_of_its_seed(
    tiny: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing_nets.py").write_text(
        "import random\nimport numpy as np\nimport torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(3, classes)\n"
        "        drawn = torch.from_numpy(np.random.randn(classes, 3).astype('float32'))\n"
        "        with torch.no_grad():\n"
        "            self.head.weight.copy_(drawn * random.random())\n"
        "    def forward(self, images):\n"
        "        found = self.head(images.mean((2, 3)))\n"
        "        return found * (random.random() + np.random.rand()) if self.training else found\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HARNESS_ALLOW", "drawing_nets")
    study = tiny(("model", {"name": "drawing_nets:Net"}), ("attribution.layers", []))
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        before = random.getstate(), np.random.get_state()[1].copy()  # what is imported first may draw
        _, folder, _ = run(study, tmp_path / name, seed=seed)
        found.append((folder.path / "predictions.npz").read_bytes())
    assert found[0] == found[1] != found[2]
    assert random.getstate() == before[0] and np.array_equal(np.random.get_state()[1], before[1])

    class Killed(BaseException):
        pass

    def stop(line: str) -> None:
        if "epoch 2/" in line:
            raise Killed

    with pytest.raises(Killed):
        run(study, tmp_path / "d", say=stop)
    _, folder, _ = run(study, tmp_path / "d")  # from the checkpoint of its first epoch
    assert (folder.path / "predictions.npz").read_bytes() == found[0]


def test_a_run_leaves_the_global_random_state_as_it_was(tiny: Callable[..., Study], tmp_path: Path) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(tiny(("model.dropout", 0.2)), tmp_path / "out")
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_the_rates_used_are_the_triangle(tiny: Callable[..., Study], tmp_path: Path) -> None:
    _, folder, variant = run(tiny(), tmp_path / "out")
    used = [float(row["lr"]) for row in rows(folder.path / "learning_rates.csv")]
    assert variant.steps_per_epoch == 5 and len(used) == 15
    assert used[0] == 0.005 and used[5] == 0.05 and used[-1] == 0.005
    epochs = [float(row["lr"]) for row in rows(folder.path / "history.csv")]
    assert epochs == used[::5]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_after_an_epoch_goes_on_to_the_same_bytes(
    tiny: Callable[..., Study], tmp_path: Path, epoch: int
) -> None:
    study = tiny(("model.dropout", 0.2))
    _, whole, _ = run(study, tmp_path / "whole")

    class Killed(BaseException):
        pass

    lines = []

    def killer(line: str) -> None:
        lines.append(line)
        if f"epoch {epoch}/3" in line:
            raise Killed

    with pytest.raises(Killed):
        run(study, tmp_path / "killed", say=killer)
    partial = StudyFolder(tmp_path / "killed", "tiny").run("base", 0)
    assert partial.status() == "partial"
    said: list[str] = []
    record, folder, _ = run(study, tmp_path / "killed", say=said.append)
    assert record.status == "finished"
    # The line is said before the checkpoint of its epoch is written.
    assert any("goes on after epoch" in line for line in said) == (epoch > 1)
    assert rows(folder.path / "history.csv") == rows(whole.path / "history.csv")
    for name in ("predictions.npz", "model.safetensors", "learning_rates.csv"):
        assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_damaged_checkpoint_is_named_and_the_run_begins_anew(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    study = tiny()
    _, whole, _ = run(study, tmp_path / "whole")
    folder = StudyFolder(tmp_path / "damaged", "tiny").run("base", 0)
    folder.path.mkdir(parents=True)
    folder.checkpoint_file.write_bytes(b"0" * 64 + b"\nnot a checkpoint")
    said: list[str] = []
    record, _, _ = run(study, tmp_path / "damaged", say=said.append)
    assert record.status == "finished"
    assert any("checkpoint.pt" in line and "begins anew" in line for line in said)
    assert (folder.path / "predictions.npz").read_bytes() == (whole.path / "predictions.npz").read_bytes()


def test_a_diverging_run_is_failed_with_its_iteration(tiny: Callable[..., Study], tmp_path: Path) -> None:
    record, folder, _ = run(tiny(("loss.l1", 1e6)), tmp_path / "out", rates=Rates(1e5, 1e6))
    assert record.status == "failed" and folder.status() == "failed"
    assert record.error["kind"] == "diverged"
    assert 1 <= record.error["iteration"] <= 15
    assert f"iteration {record.error['iteration']} " in record.error["message"]
    assert not folder.checkpoint_file.exists()
    json.dumps(record.to_json(), allow_nan=False)


def test_running_out_of_memory_names_the_batch_size(
    tiny: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        torch.empty(1 << 60)  # a real allocation failure, at the place where a network is built

    monkeypatch.setattr(Variant, "new_network", exhausted)
    record, _, _ = run(tiny(), tmp_path / "out")
    assert record.error["kind"] == "out_of_memory"
    assert "batches of 32" in record.error["message"] and "data.batch_size" in record.error["message"]


def test_provenance_says_where_the_numbers_come_from(tiny: Callable[..., Study], tmp_path: Path) -> None:
    record, _, variant = run(tiny(), tmp_path / "out")
    origin = record.provenance
    assert origin["threads"] == 1 and origin["device"] == "cpu" and origin["precision"] == variant.precision
    assert torch.__version__.startswith(origin["versions"]["torch"])
    assert origin["data"]["train_images"] == 160 and origin["data"]["evaluation_images"] == 60
    assert origin["data"]["sha256"] == variant.identity["data"]
    assert origin["hardware"]["cores"] >= 1 and origin["finished"] >= origin["started"]


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_run_is_the_same_training_and_seeds_share_what_was_compiled(
    tiny: Callable[..., Study], tmp_path: Path
) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    gentle = (("precision", "float32"), ("schedule.lr_max", 1e-3), ("schedule.lr_min", 1e-4))
    plain, compiled = (
        run(tiny(("compile", value), *gentle), tmp_path / str(value))[0] for value in (False, True)
    )
    first = counters["stats"]["unique_graphs"]
    again = run(tiny(("compile", True), *gentle), tmp_path / "again", seed=1)[0]
    assert compiled.status == again.status == "finished"
    assert compiled.metrics["test_loss"] == pytest.approx(plain.metrics["test_loss"], rel=1e-3)
    assert counters["stats"]["unique_graphs"] == first > 0
    assert compiled.digest != plain.digest and "compile" not in plain.identity["recipe"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_second_process_begins_with_what_the_first_compiled(
    tiny_file: Path, command: Any, tmp_path: Path
) -> None:
    options = ("--set", "compile=true", "--set", "precision=float32", "--seeds", "0")
    seconds = []
    for out in ("first", "second"):
        done = command(tiny_file, "--out", out, *options, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "compiled"))
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / out / "tiny/runs/base/seed-0/run.json").read_text())
        assert record["identity"]["recipe"]["compile"] is True
        seconds.append(record["timings"]["seconds"])
    assert seconds[1] < seconds[0] / 3
