"""A run is a pure function of variant, seed and data, and leaves a complete folder."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.handlers.param_scheduler import PiecewiseLinear

from harness.imports import ALLOWED, FOLDERS, allow, source_digest
from harness.metrics import METRICS, measure
from harness.models.weights import load_weights
from harness.plan import Variant
from harness.predictor import load
from harness.schedule import Rates
from harness.statistics.classification import count_ties
from harness.store.folders import ARTEFACTS, StudyFolder
from harness.store.run_files import HISTORY, OLD_HISTORY, OLD_METRICS
from harness.study_file.config import Study
from harness.training.assembly import evaluation_batches
from harness.training.sharing import count_runs_on
from tests.training.tiny_runs import Killed, assert_same_run, data_of, killed_at, rows, run

Tiny = Callable[..., Study]


def numpy_state() -> Any:
    state: Any = np.random.get_state()
    return state[1].copy()


def test_a_finished_run_has_every_artefact_and_no_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    record, folder, _ = run(tiny(), tmp_path / "out")
    assert record.status == "finished"
    names = {path.name for path in folder.path.iterdir()}
    assert names == {*ARTEFACTS, "run.json"}
    assert folder.verify().metrics == record.metrics
    assert record.provenance["threads"] == 1
    assert record.provenance["finished"] >= record.provenance["started"]
    with (folder.path / "history.csv").open() as file:
        assert tuple(file.readline().strip().split(",")) == (*HISTORY, *OLD_HISTORY.values())


def test_a_run_records_how_many_shared_its_device(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    record, _, _ = run(tiny(), tmp_path / "alone")
    assert record.timings["runs_at_once"] == [1, 1]
    with count_runs_on("cpu"):
        record, _, _ = run(tiny(), tmp_path / "beside")
    assert record.timings["runs_at_once"] == [2, 2]


def test_the_last_epochs_numbers_are_those_of_the_predictions(tiny: Tiny, tmp_path: Path) -> None:
    record, folder, _ = run(tiny(), tmp_path / "out")
    archive = np.load(folder.path / "predictions.npz")
    logits, labels = archive["logits"], archive["labels"]
    assert logits.dtype == np.float32 and logits.shape == (60, 10)
    accuracy = float((logits.argmax(1) == labels).mean())
    wide = logits.astype(np.float64)
    loss = float(np.mean(np.log(np.exp(wide).sum(1)) - wide[np.arange(60), labels]))
    last = rows(folder.path / "history.csv")[-1]
    assert record.metrics["accuracy"] == accuracy == float(last["eval_accuracy"])
    assert record.metrics["loss"] == float(last["eval_loss"]) == pytest.approx(loss, abs=1e-12)
    assert {name: record.metrics[old] for name, old in OLD_METRICS.items()} == {
        name: record.metrics[name] for name in OLD_METRICS
    }
    assert {name: last[old] for name, old in OLD_HISTORY.items()} == {
        name: last[name] for name in OLD_HISTORY
    }
    assert {name: record.metrics[name] for name in METRICS} == measure(logits, labels, METRICS.values())[0]


def test_a_studys_own_metrics_are_recorded_with_their_source_and_decide_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED, "")
    monkeypatch.setenv(FOLDERS, "")
    (tmp_path / "of_this_run.py").write_text(
        "calls = []\n\n\ndef wrong(logits, labels):\n    return (logits.argmax(1) != labels).sum()\n\n\n"
        "def breaks(logits, labels):\n    calls.append(len(labels))\n    return 1 / (60 - len(labels))\n"
    )
    allow(["of_this_run"], [tmp_path])
    wrong, breaks = "of_this_run:wrong", "of_this_run:breaks"
    plain, _, _ = run(tiny(("schedule.epochs", 2)), tmp_path / "plain")
    record, _, _ = run(tiny(("schedule.epochs", 2), ("metrics", [wrong, breaks])), tmp_path / "own")
    assert record.status == "finished" and record.digest == plain.digest
    assert record.metrics[wrong] == round(60 * (1 - record.metrics["accuracy"]))
    assert {name: record.metrics[name] for name in METRICS} == {name: plain.metrics[name] for name in METRICS}
    assert record.provenance["metrics"] == dict.fromkeys(sorted((wrong, breaks)), source_digest(wrong))
    assert breaks not in record.metrics  # it works on other numbers of images, with which it was tried
    assert record.doubts == [f"metric {breaks}: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_saved_weights_give_the_saved_predictions_in_float32(
    tiny: Tiny, tmp_path: Path, precision: str
) -> None:
    study = tiny(("precision", precision))
    record, folder, variant = run(study, tmp_path / "out")
    model, _ = load_weights(folder.path / "model.safetensors")
    (images, _), *_ = evaluation_batches(variant, data_of(study), seed=0)
    logits = np.load(folder.path / "predictions.npz")["logits"]
    with torch.no_grad():
        np.testing.assert_allclose(model(images).numpy(), logits, atol=1e-4)
    assert not np.array_equal(logits, torch.from_numpy(logits).bfloat16().float().numpy())
    assert record.metrics["test_ties"] == 0


NEAR_TIES = """
import torch
class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)
        torch.nn.init.normal_(self.head.weight, std=0.01)
        torch.nn.init.constant_(self.head.bias, 64.0)  # bfloat16's neighbours are 63.75 and 64.5
    def forward(self, images):
        return self.head(images.mean((2, 3)))
"""


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [{"kind": "none"}, {"kind": "ema", "momentum": 0.5}])
def test_logits_that_tie_in_bfloat16_are_told_apart_by_the_final_evaluation(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any], compiled: bool
) -> None:
    (tmp_path / "near_ties.py").write_text(NEAR_TIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HARNESS_ALLOW", "near_ties")
    study = tiny(
        ("model", {"name": "near_ties:Net"}), ("attribution.layers", []), ("precision", "bfloat16"),
        ("averaging", kind), ("compile", compiled),
        ("schedule", {"epochs": 2, "peak_epoch": 1, "lr_max": 1e-3, "lr_min": 1e-4}),
    )  # fmt: skip
    with pytest.raises(Killed):
        run(study, tmp_path / "out", say=killed_at("epoch 2 of"))
    record, folder, _ = run(study, tmp_path / "out")
    first, last = rows(folder.path / "history.csv")
    assert float(first["test_loss"]) == pytest.approx(np.log(10), abs=1e-6)  # all logits are 64
    assert float(first["test_accuracy"]) == 0.1  # and all images are taken for the first class
    assert record.metrics["test_ties"] == 0
    logits = np.load(folder.path / "predictions.npz")["logits"]
    assert count_ties(logits) == 0
    assert count_ties(torch.from_numpy(logits).bfloat16().float().numpy()) == len(logits)
    labels = np.load(folder.path / "predictions.npz")["labels"]
    accuracy = float((logits.argmax(1) == labels).mean())
    assert float(last["test_accuracy"]) == record.metrics["test_accuracy"] == accuracy
    np.testing.assert_allclose(load(folder.path).logits(data_of(study).evaluation.images), logits, rtol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tiny: Tiny, tmp_path: Path) -> None:
    study = tiny(("model.dropout", 0.2))
    _, first, _ = run(study, tmp_path / "a")
    torch.manual_seed(12345)  # the surroundings' random state is none of the run's business
    _, second, _ = run(study, tmp_path / "b")
    _, other, _ = run(study, tmp_path / "b", seed=1)
    assert_same_run(first, second)
    for name in ("predictions.npz", "model.safetensors"):
        assert (first.path / name).read_bytes() != (other.path / name).read_bytes()


DRAWING_NETS = """
import random
import numpy as np
import torch
class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(3, classes)
        drawn = torch.from_numpy(np.random.randn(classes, 3).astype('float32'))
        with torch.no_grad():
            self.head.weight.copy_(drawn * random.random())
    def forward(self, images):
        logits = self.head(images.mean((2, 3)))
        return logits * (random.random() + np.random.rand()) if self.training else logits
"""


def test_a_network_that_draws_from_numpy_and_python_is_a_function_of_its_seed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing_nets.py").write_text(DRAWING_NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HARNESS_ALLOW", "drawing_nets")
    study = tiny(("model", {"name": "drawing_nets:Net"}), ("attribution.layers", []))
    predictions = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        before = random.getstate(), numpy_state()  # what is imported first may draw
        _, folder, _ = run(study, tmp_path / name, seed=seed)
        predictions.append((folder.path / "predictions.npz").read_bytes())
    assert predictions[0] == predictions[1] != predictions[2]
    assert random.getstate() == before[0] and np.array_equal(numpy_state(), before[1])

    with pytest.raises(Killed):
        run(study, tmp_path / "d", say=killed_at("epoch 2 of"))
    _, folder, _ = run(study, tmp_path / "d")  # from the checkpoint of its first epoch
    assert (folder.path / "predictions.npz").read_bytes() == predictions[0]


def test_a_run_leaves_the_global_random_state_as_it_was(tiny: Tiny, tmp_path: Path) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), numpy_state()
    run(tiny(("model.dropout", 0.2)), tmp_path / "out")
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], numpy_state())


def test_the_rates_used_are_the_triangle(tiny: Tiny, tmp_path: Path) -> None:
    _, folder, variant = run(tiny(), tmp_path / "out")
    used = [float(row["lr"]) for row in rows(folder.path / "learning_rates.csv")]
    assert variant.steps_per_epoch == 5 and len(used) == 15
    assert used[0] == 0.005 and used[5] == 0.05 and used[-1] == 0.005
    epochs = [float(row["lr"]) for row in rows(folder.path / "history.csv")]
    assert epochs == used[::5]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_after_an_epoch_goes_on_to_the_same_bytes(
    tiny: Tiny, tmp_path: Path, epoch: int
) -> None:
    study = tiny(("model.dropout", 0.2))
    _, whole, _ = run(study, tmp_path / "whole")
    with pytest.raises(Killed):
        run(study, tmp_path / "killed", say=killed_at(f"epoch {epoch} of 3"))
    assert StudyFolder(tmp_path / "killed", "tiny").run("base", 0).status() == "partial"
    said: list[str] = []
    record, folder, _ = run(study, tmp_path / "killed", say=said.append)
    assert record.status == "finished"
    # The line is said before the checkpoint of its epoch is written.
    assert any("resuming after epoch" in line for line in said) == (epoch > 1)
    assert_same_run(folder, whole)


MIXED: dict[str, Any] = {
    "library": "torchvision",
    "train": [
        {"transform": "AlternatingFlip"},
        {"transform": "RandomCrop", "size": 32, "padding": 4},
        {"transform": "RandAugment"},
    ],
    "batch": [{"transform": "MixUp", "alpha": 0.2}, {"transform": "CutMix", "p": 0.4}],
}
ALTERNATING = {"train": [{"transform": "AlternatingFlip"}], "batch": [{"transform": "CutMix"}]}


@pytest.mark.parametrize("augment", [MIXED, ALTERNATING])
def test_a_killed_run_goes_on_with_the_same_augmented_and_mixed_batches(
    tiny: Tiny, tmp_path: Path, augment: dict[str, Any]
) -> None:
    study = tiny(("augment", augment))
    whole_record, whole, _ = run(study, tmp_path / "whole")
    with pytest.raises(Killed):
        run(study, tmp_path / "killed", say=killed_at("epoch 2 of 3"))
    record, folder, variant = run(study, tmp_path / "killed")
    assert record.status == whole_record.status == "finished"
    assert_same_run(folder, whole)
    assert record.recipe["augment"]["train"] == variant.train_transforms
    assert record.provenance["batches"] == (augment.get("library") or "tensor")
    assert ("torchvision" in record.identity["versions"]) and "albumentations" not in record.identity[
        "versions"
    ]


@pytest.mark.parametrize("which", ["bytes of something else", "another version's"])
def test_a_checkpoint_of_no_use_is_named_and_the_run_begins_anew(
    tiny: Tiny, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = tiny(), tmp_path / "damaged"
    _, whole, _ = run(study, tmp_path / "whole")
    folder = StudyFolder(out, "tiny").run("base", 0)
    if which == "another version's":  # whose network and log can be loaded, and whose schedule cannot
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(PiecewiseLinear, "state_dict", lambda self: {})
            run(study, out, say=killed_at("epoch 2 of 3"))
        assert folder.checkpoint_file.exists()
    else:
        folder.path.mkdir(parents=True)
        folder.checkpoint_file.write_bytes(b"0" * 64 + b"\nnot a checkpoint")
    said: list[str] = []
    record, _, _ = run(study, out, say=said.append)
    assert record.status == "finished"
    assert any("checkpoint.pt" in line and "the run restarts" in line for line in said)
    assert_same_run(folder, whole)


def test_a_diverging_run_is_failed_with_its_iteration(tiny: Tiny, tmp_path: Path) -> None:
    record, folder, _ = run(tiny(("loss.l1", 1e6)), tmp_path / "out", rates=Rates(1e5, 1e6))
    assert record.status == "failed" and folder.status() == "failed"
    assert record.error is not None and record.error["kind"] == "diverged"
    assert 1 <= record.error["iteration"] <= 15
    assert f"iteration {record.error['iteration']} " in record.error["message"]
    assert not folder.checkpoint_file.exists()
    assert record.provenance["started"] <= record.provenance["finished"]  # the kind of answer asks for both
    json.dumps(record.to_json(), allow_nan=False)


def test_running_out_of_memory_names_the_batch_size(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        torch.empty(1 << 60)  # a real allocation failure, at the place where a network is built

    monkeypatch.setattr(Variant, "new_network", exhausted)
    record, _, _ = run(tiny(), tmp_path / "out")
    assert record.error is not None and record.error["kind"] == "out_of_memory"
    assert "batches of 32" in record.error["message"] and "data.batch_size" in record.error["message"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_run_is_the_same_training_and_seeds_share_what_was_compiled(
    tiny: Tiny, tmp_path: Path
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
    assert compiled.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-3)
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
