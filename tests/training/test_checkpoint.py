"""Epoch checkpoints: resumed to the bit, damage noticed, nothing executed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from harness.errors import RunError
from harness.losses import create_loss
from harness.schedule import lr_milestones, momentum_milestones, resolve_rates
from harness.seeding import derive_seed, global_seed
from harness.study_file.parts import Loss
from harness.study_file.schedules import OneCycle
from harness.training.checkpoint import (
    CheckpointSaver,
    DamagedCheckpoint,
    EpochCheckpoint,
    Writer,
    load_checkpoint,
)
from harness.training.engines import attach_schedule, create_trainer
from tests.training.tiny_runs import Killed

EPOCHS, STEPS = 4, 3
CYCLE = OneCycle(
    kind="one_cycle_lr", epochs=EPOCHS, lr_max=0.1, pct_start=0.4, div_factor=10, cycle_momentum=[0.8, 0.9]
)
DRAWS = torch.Generator().manual_seed(0)
BATCHES = [
    (torch.randn(6, 4, generator=DRAWS), torch.randint(3, (6,), generator=DRAWS)) for _ in range(STEPS)
]


class Bench:
    """A tiny training with everything that a checkpoint holds."""

    def __init__(self, path: Path, optimizer: str = "SGD", digest: str = "ours", share: float = 1.0) -> None:
        self.path, self.digest = path, digest
        with global_seed(0, "test"):
            self.model = nn.Sequential(
                nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
            )
        options = {"momentum": 0.9} if optimizer == "SGD" else {}
        self.optimizer = getattr(torch.optim, optimizer)(self.model.parameters(), lr=0.0, **options)
        loss = create_loss(Loss(), self.model)
        self.trainer = create_trainer(self.model, self.optimizer, loss, device="cpu", precision="float32")
        rates = lr_milestones(CYCLE, resolve_rates(CYCLE, None), STEPS)
        momenta = momentum_milestones(CYCLE, STEPS)
        handlers = attach_schedule(self.trainer, self.optimizer, rates, momenta)
        self.used: list[tuple[float, float]] = []
        attach = self.trainer.add_event_handler
        attach(
            Events.EPOCH_STARTED,
            lambda: torch.manual_seed(derive_seed(0, "dropout", self.trainer.state.epoch)),
        )
        attach(Events.ITERATION_COMPLETED, self.note)
        self.state = {"trainer": self.trainer, "model": self.model, "optimizer": self.optimizer, **handlers}
        self.writer = Writer()
        saver = CheckpointSaver(path, digest, self.writer, share)
        attach(Events.EPOCH_COMPLETED, EpochCheckpoint(self.state, saver))

    def note(self) -> None:
        group = self.optimizer.param_groups[0]
        self.used.append((group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]))

    def run(self, *, kill_in: int | None = None) -> Bench:
        if kill_in:

            def kill() -> None:
                if self.trainer.state.iteration == (kill_in - 1) * STEPS + 2:
                    raise Killed

            self.trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
        with self.writer, torch.random.fork_rng(devices=[]):
            self.trainer.run(BATCHES, max_epochs=EPOCHS)
        return self

    def load(self) -> bool:
        return load_checkpoint(self.path, self.state, self.digest)

    def bytes(self) -> bytes:
        buffer = io.BytesIO()
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, buffer)
        return buffer.getvalue()


def wait_for(event: threading.Event) -> None:
    event.wait()


@pytest.fixture
def killed(tmp_path: Path) -> Callable[..., Path]:
    """The checkpoint that a training killed in its third epoch leaves behind."""

    def make(optimizer: str = "SGD") -> Path:
        path = tmp_path / "checkpoint.pt"
        with pytest.raises(Killed):
            Bench(path, optimizer).run(kill_in=3)
        return path

    return make


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize("share", [1.0, 1e-9], ids=["after every epoch", "after the first alone"])
def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, optimizer: str, epoch: int, share: float
) -> None:
    whole = Bench(tmp_path / "whole.pt", optimizer).run()
    path = tmp_path / "killed.pt"
    with pytest.raises(Killed):
        Bench(path, optimizer, share=share).run(kill_in=epoch)
    resumed = Bench(path, optimizer)
    assert resumed.load() == (epoch > 1)
    done = resumed.trainer.state.epoch
    assert done == (epoch - 1 if share == 1 else min(1, epoch - 1))
    assert resumed.run().bytes() == whole.bytes()
    assert resumed.used == whole.used[done * STEPS :]


def test_there_is_a_checkpoint_after_every_epoch_but_the_last_and_no_other_file(tmp_path: Path) -> None:
    bench, seen = Bench(tmp_path / "checkpoint.pt"), []

    def note() -> None:
        bench.writer.write(lambda: None).result()  # all before it is written
        content = bench.path.read_bytes() if bench.path.exists() else b""
        seen.append(hashlib.sha256(content).hexdigest())
        assert {path.name for path in tmp_path.iterdir()} <= {"checkpoint.pt"}

    bench.trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    bench.run()
    assert len(set(seen[:3])) == 3 and seen[3] == seen[2]


def test_checkpoints_take_no_more_than_their_share_of_the_time(tmp_path: Path) -> None:
    with Writer() as writer:
        saver = CheckpointSaver(tmp_path / "checkpoint.pt", "ours", writer, share=0.1)
        assert saver.due(), "the first costs nothing yet"
        saver({}, "")
        assert saver.last is not None
        saver.last.result()
        assert saver.seconds > 0
        for since, due in ((5.0, False), (9.0, False), (11.0, True)):
            saver.seconds, saver.began = 1.0, time.perf_counter() - since
            assert saver.due() == due


def test_there_is_none_once_something_has_changed_that_it_cannot_hold(tmp_path: Path) -> None:
    with Writer() as writer:
        saver = CheckpointSaver(tmp_path / "checkpoint.pt", "ours", writer, share=1)
        trainer, names = Engine(lambda engine, batch: None), ["", "rng", "rng"]
        checkpoint = EpochCheckpoint(
            {"trainer": trainer}, saver, unsaved=lambda: names[trainer.state.epoch - 1]
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
        trainer.run([0], max_epochs=3)
    saved = torch.load(io.BytesIO((tmp_path / "checkpoint.pt").read_bytes().partition(b"\n")[2]))
    assert saved["state"]["iteration"] == 1


def test_none_is_due_while_the_last_one_is_being_written(tmp_path: Path) -> None:
    go = threading.Event()
    with Writer() as writer:
        saver = CheckpointSaver(tmp_path / "checkpoint.pt", "ours", writer)
        writer.write(partial(wait_for, go))
        saver({}, "")
        assert saver.seconds == 0 and not saver.due()
        go.set()
        assert saver.last is not None
        saver.last.result()
        saver.began -= 1000
        assert saver.due()


def test_what_is_written_is_the_state_at_the_end_of_the_epoch_though_the_training_goes_on(
    tmp_path: Path,
) -> None:
    go = threading.Event()
    tensor, numbers = torch.zeros(3), [1]
    with Writer() as writer:
        writer.write(partial(wait_for, go))
        CheckpointSaver(tmp_path / "checkpoint.pt", "ours", writer)({"a": {"t": tensor, "n": numbers}}, "")
        tensor.fill_(7)
        numbers.append(2)
        go.set()
    saved = torch.load(io.BytesIO((tmp_path / "checkpoint.pt").read_bytes().partition(b"\n")[2]))
    assert torch.equal(saved["state"]["a"]["t"], torch.zeros(3)) and saved["state"]["a"]["n"] == [1]


def test_what_cannot_be_written_is_raised_by_the_next_call_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for calls in (1, 2):
        with pytest.raises(RunError, match="checkpoint.pt: cannot be written"), Writer() as writer:
            saver = CheckpointSaver(tmp_path / "file" / "checkpoint.pt", "ours", writer)
            for _ in range(calls):
                saver({}, "")
                assert saver.last is not None
                saver.last.exception()
            assert calls == 1, "the second call raises"


def test_the_end_waits_for_the_last_file_also_after_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Writer() as writer:
        writer.write(lambda: time.sleep(0.2))
        writer.write(lambda: (tmp_path / "done").touch())
        raise KeyboardInterrupt
    assert (tmp_path / "done").exists()


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "checkpoint.pt")
    before = bench.bytes()
    assert bench.load() is False and bench.bytes() == before


def test_a_checkpoint_cut_or_changed_anywhere_is_damaged_and_changes_nothing(
    killed: Callable[..., Path],
) -> None:
    path = killed()
    content, bench = path.read_bytes(), Bench(path)
    before = bench.bytes()
    cut = [content[:length] for length in (0, 1, 63, 64, 65, 66, 100, len(content) // 2, len(content) - 1)]
    flipped = [
        content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        for at in {*range(80), *range(80, len(content), 97), len(content) - 1}
    ]
    for damaged in cut + flipped:
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match="checkpoint.pt: damaged, its checksum does not match$"):
            bench.load()
    assert bench.bytes() == before and bench.trainer.state.epoch == 0


def test_another_configurations_checkpoint_is_refused_and_changes_nothing(
    killed: Callable[..., Path],
) -> None:
    path = killed()
    bench = Bench(path, digest="another")
    before = bench.bytes()
    with pytest.raises(
        RunError, match="belongs to another configuration; --force moves the run aside"
    ) as caught:
        bench.load()
    assert not isinstance(caught.value, DamagedCheckpoint) and bench.bytes() == before


class Bomb:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def write_sealed(path: Path, content: bytes) -> None:
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


@pytest.mark.parametrize("how", ["pickle", "torch.save", "torch.save beside our keys"])
def test_a_checkpoint_with_a_matching_checksum_is_still_data_and_never_code(tmp_path: Path, how: str) -> None:
    fuse, buffer, path = tmp_path / "exploded", io.BytesIO(), tmp_path / "checkpoint.pt"
    bomb = Bomb(f"touch {fuse}")
    if how == "pickle":
        pickle.dump({"digest": "ours", "state": bomb}, buffer, protocol=2)
    else:
        torch.save(bomb if how == "torch.save" else {"digest": "ours", "state": {}, "more": bomb}, buffer)
    write_sealed(path, buffer.getvalue())
    with pytest.raises(DamagedCheckpoint, match="checkpoint.pt: not a checkpoint of ours$"):
        Bench(path).load()
    assert not fuse.exists()
    if how == "pickle":
        pickle.loads(buffer.getvalue())
        assert fuse.exists(), "the bomb is a real one"


@pytest.mark.parametrize("content", [b"", b"not a zip archive", b"\x80\x02N."])
def test_bytes_that_are_no_checkpoint_are_damaged(tmp_path: Path, content: bytes) -> None:
    write_sealed(tmp_path / "checkpoint.pt", content)
    with pytest.raises(DamagedCheckpoint, match="not a checkpoint of ours"):
        Bench(tmp_path / "checkpoint.pt").load()


def test_a_checkpoint_of_another_version_of_the_training_is_no_use(killed: Callable[..., Path]) -> None:
    bench = Bench(killed())
    for changed in ({**bench.state, "newcomer": bench.optimizer}, {**bench.state, "model": nn.Linear(1, 1)}):
        with pytest.raises(DamagedCheckpoint, match="checkpoint.pt: not a checkpoint of this version$"):
            load_checkpoint(bench.path, changed, "ours")


def test_a_checkpoint_holds_plain_tensors_and_numbers_that_weights_only_loads(
    killed: Callable[..., Path],
) -> None:
    content = killed("Adam").read_bytes().partition(b"\n")[2]
    saved = torch.load(io.BytesIO(content), weights_only=True)
    assert saved["digest"] == "ours"
    assert {"trainer", "model", "optimizer", "schedule", "momentum"} <= set(saved["state"])
