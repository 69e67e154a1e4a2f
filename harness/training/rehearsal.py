"""Rehearse a run before any work: train, evaluate, save, resume and explain its network on a few images.

A built-in network is known to do all that; it may only fail on a last batch of one image.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.attribution.maps import coarse_maps, layer_maps, stages
from harness.data.arrays import Data, split_of
from harness.data.batches import Batches
from harness.device import autocast, prepare
from harness.errors import RunError, StudyError
from harness.messages import one_line
from harness.models import MODELS
from harness.models.mistakes import check_shape, check_values, explain
from harness.models.outputs import logits_of
from harness.models.weights import network_of, weights_bytes
from harness.optimizers import set_rate
from harness.plan import Variant
from harness.seeding import generator_states, generators_restored, global_seed, seed_generators
from harness.training.assembly import assemble, averaging_at_once

STEPS = 3  # before the first checkpoint
RATE = 1e-3


class RehearsalResult(NamedTuple):
    """The result of a rehearsal without an error.

    Attributes:
        cannot_resume: why a killed run cannot resume from a checkpoint; empty where it can.
        doubt: why its results may mislead; empty without a reason.
    """

    cannot_resume: str = ""
    doubt: str = ""

    def warnings(self, network: str) -> list[str]:
        """Return both as warnings, with the network's name."""
        anew = f"without checkpoints, a killed run restarts: {network}: {self.cannot_resume}"
        return [anew] * bool(self.cannot_resume) + [f"{network}: {self.doubt}"] * bool(self.doubt)


_results: dict[str, RehearsalResult] = {}  # variants that a rehearsal would treat alike share one


def rehearse(variant: Variant, data: Data) -> RehearsalResult:
    """Do on a few images everything that a variant's runs and report do with its network.

    Raises:
        StudyError: something would fail; the message names it.
    """
    recipe, sizes = variant.recipe, _batch_sizes(variant)
    if not sizes:
        return RehearsalResult()
    decisive = [
        variant.network.to_json(), recipe.optimizer.model_dump(), recipe.loss.model_dump(),
        recipe.averaging.model_dump(), recipe.attribution.layers, sizes, variant.device,
        variant.precision, variant.compute.memory_format, variant.identity.get("model_source"),
        variant.identity.get("pretrained"), bool(recipe.augment.batch),
    ]  # fmt: skip
    key = json.dumps(decisive)
    if key not in _results:
        prepare(variant.device, torch.get_num_threads())
        with generators_restored():
            _results[key] = _Rehearsal(variant, data, sizes).result()
    return _results[key]


def _batch_sizes(variant: Variant) -> list[int]:
    """Return the sizes of batches to try: a few images, and the last batch if it is smaller.

    For a built-in network only 1, where batch norm would normalise a single image by itself.
    """
    recipe, last = variant.recipe, variant.last_batch
    batch = min(recipe.data.batch_size, variant.train_images)
    if recipe.model.name not in MODELS:
        return sorted({min(4, batch), min(4, last)}, reverse=True)
    ghost = recipe.model.options.get("ghost_batch") or batch
    return [1] if any(size // max(1, round(size / ghost)) == 1 for size in (batch, last)) else []


class _Rehearsal:
    """The steps of a rehearsal; an error of a user's network becomes a StudyError of one line."""

    def __init__(self, variant: Variant, data: Data, sizes: list[int]) -> None:
        self.variant, self.data = averaging_at_once(variant), data
        self.name = variant.recipe.model.name
        self.sizes, self.doubt = sizes, ""
        self.layout: torch.memory_format = getattr(torch, variant.compute.memory_format)
        split, count = data.train, max(self.sizes)
        few = split_of(split.images[:count].copy(), split.labels[:count], split.classes)
        mixing = variant.recipe.augment.batch
        batches = Batches(
            few, variant.train_transforms, count, seed=0, purpose="rehearsal", shuffle=False, mixing=mixing
        )
        images, self.trained_labels = next(iter(batches))
        self.labels = torch.from_numpy(few.labels)
        self.images = images.contiguous(memory_format=self.layout)

    def result(self) -> RehearsalResult:
        """Do all steps."""
        if self.name in MODELS:
            self._try_last_batch(self.sizes[0])
            return RehearsalResult()
        with self._saying("making it"):
            trainee, other = _Trainee(self.variant, self.data), _Trainee(self.variant, self.data, seed=1)
        self._check_draws([trainee.drawn, other.drawn])
        self._check_outputs(other.model)
        with self._saying("training and evaluation"):
            self._train_and_evaluate(trainee)
        self._check_state(trainee)
        for size in self.sizes[1:]:
            self._try_last_batch(size)
        cannot_resume = self._try_checkpoint(trainee)
        if names := trainee.assembly.unsaved():
            cannot_resume = f"its {names} changes, and a checkpoint holds numbers and tensors alone"
        self._try_weights(trainee)
        return RehearsalResult(cannot_resume, self.doubt)

    def _train_and_evaluate(self, trainee: _Trainee) -> None:
        drawn = []
        for _ in range(STEPS):
            trainee.train(self.images, self.trained_labels)
            drawn.append(trainee.drawn)
        trainee.evaluate(self.images, self.labels)
        self._check_draws(drawn)

    def _check_draws(self, drawn: list[dict[str, bytes]]) -> None:
        """Refuse a network that seeds a generator: its state is then the same for all seeds."""
        for name in drawn[0]:
            if len({states[name] for states in drawn}) < len(drawn):
                raise self._refusal(
                    f"it seeds {name}'s generator itself, so all seeds of the study would "
                    "draw the same; remove that call: the harness seeds every generator"
                )

    def _check_outputs(self, model: nn.Module) -> None:
        """Refuse outputs other than a logit for each class; a tuple is allowed in training only."""
        images = self.images.to(self.variant.device)
        for mode, count in (("evaluation", 1), ("training", len(images))):
            model.train(mode == "training")
            with (
                self._saying(f"{mode}, on images of {tuple(images[:count].shape)}"),
                torch.no_grad(),
                autocast(self.variant.device, self.variant.precision),
            ):
                outputs = model(images[:count])
            with self._saying(""):
                for logits in logits_of(outputs) if mode == "training" else [outputs]:
                    check_shape(logits, mode, shape := (count, len(self.variant.classes)))
                    check_values(logits, mode, shape)

    def _check_state(self, trainee: _Trainee) -> None:
        """Refuse parameters that the optimizer does not have, and tensors that no file can hold."""
        trained = {
            id(weights) for group in trainee.assembly.optimizer.param_groups for weights in group["params"]
        }
        late = [
            name
            for name, weights in trainee.model.named_parameters()
            if weights.requires_grad and id(weights) not in trained
        ]
        if late:
            raise self._refusal(
                f"its forward makes parameters ({', '.join(late[:3])}), which would not be "
                "trained; make them in __init__, by torch.nn.LazyLinear and the like where a size is unknown"
            )
        for name, value in trainee.model.state_dict().items():
            if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_quantized):
                raise self._refusal(
                    f"its {name} is sparse or quantised, which model.safetensors cannot hold; "
                    "keep it as a dense tensor, and convert it in forward"
                )

    def _try_checkpoint(self, trainee: _Trainee) -> str:
        """Resume from a checkpoint, and train again from the start: both have to give the same weights.

        Returns:
            Why runs cannot resume from a checkpoint; empty where they can.
        """
        again = _Trainee(self.variant, self.data)
        with self._saying("training and evaluation"):
            self._train_and_evaluate(again)
        try:
            content = io.BytesIO()
            torch.save(trainee.state(), content)
            content.seek(0)
            state = torch.load(content, map_location="cpu", weights_only=True)
            resumed = _Trainee(self.variant, self.data)
            resumed.load_state(state)
        except Exception as error:
            return f"its state cannot be read back: {one_line(error, 200)}"
        with self._saying("training and evaluation"):
            for network in (trainee, again):
                self._train_and_evaluate(network)
        if self._content(trainee) != self._content(again):
            raise self._refusal(
                "trained twice from one seed, it gives two different networks; let it draw "
                "from torch's, numpy's or Python's global generator, and keep what changes inside of it"
            )
        try:  # several steps: a tensor that is no longer shared shows late
            self._train_and_evaluate(resumed)
        except Exception as error:  # a user's code may raise anything
            return f"after a checkpoint it fails: {type(error).__name__}: {one_line(error, 200)}"
        if self._content(trainee) != self._content(resumed):
            return "after a checkpoint it trains on in another way"
        return ""

    def _content(self, trainee: _Trainee) -> bytes:
        """Return the network's weights, and their average, as bytes, so that NaN equals NaN."""
        networks = dict.fromkeys((trainee.model, trainee.assembly.result))
        with self._saying("saving its weights"):
            return b"".join(weights_bytes(network, self.variant.network) for network in networks)

    def _try_weights(self, trainee: _Trainee) -> None:
        """Save the weights, load them, predict and explain, as the report does."""
        with self._saying("saving and loading its weights"):
            result = trainee.assembly.result
            loaded, _ = network_of(weights_bytes(result, self.variant.network), "model.safetensors")
            loaded = loaded.to(memory_format=self.layout)  # type: ignore[call-overload]
            trained = result.to("cpu")
            trained.eval()
            with torch.no_grad():
                expected = _logits(trained, self.images)
                logits, alone = _logits(loaded, self.images), _logits(loaded, self.images[-1:])
            tolerance = 1e-3 * float(expected.abs().nan_to_num(0, 0, 0).max())
        if not torch.allclose(logits, expected, rtol=1e-3, atol=tolerance, equal_nan=True):
            raise self._refusal(
                "loaded from its file, it gives other logits; keep what it learns in "
                "parameters and buffers, and its layers in a torch.nn.ModuleList"
            )
        if not torch.allclose(alone, expected[-1:], rtol=1e-2, atol=10 * tolerance, equal_nan=True):
            self.doubt = (
                "in evaluation, an image's logits depend on more than the image (on others of its batch, on "
                "chance, or on earlier images), so accuracies depend on how many are evaluated at once"
            )
        layers, targets = self.variant.recipe.attribution.layers, self.labels.tolist()
        if not layers:
            try:
                layers = stages(loaded, self.variant.outline.image_shape)
            except RunError:  # no layer gives maps, which the report will say
                return
        with self._saying("attribution.layers: Grad-CAM"):
            coarse_maps(loaded, layers, self.images, targets)
            layer_maps(loaded, layers, self.images, targets)

    def _try_last_batch(self, size: int) -> None:
        data, last = self.variant.recipe.data, self.variant.last_batch
        try:
            _Trainee(self.variant, self.data).train(self.images[:size], self.trained_labels[:size])
        except Exception as error:
            small = "1 image" if last == 1 else f"{last} images"
            place = self._where.rpartition("model.name")[0]
            raise StudyError(
                f"{place}data.batch_size: the last batch of an epoch has {small} "
                f"({self.variant.train_images} in batches of {data.batch_size}), on which the network fails: "
                f"{one_line(error, 120)}; choose another batch_size, or set data.drop_last = true"
            ) from None

    @property
    def _where(self) -> str:
        place = "" if self.variant.name == "base" else f"variants.{self.variant.name}: "
        return f"{self.variant.study}: {place}model.name: {self.name}"

    def _refusal(self, why: str) -> StudyError:
        return StudyError(f"{self._where}: {why}")

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Turn an error of a user's network inside the block into a StudyError of one line."""
        try:
            yield
        except StudyError as error:
            message = str(error)
            raise (error if message.startswith(self.variant.study) else self._refusal(message)) from None
        except (Exception, SystemExit) as error:
            raise self._refusal(f"{what}: {explain(error)}") from None


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    seed_generators(0)
    logits: Tensor = model(images).float()
    return logits


class _Trainee:
    """A network with its optimizer and engines, as a run has them."""

    def __init__(self, variant: Variant, data: Data, seed: int = 0) -> None:
        with global_seed(seed, "rehearsal"):
            self.model = variant.new_network(data)
            self.drawn = generator_states()
        self.assembly = assemble(variant, self.model, averaged=True)
        self.device, self.step = variant.device, 0
        set_rate(self.assembly.optimizer, RATE)
        parts = self.assembly.state()
        self.parts = {name: part for name, part in parts.items() if name != "trainer"}

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take a step, seeded by its number; store the generators' states after it in ``drawn``."""
        self.step += 1
        seed_generators(self.step)
        self.assembly.trainer.run([(images.to(self.device), labels.to(self.device))], max_epochs=1)
        self.drawn = generator_states()

    def evaluate(self, images: Tensor, labels: Tensor) -> None:
        """Evaluate in the precision of the training, and in float32."""
        assembly, batches = self.assembly, [(images.to(self.device), labels.to(self.device))]
        if assembly.averaging is not None:
            assembly.averaging.refresh(batches)
        raw = assembly.raw_evaluators or ()
        for evaluator in (*raw, assembly.evaluator, assembly.final_evaluator):
            evaluator.run(batches)

    def state(self) -> dict[str, Any]:
        """Return the network's part of a checkpoint."""
        return {"step": self.step} | {name: part.state_dict() for name, part in self.parts.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state` returned."""
        self.step = state["step"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
