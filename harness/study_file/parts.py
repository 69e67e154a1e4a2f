"""The parts of a recipe that are tables of their own: data, network, optimizer, loss, Grad-CAM."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

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
    """Where the images come from and how many of them are used."""

    source: str = Field("digits", min_length=1, max_length=200)
    """{SOURCES}, or what an installed package registers; `digits` is embedded. `torchvision` stands before
    the name of one of its data sets, as in `torchvision:CIFAR100`. See your-own.md."""
    path: str | None = Field(None, min_length=1, max_length=4096)
    """Inside the data folder, for sources that need one."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Pixels: the shorter side is resized to it and the middle square cut out."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits a channel that 16-bit images really use, such as 12; needed where all their values are low."""
    options: dict[str, Any] | None = None
    """Of a `torchvision` data set its arguments, such as `{ split = "letters" }` for EMNIST; of `datasets`
    the columns, such as `{ image = "img", label = "coarse_label" }`, where the usual ones are not meant."""
    cluster: str | None = Field(None, min_length=1, max_length=1000)
    """What images of one film or patient share: for `parquet` a column; for `image_folder` a regular
    expression, whose first group is looked for in each file's path below the split. See your-own.md."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 512
    """Images a step; an epoch's last batch may be smaller."""
    drop_last: bool = False
    """Leave out an epoch's last batch where it is smaller; in each epoch that is other images."""
    sampler: str | None = Field(None, min_length=1, max_length=200)
    """Draws each epoch's train images: `balanced` with replacement, all classes equally often on average;
    or `package.module:function` of a package that is allowed. Without it an epoch has each image once."""
    holdout: Count | None = None
    """Train images set aside and evaluated on instead of the test split, which then stays closed."""
    holdout_draws: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Draw so many hold-outs: the run with seed i takes number i modulo `holdout_draws`; without it all runs
    share one."""
    train_limit: Count | None = None
    """So many train images only, as equally over the classes as can be, after the hold-out is taken."""
    test_limit: Count | None = None
    """The same of the images evaluated on."""

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
    """Beside it stand this entry's own options."""


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
    """The network; its options are those of its own class in :mod:`harness.models`."""

    name: str = Field("custom_resnet", min_length=1, max_length=200)
    """{MODELS}, `timm:` and the name of a network of timm, or `package.module:function` of a package that is
    allowed."""
    pretrained: str | None = Field(None, min_length=1, max_length=4096)
    """A file of weights that training starts from, instead of drawing them: a finished run's
    `model.safetensors`, or the network's `state_dict` in safetensors or torch's format. What has a row for
    each class is drawn anew where the numbers of classes differ. Seen from the current folder."""

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
    """Parameters that are trained in another way than the others, found by their names and modules.

    A parameter belongs to the first group that it matches. Further keys are options of the optimizer.
    """

    match: Pattern | Patterns | None = None
    """Names of parameters, in which `*` stands for any text: `"*.bias"`, or a list of such."""
    type: Pattern | Patterns | None = None
    """Classes of the modules that have the parameters, or a list of such, with their subclasses:
    `"BatchNorm2d"`, `"*Norm*"`. With `match` a parameter has to fit both."""
    lr_factor: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """The schedule's rate is multiplied by it."""
    frozen: bool = False
    """Do not train them; a batch norm's running statistics still follow the batches."""

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
    """Any class of ``torch.optim`` with its own argument names; the rate comes from the schedule."""

    name: str = Field(min_length=1, max_length=200)
    """A class of `torch.optim`, or `package.module:class` of a package that is allowed; beside it stand its
    own options."""
    groups: Annotated[list[ParameterGroup], Field(max_length=100)] = []
    """Parameters with a rate or options of their own, or frozen; all others have those of this table."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Scale the gradient of a step down to this norm where its own, over all parameters, is larger: torch's
    `clip_grad_norm_`."""
    accumulate: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Batches that share a step of the optimizer, whose gradient is that of the mean loss over all their
    images. An epoch's last step takes the batches that are left. Schedule, range test and `averaging.every`
    count batches; a step uses the rate of its last batch. Batch norm sees the single batches, and with
    `loss.class_weights` each batch counts by its images."""

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
    """The loss of logits and labels: cross-entropy, one of torch's own by name, or yours by import path.

    Train images alone have it; the loss of an evaluation is plain cross-entropy.
    """

    name: str = Field(CROSS_ENTROPY, min_length=1, max_length=200)
    """A loss of `torch.nn` that takes logits (N, C) and labels (N,), or `package.module:name` of a package
    that is allowed: a function of logits and labels that gives the batch's mean, or a class of such."""
    options: Annotated[dict[str, Any], BeforeValidator(finite)] = {}
    """Arguments of the loss, by their own names."""
    class_weights: (
        Literal["balanced"] | Annotated[list[float], Field(min_length=2, max_length=100_000)] | None
    ) = None
    """Weights of the classes, by label, as torch's `weight` has them; or `"balanced"`: each class has the
    weight N / (C n), with n of a run's own N train images in C classes."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """As torch's `cross_entropy` has it."""
    l1: Rate = 0.0
    """Times the sum of all absolute parameter values, added to the loss."""

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
    """The layers that Grad-CAM looks at, and for how many images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(unique)] = []
    """Names of the network's modules, as its `named_modules` has them."""
    images: Annotated[int, Field(ge=1, le=100)] = 25
    """Misclassified ones that are drawn, and of the evaluation split's first ones that are measured."""
