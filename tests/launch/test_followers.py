"""One run on two gloo processes: the same curve as a loop that normalises the halves of each batch apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.data import load_data
from harness.data.batches import Batches
from harness.models import build_model
from harness.models.weights import load_weights
from harness.optimizers import create_optimizer
from harness.plan import resolve_variant
from harness.predictor import load
from harness.seeding import global_seed
from harness.study_file.config import Study
from harness.study_file.load import load_study
from tests.conftest import Command
from tests.launch.conftest import MORE, SLOW, Start, gone, in_proc, same_tables, until_under_way, workers

TWO = ("--devices", "2", "--device", "cpu")
# Four steps: a training repeats a difference of one rounding for as long, then enlarges it. Of 41 images the
# last batch has 9, and the parts 4 and 5. Images of noise, and borders that mirror it, have no equal
# neighbours: which of them max pooling takes would be decided by the rounding of this processor.
CHANGES = {
    'source = "digits"': 'source = "image_folder", path = "noise"',
    "train_limit = 160": "train_limit = 41",
    'precision = "float32"': 'precision = "float32"\nloss = { l1 = 1e-5 }',
    "epochs = 3, peak_epoch = 1, lr_max = 0.05, lr_min = 0.005": (
        "epochs = 2, peak_epoch = 1, lr_max = 0.02, lr_min = 0.002"
    ),
    'border_mode = "constant"': 'border_mode = "reflect_101"',
}


@pytest.fixture
def noise_file(tiny_file: Path, tmp_path: Path) -> Path:
    """The tiny study on ten classes of noise in ``noise/``."""
    draws = np.random.default_rng(0)
    for split, images in (("train", 50), ("test", 60)):
        for at in range(images):
            folder = tmp_path / "noise" / split / str(at % 10)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{at}.png")
    text = tiny_file.read_text("utf-8")
    for ours, theirs in CHANGES.items():
        assert ours in text
        text = text.replace(ours, theirs)
    tiny_file.write_text(text, "utf-8")
    return tiny_file


def halves(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits of a batch whose halves are normalised apart, and the statistics after the first half."""
    middle = len(images) // 2
    first = model(images[:middle])
    kept = [buffer.clone() for buffer in model.buffers()]
    return torch.cat([first, model(images[middle:])]), kept


def reference(study: Study, root: Path, rates: list[float]) -> tuple[list[float], nn.Module, Tensor]:
    """Train losses by epoch, the network and its logits at the end, of seed 0 in one process."""
    recipe = study.recipes["base"]
    data = load_data("image_folder", root, path="noise", train_limit=41, test_limit=60)
    variant = resolve_variant(study, "base", data, device="cpu")
    with global_seed(0, "initialisation"):
        model = build_model(recipe.model.name, recipe.model.options, 10)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = create_optimizer(recipe.optimizer, model)
    mixing = recipe.augment.batch
    batches = Batches(data.train, variant.train_transforms, 32, seed=0, shuffle=True, mixing=mixing)
    losses, remaining = [], iter(rates)
    for epoch in range(1, recipe.schedule.epochs + 1):
        batches.set_epoch(epoch)
        total = 0.0
        model.train()
        for images, labels in batches:
            optimizer.param_groups[0]["lr"] = next(remaining)
            optimizer.zero_grad()
            logits, kept = halves(model, images)
            loss = F.cross_entropy(logits, labels)
            loss = loss + 1e-5 * sum(p.abs().sum() for p in model.parameters())
            loss.backward()
            optimizer.step()
            for buffer, value in zip(model.buffers(), kept, strict=True):
                buffer.copy_(value)  # the leader's
            total += loss.item() * len(labels)
        losses.append(total / 41)
    model.eval()
    tests = Batches(data.evaluation, variant.test_transforms, 60, seed=0, shuffle=False)
    with torch.no_grad():
        return losses, model, model(next(iter(tests))[0])


@pytest.mark.parametrize("mixed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_curve_is_that_of_one_process_with_two_halves(
    noise_file: Path, command: Command, tmp_path: Path, mixed: bool
) -> None:
    if mixed:  # an image of one half is mixed with one of the other
        text = noise_file.read_text("utf-8")
        batch = '[{ transform = "MixUp", alpha = 1.0 }, { transform = "CutMix" }]'
        noise_file.write_text(text.replace("[augment]\n", f"[augment]\nbatch = {batch}\n"), "utf-8")
    arguments = (*TWO, "--seeds", "0", "--data", tmp_path, "--out", "out")
    done = command(noise_file, *arguments, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "out" / "tiny" / "runs" / "base" / "seed-0"
    rates = list(pd.read_csv(run / "learning_rates.csv").lr)
    losses, model, logits = reference(load_study(str(noise_file)), tmp_path, rates)
    # Weights that are a rounding apart end 1e-5 apart or, rarely, 3e-3; where parts of unequal size count the
    # same, or batch norm sees whole batches, losses end 1e-2 apart, weights 9e-2 and logits 4e-2.
    np.testing.assert_allclose(pd.read_csv(run / "history.csv").train_loss, losses, rtol=1e-4)
    for name, value in load_weights(run / "model.safetensors")[0].state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0.01)
    np.testing.assert_allclose(np.load(run / "predictions.npz")["logits"], logits, rtol=0, atol=2e-3)
    assert "2 per run (data parallel)" in (tmp_path / "out" / "tiny" / "report.md").read_text("utf-8")


@pytest.mark.slow
def test_state_that_is_no_buffer_is_the_same_in_all_processes_and_parameters_may_be_unused(
    tiny_file: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ALLOW", "tests")
    text = tiny_file.read_text("utf-8").replace("custom_resnet", "tests.training.odd_nets:KeepsMean")
    tiny_file.write_text(text.replace(", width = 2", "").replace('["layer1", "res2"]', '["conv"]'), "utf-8")
    root = str(Path(__file__).parents[2])
    done = command(tiny_file, *TWO, "--seeds", "0", "--out", "out", OMP_NUM_THREADS="1", PYTHONPATH=root)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "out" / "tiny" / "runs" / "base" / "seed-0"
    images = load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images
    logits = np.load(run / "predictions.npz")["logits"]
    np.testing.assert_allclose(load(run).logits(images), logits, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_torchrun_gives_the_same_tables(tiny_file: Path, command: Command, tmp_path: Path) -> None:
    tiny_file.write_text(tiny_file.read_text("utf-8") + MORE, "utf-8")
    ours = command(tiny_file, *TWO, "--out", "ours", OMP_NUM_THREADS="1")
    assert ours.returncode == 1 and "10 of" not in ours.stdout, ours.stderr  # of the variant that diverges
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "harness.study"]
    options = ["--device", "cpu", "--launcher", "serial", "--out", "theirs"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(tiny_file), *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0 and done.stdout.replace("theirs", "ours") == ours.stdout, done.stderr
    same_tables(tmp_path / "ours/tiny", tmp_path / "theirs/tiny", 6)
    assert list(pd.read_csv(tmp_path / "ours/tiny/tables/runs.csv").status).count("finished") == 4


@in_proc
@pytest.mark.slow
@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_whoever_is_killed_the_same_command_goes_on(
    whom: str, start: Start, command: Command, tiny_file: Path
) -> None:
    process = start(*TWO, "--seeds", "0-1", *SLOW)
    until_under_way(process, 1)
    team = workers(process)
    assert len(team) == 1
    os.kill(process.pid if whom == "leader" else team[0], signal.SIGKILL)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == (-signal.SIGKILL if whom == "leader" else 1), said
    assert "Traceback" not in said and gone(team)
    done = command(tiny_file, *TWO, "--seeds", "0-1", *SLOW, "--out", "out")
    assert done.returncode == 0 and done.stderr.count("resuming after epoch") == 1, done.stderr


AVERAGED = """[variants.ema]
averaging = { kind = "ema", momentum = 0.3, every = 2 }
[variants.swa]
averaging = { kind = "swa", start_epoch = 2 }
"""


@pytest.mark.slow
def test_all_processes_evaluate_the_averaged_network_that_is_saved(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    tiny_file.write_text(tiny_file.read_text("utf-8") + AVERAGED, "utf-8")
    done = command(tiny_file, *TWO, "--seeds", "0", "--variants", "ema,swa", "--out", "out")
    assert done.returncode == 0, done.stderr
    images = load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images
    for variant in ("ema", "swa"):
        run = tmp_path / "out" / "tiny" / "runs" / variant / "seed-0"
        logits = np.load(run / "predictions.npz")["logits"]
        np.testing.assert_allclose(load(run).logits(images), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_accumulated_steps_of_two_processes_are_those_of_one(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "plain_nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten(),\n"
        "                         torch.nn.Tanh(), torch.nn.Linear(64, classes))\n"
    )
    keys = ('model={name="plain_nets:Net"}', "data.train_limit=150", "attribution.layers=[]",
            "optimizer.accumulate=2", "optimizer.clip_norm=1.0")  # fmt: skip
    settings = [part for key in keys for part in ("--set", key)]
    for devices in ("1", "2"):
        asked = ("--devices", devices, "--device", "cpu", "--seeds", "0", "--allow", "plain_nets")
        done = command(
            tiny_file,
            *asked,
            *settings,
            "--out",
            devices,
            PYTHONPATH=os.pathsep.join([str(tmp_path), os.getcwd()]),
        )
        assert done.returncode == 0, done.stderr
    one, two = (
        load_file(tmp_path / devices / "tiny/runs/base/seed-0/model.safetensors") for devices in ("1", "2")
    )
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--devices", "0"), "--devices 0: expected at least 1"),
        pytest.param((*TWO, "--launcher", "process"), "one run at a time", marks=pytest.mark.slow),
        pytest.param(
            (*TWO, "--set", "data.train_limit=161"), "the last batch has 1 images", marks=pytest.mark.slow
        ),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: tuple[str, ...], said: str, tiny_file: Path, command: Command
) -> None:
    done = command(tiny_file, *arguments, "--out", "out")
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.cuda(devices=2)
def test_synchronised_statistics_give_the_plain_curve(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    for devices in ("1", "2"):
        float32 = ("--set", 'precision="float32"', "--seeds", "0")
        done = command(tiny_file, "--device", "cuda", "--devices", devices, *float32, "--out", devices)
        assert done.returncode == 0, done.stderr
    one, two = (
        pd.read_csv(tmp_path / devices / "tiny" / "tables" / "history.csv").train_loss
        for devices in ("1", "2")
    )
    np.testing.assert_allclose(one, two, rtol=1e-3)
