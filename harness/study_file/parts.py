"""The parts of a recipe that are tables of their own: data, network, optimizer, loss, Grad-CAM."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from harness.schema import Strict
from harness.study_file.values import Count, Rate, finite, unique

MAX_OPTIONS_TEXT = 10_000
CROSS_ENTROPY = "CrossEntropyLoss"


class DataConfig(Strict):
    """The images: their source and number."""

    source: str = Field("digits", min_length=1, max_length=200)
    """{SOURCES}, or what an installed package registers; `digits` is embedded. A data set
    of torchvision is written `torchvision:CIFAR100`. See your-own.md."""
    path: str | None = Field(None, min_length=1, max_length=4096)
    """Path in the data directory, for sources that need one."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Size in pixels: the shorter side is resized to it, then the centre square is cropped."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits per channel that 16-bit images really use, such as 12; required if all their values are low."""
    options: dict[str, Any] | None = None
    """Arguments of a `torchvision` data set, such as `{ split = "letters" }` for EMNIST; or the columns of a
    `datasets` folder, such as `{ image = "img", label = "coarse_label" }`."""
    cluster: str | None = Field(None, min_length=1, max_length=1000)
    """Groups of related images, such as those of one patient. For `parquet`: a column. For `image_folder`: a
    regular expression; its first group in each file's path below the split is the cluster. See
    your-own.md."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 512
    """Images per batch; the last batch of an epoch may be smaller."""
    drop_last: bool = False
    """Leave out the last batch of an epoch if it is smaller. These are different images in each epoch."""
    sampler: str | None = Field(None, min_length=1, max_length=200)
    """Sampler of each epoch's train images: `balanced` draws with replacement, all classes equally often on
    average; or `package.module:function` of an allowed package. By default an epoch has each image once."""
    holdout: Count | None = None
    """Number of train images to hold out. They are evaluated instead of the test split, which is not read."""
    holdout_draws: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Number of different hold-outs: the run with seed i uses number i modulo `holdout_draws`. By default all
    runs share one hold-out."""
    train_limit: Count | None = None
    """Use only this number of train images, spread equally over the classes, after the hold-out."""
    test_limit: Count | None = None
    """The same for the evaluated images."""

    @model_validator(mode="after")
    def _cluster_is_a_rule(self) -> Self:
        if self.cluster is not None and self.source == "image_folder":
            example = "such as '^[^/]+/([^_]+)_', what stands before the first _ of a file's name"
            try:
                groups = re.compile(self.cluster).groups
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"cluster is no regular expression ({error}); {example}") from None
            if not groups:
                raise ValueError(f"cluster has no group in brackets, {example}")
        return self


class WithOptions(BaseModel):
    """A table with keys of ours and further ones, which a library checks."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @property
    def options(self) -> dict[str, Any]:
        """All values besides our keys."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _options_are_plain(self) -> Self:
        if len(repr(self.options)) > MAX_OPTIONS_TEXT:  # every variant would be given a copy
            raise ValueError(f"options of more than {MAX_OPTIONS_TEXT} characters")
        finite(self.options)
        return self


class Named(WithOptions):
    """A table with a ``name`` from a registry or library and that entry's own options."""

    name: str = Field(min_length=1, max_length=200)
    """The other keys of this table are its own options."""


def model_table(given: Any) -> Any:
    """Return the table ``model`` of a class or function, alone or as its name; another value as it is.

    Raises:
        ValueError: it cannot be named: see :func:`harness.cells.import_path`.
    """
    table = given if isinstance(given, dict) else {"name": given}
    if not callable(table.get("name")):
        return given
    from harness.cells import import_path

    path, options = import_path(table["name"])
    return {**options, **table, "name": path}


class ModelConfig(Named):
    """The network and its options."""

    # of custom_resnet; named here because its own class needs torch
    USUAL_OPTIONS: ClassVar = (
        "width", "dropout", "dropout_kind", "conv_bias", "fc_bias", "residual", "head", "logit_scale",
        "bn_momentum", "ghost_batch", "bn_scale", "activation", "celu_alpha", "whitening", "whitening_eps",
    )  # fmt: skip

    name: str = Field("custom_resnet", min_length=1, max_length=200)
    """{MODELS}, `timm:` and the name of a network of timm, or `package.module:function` of an allowed
    package."""
    pretrained: str | None = Field(None, min_length=1, max_length=4096)
    """A file of initial weights: `model.safetensors` of a finished run, or the network's `state_dict` in the
    format of safetensors or torch. If the number of classes differs, the weights with a row per class are
    initialised as usual. The path is relative to the current folder."""

    @model_validator(mode="before")
    @classmethod
    def _of_code(cls, given: Any) -> Any:
        return model_table(given)

    @field_validator("pretrained", mode="before")
    @classmethod
    def _is_a_file(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("nothing is downloaded in a study; name a file of weights: see docs/your-own.md")
        return None if value is False else value


def _check_ranges(options: dict[str, Any]) -> None:
    """Check the values of an optimizer's usual options."""
    for key in ("momentum", "betas", "dampening", "weight_decay"):
        values = options.get(key, [])
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{key} must be a number, got {value!r}")
            if key == "weight_decay" and value < 0:
                raise ValueError(f"weight_decay must be >= 0, got {value!r}")
            if key != "weight_decay" and not 0 <= value < 1:
                raise ValueError(f"{key} must be in [0, 1), got {value!r}")


Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=1000)]


class ParameterGroup(WithOptions):
    """Parameters with their own learning rate, optimizer options, or frozen, selected by name and module.

    A parameter belongs to the first group that it matches. Other keys are options of the optimizer.
    """

    match: Pattern | Patterns | None = None
    """Names of parameters, where `*` matches any text: `"*.bias"`, or a list of such patterns."""
    type: Pattern | Patterns | None = None
    """Classes of the modules that own the parameters, with subclasses: `"BatchNorm2d"`, `"*Norm*"`, or a list
    of such patterns. With `match`, a parameter has to match both."""
    lr_factor: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """Factor on the learning rate of the schedule."""
    frozen: bool = False
    """Do not train these parameters. Running statistics of batch norm are still updated."""

    @property
    def names(self) -> list[str]:
        """Return the patterns of ``match``."""
        return [self.match] if isinstance(self.match, str) else self.match or []

    @property
    def types(self) -> list[str]:
        """Return the patterns of ``type``."""
        return [self.type] if isinstance(self.type, str) else self.type or []

    @property
    def patterns(self) -> str:
        """Return what it matches, in words."""
        return " of ".join(", ".join(patterns) for patterns in (self.names, self.types) if patterns)

    @property
    def treatment(self) -> str:
        """Return what is done with its parameters, in words."""
        if self.frozen:
            return "frozen"
        options = [f"{key} {value}" for key, value in self.options.items()]
        factor = [f"rate x {self.lr_factor:g}"] if self.lr_factor != 1 else []
        return ", ".join([*factor, *options]) or "as all others"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.match is None and self.type is None:
            raise ValueError('expected match, such as "*.bias", or type, such as "BatchNorm2d"')
        if self.frozen and (self.options or self.lr_factor != 1):
            raise ValueError("frozen = true leaves nothing to set; remove lr_factor and other options")
        if "lr" in self.options:
            raise ValueError("lr is set by [schedule]; write lr_factor, which multiplies it")
        _check_ranges(self.options)
        return self


class OptimizerConfig(Named):
    """A class of ``torch.optim`` with its own arguments; the learning rate comes from the schedule."""

    USUAL_OPTIONS: ClassVar = ("momentum", "dampening", "nesterov", "weight_decay", "betas", "eps")

    name: str = Field(min_length=1, max_length=200)
    """A class of `torch.optim`, or `package.module:class` of an allowed package. The other keys are its own
    options."""
    groups: Annotated[list[ParameterGroup], Field(max_length=100)] = []
    """Parameters with their own learning rate or options, or frozen."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Clip the gradient's norm over all parameters to this value: torch's `clip_grad_norm_`."""
    accumulate: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Gradient accumulation: number of batches per optimizer step. The gradient is that of the mean loss over
    all their images. The last step of an epoch takes the remaining batches. Schedule, range test and
    `averaging.every` count batches; a step uses the learning rate of its last batch. Batch norm sees single
    batches. With `loss.class_weights`, each batch counts by its number of images."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if "lr" in self.options:
            raise ValueError(
                "lr is set by [schedule] (lr_max, or lr where its kind is constant); remove it here"
            )
        _check_ranges(self.options)
        return self

    def of_group(self, group: ParameterGroup) -> Self:
        """Return the settings that a group's parameters have."""
        return self.model_validate({"name": self.name, **self.options, **group.options})


class Loss(Strict):
    """The training loss: cross-entropy, another loss of torch, or your own by import path.

    The loss of an evaluation is always plain cross-entropy.
    """

    name: str = Field(CROSS_ENTROPY, min_length=1, max_length=200)
    """A loss of `torch.nn` that takes logits (N, C) and labels (N,); or `package.module:name` of an allowed
    package: a function of logits and labels that returns the mean of the batch, or a class of such."""
    options: Annotated[dict[str, Any], BeforeValidator(finite)] = {}
    """Arguments of the loss, by their own names."""
    class_weights: (
        Literal["balanced"] | Annotated[list[float], Field(min_length=2, max_length=100_000)] | None
    ) = None
    """Weights of the classes in the order of the labels, as torch's `weight`; or `"balanced"`: the weight of
    a class is N / (C n), with n of the run's N train images in this class, and C classes."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing, as in torch's `cross_entropy`."""
    l1: Rate = 0.0
    """L1 penalty: factor on the sum of all absolute parameter values."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for option, key in (("weight", "class_weights"), ("label_smoothing", "label_smoothing")):
            if option in self.options:
                raise ValueError(f"options.{option}: write loss.{key} instead")
        for weight in self.class_weights if isinstance(self.class_weights, list) else []:
            if not 0 < weight <= 1e6:
                raise ValueError(f"class_weights: each must be above 0 and at most 1e6, got {weight:g}")
        if "reduction" in self.options:
            raise ValueError("options.reduction: it is the mean; remove it")
        if "ignore_index" in self.options:
            raise ValueError("options.ignore_index: every image counts; loss.class_weights weighs classes")
        return self


class Attribution(Strict):
    """Grad-CAM: its layers and the number of images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(unique)] = []
    """Names of the network's modules, as in `named_modules`."""
    images: Annotated[int, Field(ge=1, le=100)] = 25
    """Number of misclassified images that are drawn; also the number of first evaluated images that are
    measured."""
