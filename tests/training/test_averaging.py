"""Averages of the weights: what Ignite's EMAHandler and torch's AveragedModel give in their own loops."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.errors import StudyError
from harness.models.weights import load_weights
from harness.outline import make_outline
from harness.plan import Variant, resolve_variant
from harness.planning.states import Preview
from harness.preview import as_text
from harness.seeding import global_seed
from harness.store.folders import RunFolder, StudyFolder
from harness.study_file.averaging import Ema, Swa
from harness.study_file.config import Study
from harness.training.assembly import assemble, evaluation_batches, statistics_batches, train_batches
from harness.training.averaging import create_averaging
from harness.training.range_test.stored import _digest
from harness.training.rehearsal import rehearse
from tests.training.tiny_runs import assert_resumes, data_of, rows, run

Tiny = Callable[..., Study]
EMA: dict[str, Any] = {"kind": "ema", "momentum": 0.2, "every": 3}
SWA: dict[str, Any] = {"kind": "swa", "start_epoch": 2}
STEPS = 5  # batches of an epoch of the tiny study


class Twin:
    """The tiny study's training in a plain loop."""

    def __init__(self, folder: RunFolder, variant: Variant, data: Data) -> None:
        with global_seed(0, "initialisation"):
            self.model = variant.new_network(data)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0, momentum=0.9)
        with (folder.path / "learning_rates.csv").open(newline="") as file:
            self.rates = [float(row["lr"]) for row in csv.DictReader(file)]
        self.batches = train_batches(variant, data, seed=0)
        self.variant, self.data = variant, data

    def step(self, engine: Engine | None, batch: tuple[Tensor, Tensor]) -> None:
        self.model.train()
        self.optimizer.param_groups[0]["lr"] = self.rates.pop(0)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(batch[0]), batch[1]).backward()
        self.optimizer.step()

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.batches.set_epoch(number)
        return iter(self.batches)

    def accuracy(self, model: nn.Module) -> float:
        (images, labels), *more = evaluation_batches(self.variant, self.data, seed=0)
        model.eval()
        with torch.no_grad():
            assert not more
            return float((model(images).argmax(1) == labels).float().mean())


def saved(folder: RunFolder) -> dict[str, Tensor]:
    return load_weights(folder.path / "model.safetensors")[0].state_dict()


def assert_equal(state: dict[str, Tensor], model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("start", [1, 2])
def test_ema_is_ignites_handler_in_ignites_own_loop(tiny: Tiny, tmp_path: Path, start: int) -> None:
    study = tiny(("averaging", {**EMA, "start_epoch": start}))
    record, folder, variant = run(study, tmp_path)
    twin = Twin(folder, variant, data_of(study))
    trainer = Engine(twin.step)
    accuracies = []
    if start == 2:
        for batch in twin.epoch(1):
            twin.step(None, batch)
    handler = EMAHandler(twin.model, momentum=0.2, handle_buffers="update")
    first = 0 if start == 1 else STEPS
    due = Events.ITERATION_COMPLETED(event_filter=lambda engine, step: (step + first) % 3 == 0)
    handler.attach(trainer, event=due)
    trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda: trainer.set_data(twin.epoch(trainer.state.epoch + start - 1))
    )
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: accuracies.append((twin.accuracy(handler.ema_model), twin.accuracy(twin.model))),
    )
    trainer.run(iter(()), max_epochs=4 - start, epoch_length=STEPS)
    assert_equal(saved(folder), handler.ema_model)
    history = rows(folder.path / "history.csv")
    assert [(row["raw_loss"] == "", row["raw_accuracy"] == "") for row in history] == [
        (epoch < start, epoch < start) for epoch in (1, 2, 3)
    ]
    measured = [(float(row["eval_accuracy"]), float(row["raw_accuracy"])) for row in history[start - 1 :]]
    assert measured == [pytest.approx(each) for each in accuracies]
    assert record.metrics["raw_accuracy"] == float(history[-1]["raw_accuracy"])
    assert record.metrics["raw_loss"] == float(history[-1]["raw_loss"])


@pytest.mark.parametrize(("every", "images"), [(None, None), (None, 40), (2, None)])
@pytest.mark.parametrize("options", [{}, {"ghost_batch": 8}], ids=["plain", "ghost"])
def test_swa_is_torchs_averaged_model_and_update_bn_in_torchs_own_loop(
    tiny: Tiny, tmp_path: Path, every: int | None, images: int | None, options: dict[str, Any]
) -> None:
    keys = {"every": every, "bn_images": images}
    averaging = SWA | {key: value for key, value in keys.items() if value is not None}
    model = {"name": "custom_resnet", "width": 2, **options}
    study = tiny(("averaging", averaging), ("model", model))
    record, folder, variant = run(study, tmp_path)
    data = data_of(study)
    twin = Twin(folder, variant, data)
    averaged, step = AveragedModel(twin.model), 0
    for epoch in (1, 2, 3):
        for batch in twin.epoch(epoch):
            twin.step(None, batch)
            step += 1
            if every is not None and epoch >= 2 and step % every == 0:
                averaged.update_parameters(twin.model)
        if every is None and epoch >= 2:
            averaged.update_parameters(twin.model)
    assert int(averaged.n_averaged) == (2 if every is None else 5)
    loader = Batches(data.train, variant.test_transforms, 32, seed=0, purpose="statistics", shuffle=True)
    loader.set_epoch(3)
    update_bn(list(loader)[: 2 if images else None], averaged)
    assert_equal(saved(folder), averaged.module)
    assert record.metrics["accuracy"] == pytest.approx(twin.accuracy(averaged.module))
    assert record.metrics["raw_accuracy"] == pytest.approx(twin.accuracy(twin.model))


def test_momentum_is_the_share_of_the_newest_weights_as_in_cifar10_fast_after_conversion() -> None:
    rho = 0.99**5  # of cifar10-fast's update_ema(momentum=0.99, update_freq=5)
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1.0)
    averaging = create_averaging(Ema(kind="ema", momentum=1 - rho, every=5), model, "cpu", "float32")
    assert averaging is not None and round(1 - rho, 3) == 0.049
    expected, trainer = 1.0, Engine(lambda engine, batch: nn.init.constant_(model.weight, float(batch)))
    averaging.attach(trainer)
    trainer.run([2.0] * 5 + [3.0] * 7, max_epochs=1)
    for newest in (2.0, 3.0):
        expected = rho * expected + (1 - rho) * newest
    assert averaging.updates == 2
    assert float(averaging.network.weight.detach()) == pytest.approx(expected)


RESUMED = [
    ({**EMA, "every": 7}, "float32", {}),  # the last update is in the second epoch
    (EMA, "bfloat16", {"dropout": 0.2}),
    ({**EMA, "start_epoch": 3}, "float32", {"ghost_batch": 8}),
    (SWA, "float32", {"dropout": 0.2, "ghost_batch": 8}),
    ({**SWA, "every": 4}, "bfloat16", {}),
    ({**SWA, "start_epoch": 3}, "float32", {}),
]


@pytest.mark.parametrize(
    ("averaging", "precision", "options"),
    [*RESUMED[:2], *(pytest.param(*each, marks=pytest.mark.slow) for each in RESUMED[2:])],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    tiny: Tiny, tmp_path: Path, averaging: dict[str, Any], precision: str, options: dict[str, Any]
) -> None:
    model = {"name": "custom_resnet", "width": 2, **options}
    optimizer = {"name": "SGD", "momentum": 0.9, "accumulate": 2, "clip_norm": 0.5}
    study = tiny(
        ("averaging", averaging), ("precision", precision), ("model", model), ("optimizer", optimizer)
    )
    _, whole, _ = run(study, tmp_path / "whole")
    for words in ("epoch 2 of 3", "epoch 3 of 3"):
        again = assert_resumes(study, tmp_path / words[6], words, whole)
        before = 1 if averaging.get("every") == 7 else averaging.get("start_epoch", 1) - 1
        rows = list(csv.DictReader((again.path / "history.csv").read_text("utf-8").splitlines()))
        assert sum(row["raw_accuracy"] == "" for row in rows) == before  # a copy until the first update


NETS = ["Counter", "HookCounter", "NotPersistent", "ExtraState", "Tied", "FreezesNorm", "Lazy", "KeepsMean"]


@pytest.mark.parametrize("kind", [EMA, pytest.param(SWA, marks=pytest.mark.slow)], ids=["ema", "swa"])
@pytest.mark.parametrize("net", NETS)
def test_a_users_network_with_state_of_its_own_is_averaged_and_resumed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str, kind: dict[str, Any]
) -> None:
    monkeypatch.setenv("HARNESS_ALLOW", "tests")
    model = {"name": f"tests.training.odd_nets:{net}"}
    study = tiny(("model", model), ("attribution.layers", []), ("averaging", kind))
    data = data_of(study)
    result = rehearse(resolve_variant(study, "base", data, device="cpu"), data)
    assert result.cannot_resume == ""
    record, whole, variant = run(study, tmp_path / "whole")
    assert record.status == "finished", record.error
    assert_resumes(study, tmp_path / "again", "epoch 3 of 3", whole)
    if net != "HookCounter":  # each evaluation changes it
        loaded, _ = load_weights(whole.path / "model.safetensors")
        (images, _), *_ = evaluation_batches(variant, data, seed=0)
        with torch.no_grad():
            logits = np.load(whole.path / "predictions.npz")["logits"]
            np.testing.assert_allclose(loaded(images).numpy(), logits, atol=1e-4, rtol=1e-4)


class Uneven(nn.Module):
    """Two batch norms, one of which is never in train mode; a frozen layer; a buffer that is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.frozen_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fixed = nn.Linear(4, 2).requires_grad_(False)
        self.register_buffer("seen", torch.tensor(False))
        self.train()

    def train(self, mode: bool = True) -> Uneven:
        super().train(mode)
        self.frozen_norm.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        self.seen.fill_(True)
        logits: Tensor = self.fixed(self.frozen_norm(self.norm(self.conv(images))).mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    "config", [Ema(kind="ema", momentum=0.3), Swa(kind="swa", start_epoch=1, every=1)], ids=["ema", "swa"]
)
def test_frozen_parts_are_those_of_the_trained_network_to_the_bit(config: Ema | Swa) -> None:
    with global_seed(0, "test"):
        model = Uneven()
        assert model.frozen_norm.running_mean is not None
        nn.init.uniform_(model.frozen_norm.running_mean)
        images = torch.randn(4, 3, 8, 8)
    averaging = create_averaging(config, model, "cpu", "float32")
    assert averaging is not None
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)

    def step(engine: Engine, batch: Tensor) -> None:
        optimizer.zero_grad()
        model.train()
        model(batch).square().sum().backward()
        optimizer.step()

    trainer = Engine(step)
    averaging.attach(trainer)
    trainer.run([images] * 9, max_epochs=1)
    averaging.refresh([(images, torch.zeros(4))])
    ours, theirs = averaging.network.state_dict(), model.state_dict()
    for name in theirs:
        constant = name.startswith(("fixed", "frozen_norm.running", "seen"))
        if constant or name.endswith("weight"):
            assert torch.equal(ours[name], theirs[name]) == constant, name
        assert ours[name].data_ptr() != theirs[name].data_ptr(), name  # no memory is shared
    assert not averaging.network.training


def test_a_buffer_that_the_forward_pass_makes_is_refused_in_one_line(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "growing_nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(3, classes)\n"
        "        self.register_buffer('late', None, persistent=False)\n"
        "    def forward(self, images):\n"
        "        if self.late is None:\n"
        "            self.late = torch.zeros(3)\n"
        "        return self.head(images.mean((2, 3)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HARNESS_ALLOW", "growing_nets")
    changes = ("model", {"name": "growing_nets:Net"}), ("attribution.layers", [])
    data = data_of(tiny())
    rehearse(resolve_variant(tiny(*changes), "base", data, device="cpu"), data)
    study = tiny(*changes, ("averaging", EMA))
    with pytest.raises(StudyError, match="makes or resizes the buffer late") as caught:
        rehearse(resolve_variant(study, "base", data, device="cpu"), data)
    assert "\n" not in str(caught.value)


def test_a_range_test_does_not_average_and_is_shared_by_studies_with_and_without(tiny: Tiny) -> None:
    digests, run_digests = set(), set()
    for averaging in ({"kind": "none"}, EMA, SWA):
        study = tiny(("averaging", averaging), ("schedule.lr_max", "find"))
        variant = resolve_variant(study, "base", data_of(study), device="cpu")
        assert assemble(variant, variant.new_network(data_of(study))).averaging is None
        settings = variant.recipe.range_test_settings
        assert settings is not None
        digests.add(_digest(variant, settings))
        run_digests.add(variant.digest)
    assert (len(digests), len(run_digests)) == (1, 3)


def test_without_averaging_the_identity_is_that_of_earlier_versions(tiny: Tiny) -> None:
    study = tiny()
    variant = resolve_variant(study, "base", data_of(study), device="cpu")
    assert "averaging" not in variant.identity["recipe"]
    assert variant.identity["recipe"]["optimizer"] == {"name": "SGD", "momentum": 0.9}
    spelled = resolve_variant(tiny(("averaging", {"kind": "none"})), "base", data_of(study), device="cpu")
    assert spelled.digest == variant.digest


@pytest.mark.parametrize(
    ("averaging", "said"),
    [
        ({"momentum": 0.1}, "averaging.kind: missing"),
        ({"kind": "ma"}, "averaging.kind: expected"),
        ({"kind": "ema"}, "averaging.momentum: missing"),
        ({"kind": "ema", "momentum": 0.0}, "averaging.momentum: expected more than 0"),
        ({"kind": "ema", "momentum": 1.0}, "averaging.momentum: expected less than 1"),
        ({"kind": "ema", "momentum": True}, "averaging.momentum: expected a number"),
        ({"kind": "ema", "momentum": 0.1, "every": 0}, "averaging.every: expected at least 1"),
        ({"kind": "ema", "momentum": 0.1, "every": 2.5}, "averaging.every: expected a whole number"),
        ({"kind": "ema", "momentum": 0.1, "bn_images": 10}, "averaging.bn_images: unknown key"),
        ({"kind": "swa"}, "averaging.start_epoch: missing"),
        ({"kind": "swa", "start_epoch": 4}, "averaging.start_epoch is 4 of only 3 epochs"),
        ({"kind": "swa", "start_epoch": 1, "momentum": 0.1}, "averaging.momentum: unknown key"),
        ({"kind": "none", "every": 1}, "averaging.every: unknown key"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tiny: Tiny, averaging: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        tiny(("averaging", averaging))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("every", "start", "fits"), [(15, 3, True), (16, 1, False), (11, 3, True), (10, 3, False)]
)
def test_an_average_without_any_update_is_refused(tiny: Tiny, every: int, start: int, fits: bool) -> None:
    study = tiny(("averaging", {"kind": "ema", "momentum": 0.1, "every": every, "start_epoch": start}))

    def outline() -> None:
        make_outline(study, "base", 160, (32, 32), 10)

    if fits:
        outline()
    else:
        with pytest.raises(StudyError, match="averaging.every: no batch from epoch"):
            outline()


def test_dry_run_says_whose_weights_are_evaluated(tiny: Tiny, tmp_path: Path) -> None:
    optimizer = {"name": "SGD", "accumulate": 2, "clip_norm": 0.5}
    study = tiny(("averaging", {**EMA, "start_epoch": 2}), ("optimizer", optimizer))
    said = as_text(
        [Preview(study, StudyFolder(tmp_path, "tiny"), lambda recipe: data_of(study), None, "cpu")]
    )
    assert "weights evaluated and saved: moving average, 0.2 of the newest every 3 steps from epoch 2" in said
    assert "a step every 2 batches, of 64 images" in said and "clipped to a norm of 0.5" in said


def test_swas_statistics_come_from_whole_unaugmented_batches_in_another_order_each_epoch(tiny: Tiny) -> None:
    study = tiny(("averaging", {**SWA, "bn_images": 33}))
    data = data_of(study)
    variant = resolve_variant(study, "base", data, device="cpu")
    (first, labels), (second, _) = statistics_batches(variant, data, 0, 1)
    assert len(first) == len(second) == 32 and first.is_contiguous(memory_format=torch.channels_last)
    other, _ = next(statistics_batches(variant, data, 0, 2))
    assert not torch.equal(first, other)
    plain = Batches(data.train, variant.test_transforms, 160, seed=0, shuffle=False)
    images = {image.numpy().tobytes() for image in next(iter(plain))[0].contiguous()}
    assert all(image.numpy().tobytes() in images for image in first.contiguous())
    ema = resolve_variant(tiny(("averaging", EMA)), "base", data, device="cpu")
    assert list(statistics_batches(ema, data, 0, 1)) == []
