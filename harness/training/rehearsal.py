"""Try before any work what a run will do with its network: train, evaluate, save, resume, explain.

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
from harness.models.outputs import logits_of
from harness.models.outside import OutsideState, changed, fingerprints
from harness.models.weights import network_of, weights_bytes
from harness.optimizers import create_optimizer
from harness.plan import Variant
from harness.seeding import generator_states, generators_restored, global_seed, seed_generators
from harness.training.engines import create_evaluator, create_loss, create_scaler, create_trainer

STEPS = 3  # before a state is saved
RATE = 1e-3


class Found(NamedTuple):
    """What people are told of a network that works.

    Attributes:
        lost: why a killed run cannot resume from a checkpoint; empty where it can.
        doubt: why its results may mislead; empty without a reason.
    """

    lost: str = ""
    doubt: str = ""

    def warnings(self, network: str) -> list[str]:
        """Both in words, with the network's name."""
        anew = f"without checkpoints, a killed run begins anew: {network}: {self.lost}"
        return [anew] * bool(self.lost) + [f"{network}: {self.doubt}"] * bool(self.doubt)


_passed: dict[str, Found] = {}  # what decides a rehearsal -> what it found


def rehearse(variant: Variant, data: Data) -> Found:
    """Do with a few of the variant's images all that its runs and its report will do with its network.

    Raises:
        StudyError: what would fail, in one line.
    """
    recipe, sizes = variant.recipe, _batch_sizes(variant)
    if not sizes:
        return Found()
    decisive = [
        variant.network.to_json(), recipe.optimizer.model_dump(), recipe.loss.model_dump(),
        recipe.attribution.layers, sizes, variant.device, variant.precision, variant.compute.memory_format,
        variant.identity.get("model_source"),
    ]  # fmt: skip
    key = json.dumps(decisive)
    if key not in _passed:
        prepare(variant.device, torch.get_num_threads())
        with generators_restored():
            _passed[key] = _Rehearsal(variant, data, sizes).result()
    return _passed[key]


def _batch_sizes(variant: Variant) -> list[int]:
    """Return the sizes of batches to try: a few images, and the last batch where it is smaller still.

    Of a built-in network only a single image that batch norm would normalise by itself.
    """
    recipe, last = variant.recipe, variant.last_batch
    batch = min(recipe.data.batch_size, variant.train_images)
    if recipe.model.name not in MODELS:
        return sorted({min(4, batch), min(4, last)}, reverse=True)
    ghost = recipe.model.options.get("ghost_batch") or batch
    return [1] if any(size // max(1, round(size / ghost)) == 1 for size in (batch, last)) else []


class _Rehearsal:
    """The parts of a rehearsal; each says in one line what a user's network raises."""

    def __init__(self, variant: Variant, data: Data, sizes: list[int]) -> None:
        self.variant, self.name = variant, variant.recipe.model.name
        self.sizes, self.doubt = sizes, ""
        self.layout: torch.memory_format = getattr(torch, variant.compute.memory_format)
        split, count = data.train, max(self.sizes)
        some = split_of(split.images[:count].copy(), split.labels[:count], split.classes)
        batches = Batches(some, variant.train_transforms, count, seed=0, purpose="rehearsal", shuffle=False)
        images, self.labels = next(iter(batches))
        self.images = images.contiguous(memory_format=self.layout)

    def result(self) -> Found:
        """Try everything."""
        if self.name in MODELS:
            self._try_last_batch(self.sizes[0])
            return Found()
        trainee, other = _Trainee(self.variant), _Trainee(self.variant, seed=1)
        self._check_draws([trainee.drawn, other.drawn])
        self._check_outputs(other.model)
        before = fingerprints(trainee.model)
        with self._saying("training and evaluation"):
            self._train_and_evaluate(trainee)
        self._check_state(trainee)
        for size in self.sizes[1:]:
            self._try_last_batch(size)
        lost = self._try_checkpoint(trainee)
        if names := changed(trainee.model, before):
            lost = f"its {names} changes, and a checkpoint holds numbers and tensors alone"
        self._try_weights(trainee)
        return Found(lost, self.doubt)

    def _train_and_evaluate(self, trainee: _Trainee) -> None:
        drawn = []
        for _ in range(STEPS):
            trainee.train(self.images, self.labels)
            drawn.append(trainee.drawn)
        trainee.evaluate(self.images, self.labels)
        self._check_draws(drawn)

    # ---- what is tried ----------------------------------------------------------------------------------

    def _check_draws(self, drawn: list[dict[str, bytes]]) -> None:
        """Refuse a network that seeds a generator: after other seeds its state would be the same."""
        for name in drawn[0]:
            if len({states[name] for states in drawn}) < len(drawn):
                raise StudyError(
                    f"{self._where}: it seeds {name}'s generator itself, so all seeds of the study would "
                    "draw the same; remove that call: the harness seeds every generator"
                )

    def _check_outputs(self, model: nn.Module) -> None:
        """Refuse other outputs than a logit for each class; a tuple is allowed in training alone."""
        images = self.images.to(self.variant.device)
        for training, mode, count in ((False, "evaluation", 1), (True, "training", len(images))):
            model.train(training)
            with (
                self._saying(f"{mode}, on images of {tuple(images[:count].shape)}"),
                torch.no_grad(),
                autocast(self.variant.device, self.variant.precision),
            ):
                outputs = model(images[:count])
            for logits in logits_of(outputs) if training else [outputs]:
                self._check_logits(logits, mode, (count, len(self.variant.classes)))

    def _check_logits(self, logits: Any, mode: str, shape: tuple[int, int]) -> None:
        if not isinstance(logits, Tensor):
            found = type(logits).__name__
        elif tuple(logits.shape) != shape:
            found = f"a tensor of shape {tuple(logits.shape)}"
        elif not logits.is_floating_point():
            found = f"a tensor of {logits.dtype}"
        elif not logits.isfinite().all():
            found = "numbers that are not finite, before any training"
        elif (logits >= 0).all() and torch.allclose(
            logits.float().sum(1), torch.ones(()).to(logits.device), atol=0.01
        ):
            found = "probabilities, to which the loss would apply softmax again"
        else:
            return
        raise StudyError(
            f"{self._where}: in {mode} it gives {found}; expected logits of shape {shape}, "
            f"one for each of {shape[1]} classes"
        )

    def _check_state(self, trainee: _Trainee) -> None:
        """Refuse parameters that the optimizer does not have, and tensors that no file can hold."""
        trained = {id(each) for group in trainee.optimizer.param_groups for each in group["params"]}
        late = [name for name, each in trainee.model.named_parameters() if id(each) not in trained]
        if late:
            raise StudyError(
                f"{self._where}: its forward makes parameters ({', '.join(late[:3])}), which would not be "
                "trained; make them in __init__, by torch.nn.LazyLinear and the like where a size is unknown"
            )
        for name, value in trainee.model.state_dict().items():
            if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_quantized):
                raise StudyError(
                    f"{self._where}: its {name} is sparse or quantised, which model.safetensors cannot hold; "
                    "keep it as a dense tensor, and convert it in forward"
                )

    def _try_checkpoint(self, trainee: _Trainee) -> str:
        """Resume from a checkpoint, and train again from the start: both have to give the same weights.

        Returns:
            why a checkpoint does not do; empty where it does.
        """
        again = _Trainee(self.variant)
        with self._saying("training and evaluation"):
            self._train_and_evaluate(again)
        try:
            content = io.BytesIO()
            torch.save(trainee.state(), content)
            content.seek(0)
            state = torch.load(content, map_location="cpu", weights_only=True)
            resumed = _Trainee(self.variant)
            resumed.load_state(state)
        except Exception as error:
            return f"its state cannot be read back: {one_line(error, 200)}"
        with self._saying("training and evaluation"):
            for one in (trainee, again):
                self._train_and_evaluate(one)
        if self._content(trainee) != self._content(again):
            raise StudyError(
                f"{self._where}: trained twice from one seed, it gives two different networks; let it draw "
                "from torch's, numpy's or Python's global generator, and keep what changes inside of it"
            )
        try:  # several steps: that two parts of a network no longer share a tensor shows late
            self._train_and_evaluate(resumed)
        except Exception as error:  # whatever another's code raises
            return f"after a checkpoint it fails: {type(error).__name__}: {one_line(error, 200)}"
        if self._content(trainee) != self._content(resumed):
            return "after a checkpoint it trains on in another way"
        return ""

    def _content(self, trainee: _Trainee) -> bytes:
        """Return all that is kept of a network, as bytes: numbers that are not finite equal themselves."""
        with self._saying("saving its weights"):
            return weights_bytes(trainee.model, self.variant.network)

    def _try_weights(self, trainee: _Trainee) -> None:
        """Save, load, predict and explain, as the report does."""
        with self._saying("saving and loading its weights"):
            loaded, _ = network_of(weights_bytes(trainee.model, self.variant.network), "model.safetensors")
            loaded = loaded.to(memory_format=self.layout)  # type: ignore[call-overload]
            trained = trainee.model.to("cpu")
            trained.eval()
            with torch.no_grad():
                seed_generators(0)
                expected = trained(self.images).float()
                seed_generators(0)
                found = loaded(self.images).float()
                seed_generators(0)
                alone = loaded(self.images[-1:]).float()
            tolerance = 1e-3 * float(expected.abs().nan_to_num(0, 0, 0).max())
        if not torch.allclose(found, expected, rtol=1e-3, atol=tolerance, equal_nan=True):
            raise StudyError(
                f"{self._where}: loaded from its file, it gives other logits; keep what it learns in "
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
            except RunError:  # no maps: the report says so
                return
        with self._saying("attribution.layers: Grad-CAM"):
            coarse_maps(loaded, layers, self.images, targets)
            layer_maps(loaded, layers, self.images, targets)

    def _try_last_batch(self, size: int) -> None:
        data, last = self.variant.recipe.data, self.variant.last_batch
        try:
            _Trainee(self.variant).train(self.images[:size], self.labels[:size])
        except Exception as error:
            small = "1 image" if last == 1 else f"{last} images"
            place = self._where.rpartition("model.name")[0]
            raise StudyError(
                f"{place}data.batch_size: the last batch of an epoch has {small} "
                f"({self.variant.train_images} in batches of {data.batch_size}), on which the network fails: "
                f"{one_line(error, 120)}; choose another batch_size, or set data.drop_last = true"
            ) from None

    # ---- messages ---------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        place = "" if self.variant.name == "base" else f"variants.{self.variant.name}: "
        return f"{self.variant.study}: {place}model.name: {self.name}"

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        try:
            yield
        except StudyError:
            raise
        except Exception as error:  # whatever another's code raises
            kind = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
            raise StudyError(f"{self._where}: {what}: {kind}{one_line(error, 200)}") from None


class _Trainee:
    """A network with its optimizer and engines, as a run has them."""

    def __init__(self, variant: Variant, seed: int = 0) -> None:
        recipe, device = variant.recipe, variant.device
        with global_seed(seed, "rehearsal"):
            self.model = variant.new_network()
            self.drawn = generator_states()
        self.optimizer = create_optimizer(recipe.optimizer, self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE
        options = {"device": device, "memory_format": getattr(torch, variant.compute.memory_format)}
        loss, self.scaler = create_loss(recipe.loss, self.model), create_scaler(device, variant.precision)
        self.trainer = create_trainer(
            self.model, self.optimizer, loss, precision=variant.precision, scaler=self.scaler, **options
        )
        self.evaluators = [
            create_evaluator(self.model, precision=precision, **options)
            for precision in dict.fromkeys((variant.precision, "float32"))
        ]
        self.device, self.step = device, 0

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take a step; its draws depend on how many came before, and ``drawn`` tells where they ended."""
        self.step += 1
        seed_generators(self.step)
        self.trainer.run([(images.to(self.device), labels.to(self.device))], max_epochs=1)
        self.drawn = generator_states()

    def evaluate(self, images: Tensor, labels: Tensor) -> None:
        """Evaluate in the precision of the training, and in float32."""
        for evaluator in self.evaluators:
            evaluator.run([(images.to(self.device), labels.to(self.device))])

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of a network."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "outside": OutsideState(self.model).state_dict(),
            "step": self.step,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from what :meth:`state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        OutsideState(self.model).load_state_dict(state["outside"])
        self.step = state["step"]
