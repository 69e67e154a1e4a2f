"""What would fail in a run or at its end is refused before any work; what is sound is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import StudyError
from harness.launch.job import check_plan
from harness.models import build_model
from harness.models.weights import load_weights
from harness.plan import Plan, Variant, resolve_variant
from harness.planning.states import Preview
from harness.predictor import load
from harness.preview import as_text
from harness.schedule import Rates
from harness.store.folders import RunFolder, StudyFolder
from harness.store.records import RunRecord
from harness.study_file.config import Study
from harness.study_file.load import resolve
from harness.training.assembly import train_batches
from harness.training.progress import silent
from harness.training.rehearsal import RehearsalResult, rehearse
from harness.training.run import execute
from tests.conftest import TINY
from tests.training.tiny_runs import Killed, assert_same_run, killed_at

SOUND = [
    "Counter", "CounterInDict", "HookCounter", "NotPersistent", "PlainTensor", "ExtraState", "Tied",
    "Aliased", "Constant", "Item", "Recurrent", "OldWeightNorm", "Auxiliary", "Lazy", "Half", "View",
    "Function", "Autocast", "Scripted", "KeepsMaps", "NoMaps", "HoldsItself", "FreezesNorm", "Subclass",
    "OfOtherTypes", "KeepsMean", "NoStatistics", "DropsAlways",
]  # fmt: skip
DOUBTFUL = ["HookCounter", "NoStatistics", "DropsAlways"]
UNKEPT = ["Deque", "OwnGenerator", "Shared", "SeesWeights", "LateGenerator"]


def path_of(net: str) -> str:
    """Return the ``model.name`` of a network."""
    return f"tests.training.{'odd' if net in ['Plain', *SOUND, *UNKEPT] else 'wrong'}_nets:{net}"


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", Path(), train_limit=66, test_limit=20)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    monkeypatch.setenv("HARNESS_ALLOW", "tests")

    def make(net: str, *changes: tuple[str, Any]) -> Study:
        model = ("model", {"name": path_of(net)})
        return resolve(TINY, [model, ("attribution.layers", []), ("augment.train", []), *changes])

    return make


def variant_of(study: Study, data: Data) -> Variant:
    return resolve_variant(study, "base", data, device="cpu")


def train(
    variant: Variant, out: Path, data: Data, say: Callable[[str], None] = silent
) -> tuple[RunRecord, RunFolder]:
    folder = StudyFolder(out, "tiny").run("base", 0)
    return execute(variant, folder, data, Rates(0.005, 0.05), threads=1, say=say), folder


@pytest.mark.parametrize("net", [*SOUND, *UNKEPT])
def test_a_sound_network_is_killed_goes_on_to_the_same_bytes_and_loads(
    net: str, study: Callable[..., Study], data: Data, tmp_path: Path
) -> None:
    variant = variant_of(study(net), data)
    said: list[str] = []
    plan = check_plan(
        Plan(study(net), StudyFolder(tmp_path, "x"), (variant,), (0,)), lambda _: data, said.append
    )
    (variant,) = plan.variants
    assert variant.resumes == (net not in UNKEPT) and len(said) == (net in UNKEPT + DOUBTFUL), said

    record, whole = train(variant, tmp_path / "whole", data)
    assert record.status == "finished" and bool(record.doubts) == (net in DOUBTFUL)

    with pytest.raises(Killed):
        train(variant, tmp_path / "again", data, killed_at("epoch 3 of 3"))
    said = []
    record, again = train(variant, tmp_path / "again", data, said.append)
    assert record.status == "finished"
    assert any("resuming after epoch" in line for line in said) == (net not in UNKEPT)
    assert_same_run(again, whole)

    images = data.evaluation.images
    logits = np.load(whole.path / "predictions.npz")["logits"]
    predictor = load(whole.path)
    if net not in ("HookCounter", "DropsAlways"):  # each evaluation changes it, or draws
        np.testing.assert_allclose(predictor.logits(images), logits, atol=1e-4, rtol=1e-4)
    if net not in ("NoMaps", "Recurrent"):
        assert predictor.explain(images[:2], [3, 4]).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ("TooMany", r"gives a tensor of shape \(1, 12\); expected logits of shape \(1, 10\)"),
        ("Pair", "in evaluation it gives tuple"),
        ("Table", "in evaluation it gives dict; expected logits"),
        ("Nothing", "in evaluation it gives nothing: forward has no return; expected logits"),
        ("Labels", r"in evaluation it gives a tensor of torch.int64; expected logits"),
        ("Detached", "its logits have no gradient: leave detach"),
        ("OneChannel", r"conv \(Conv2d\), given \(1, 3, 32, 32\): .*to have 1 channels, but got 3"),
        (
            "WrongWidth",
            r"body.1 \(Linear\), given \(1, 4\): .*cannot be multiplied .*wrong_nets.py, line \d+",
        ),
        ("Broadcast", r"forward, given \(1, 3, 32, 32\): .*Broadcast.forward: return logits \+ images"),
        ("Misspelt", "AttributeError: .*'no_such_layer' .*Misspelt.forward: return self.no_such_layer"),
        ("Raises", "KeyError: 'no such thing' .*Raises.factor: raise KeyError"),
        ("RaisesWhenMade", r"RaisesWhenMade\(2\): OSError: no such file .*RaisesWhenMade.setup: raise"),
        ("NoClasses", r"it takes no number of classes; write def __init__\(self, classes\)"),
        ("More", r"More\(10\): missing a required argument: 'depth'; give it a default"),
        ("the_class", r"the_class\(2\) gives the class Plain; expected an object of torch.nn.Module"),
        ("NoParameters", "it has no parameter that requires a gradient"),
        ("NotFiniteAtFirst", "in evaluation it gives numbers that are not finite, before any training"),
        ("RaisesInTraining", "ZeroDivisionError"),
        ("Frozen", "it has no parameter that requires a gradient"),
        ("Squeezed", r"gives a tensor of shape \(10,\)"),
        ("NotFinite", "in evaluation it gives numbers that are not finite"),
        ("Entropy", "trained twice from one seed, it gives two different networks"),
        ("OfTheClass", "trained twice from one seed, it gives two different networks"),
        ("SeedsWhenMade", "it seeds torch's generator itself, so all seeds .* would draw the same"),
        ("SeedsInTraining", "it seeds numpy's generator itself"),
        ("Softmax", "in evaluation it gives probabilities"),
        ("MadeInForward", r"its forward makes parameters \(more.weight, more.bias\)"),
        ("Sparse", "its chosen is sparse or quantised"),
        ("InAList", "loaded from its file, it gives other logits"),
    ],
)
def test_a_wrong_network_is_refused_in_one_line(
    net: str, said: str, study: Callable[..., Study], data: Data
) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        rehearse(variant_of(study(net), data), data)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and f"tiny: model.name: {path_of(net)}" in message


@pytest.mark.parametrize(("net", "said"), [("Deque", "a killed run restarts"), ("NoStatistics", "logits")])
def test_a_dry_run_warns_as_a_start_does(
    net: str, said: str, study: Callable[..., Study], data: Data, tmp_path: Path
) -> None:
    text = as_text([Preview(study(net), StudyFolder(tmp_path, "x"), lambda _: data, None, "cpu")])
    (line,) = [line for line in text.splitlines() if "warning: " in line]
    assert said in line and f"{path_of(net)}: " in line


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_network_is_computed_in_the_memory_format_that_it_bears(
    study: Callable[..., Study], data: Data, precision: str
) -> None:
    variant = variant_of(study("View", ("precision", precision)), data)
    assert variant.compute.memory_format == variant.identity["memory_format"] == "contiguous_format"
    assert "memory_format" not in variant_of(study("Plain"), data).identity


def test_a_network_beside_a_built_in_one_has_the_memory_format_that_it_bears(
    study: Callable[..., Study], data: Data
) -> None:
    view_net = {"model": {"name": path_of("View")}, "attribution": {"layers": []}}
    both = resolve({**TINY, "variants": {"view": view_net}}, [])
    base = resolve_variant(both, "base", data, device="cpu")
    view = resolve_variant(both, "view", data, device="cpu", earlier=[base])
    assert view.compute.memory_format == "contiguous_format"
    rehearse(view, data)


def test_state_that_changes_late_and_cannot_be_kept_is_in_no_checkpoint_and_said(
    study: Callable[..., Study], data: Data, tmp_path: Path
) -> None:
    variant = variant_of(study("LateArray", ("data.batch_size", 8)), data)
    assert rehearse(variant, data) == RehearsalResult()
    said: list[str] = []

    def listen(line: str) -> None:
        said.append(line)
        assert not list(tmp_path.rglob("checkpoint.pt"))

    assert train(variant, tmp_path, data, listen)[0].status == "finished"
    assert "warning: its network's scale changed; model.safetensors holds numbers and tensors" in said[-1]


def test_a_network_that_diverges_at_once_is_no_matter_of_the_rehearsal(
    study: Callable[..., Study], data: Data
) -> None:
    rehearse(variant_of(study("Explodes"), data), data)


def test_half_precision_weights_are_trained_in_float32(
    study: Callable[..., Study], data: Data, tmp_path: Path
) -> None:
    record, folder = train(variant_of(study("Half"), data), tmp_path, data)
    assert record.status == "finished"
    model, _ = load_weights(folder.weights_file)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_network_that_is_not_finite_in_evaluation_alone_says_so(
    study: Callable[..., Study], data: Data, tmp_path: Path
) -> None:
    record, _ = train(variant_of(study("NotFiniteLater"), data), tmp_path, data)
    assert record.error is not None and record.error["kind"] == "diverged"
    assert "in evaluation mode: the train loss is finite" in record.error["message"]


def test_layers_without_a_map_are_refused(study: Callable[..., Study], data: Data) -> None:
    with pytest.raises(StudyError, match=r"attribution.layers: layer 'fc' gives no map \(N, C, h, w\)"):
        variant_of(study("Plain", ("attribution.layers", ["fc"])), data)


# ---- the last batch ----------------------------------------------------------------------------------------


def small(images: int, batch_size: int, *changes: tuple[str, Any]) -> tuple[Study, Data]:
    """The built-in network on maps of one pixel."""
    resize = [{"transform": "Resize", "height": 8, "width": 8}]
    augment = ("augment", {"train": resize, "test": resize})
    study = resolve(TINY, [("data.batch_size", batch_size), ("attribution.layers", []), augment, *changes])
    return study, load_data("digits", Path(), train_limit=images, test_limit=10)


def sizes_and_failure(variant: Variant, data: Data) -> tuple[list[int], bool]:
    """Return the sizes of an epoch's batches, and whether the network fails on one of them."""
    network, sizes, fails = variant.recipe.model, [], False
    with torch.random.fork_rng():
        model = build_model(network.name, network.options, 10)
        for batch, _ in train_batches(variant, data, seed=0):
            sizes.append(len(batch))
            try:
                model(batch)
            except ValueError:
                fails = True
    return sizes, fails


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(10, 40),
    batch_size=st.integers(2, 20),
    ghost=st.none() | st.integers(2, 6),
    drop_last=st.booleans(),
)
def test_what_is_refused_for_its_batches_are_those_that_fail(
    images: int, batch_size: int, ghost: int | None, drop_last: bool
) -> None:
    study, data = small(
        images,
        batch_size,
        ("data.drop_last", drop_last),
        *([("model.ghost_batch", ghost)] if ghost else []),
        ("schedule", {"kind": "constant", "epochs": 1, "lr": 0.01}),
    )
    try:
        variant = variant_of(study, data)
    except StudyError as error:
        assert drop_last and batch_size > len(data.train) and "data.drop_last" in str(error)
        return
    sizes, fails = sizes_and_failure(variant, data)
    assert len(sizes) == variant.steps_per_epoch
    assert sizes[-1] == variant.last_batch and sum(sizes) == variant.images_an_epoch
    if not fails:
        assert rehearse(variant, data) == RehearsalResult()
        return
    with pytest.raises(StudyError, match="data.batch_size: the last batch of an epoch has"):
        rehearse(variant, data)


@pytest.mark.parametrize(("drop_last", "fine"), [(False, False), (True, True)])
def test_a_last_batch_of_one_image_that_a_users_network_fails_on_is_refused(
    drop_last: bool, fine: bool, study: Callable[..., Study], tmp_path: Path
) -> None:
    data = load_data("digits", Path(), train_limit=33, test_limit=20)
    chosen = study("OneImageFails", ("data.batch_size", 16), ("data.drop_last", drop_last))
    variant = variant_of(chosen, data)
    assert variant.steps_per_epoch == (2 if drop_last else 3)
    if not fine:
        with pytest.raises(StudyError, match=r"has 1 image \(33 in batches of 16\).* data.drop_last = true"):
            rehearse(variant, data)
        return
    assert rehearse(variant, data) == RehearsalResult()
    record, _ = train(variant, tmp_path, data)
    assert record.status == "finished", record.error
