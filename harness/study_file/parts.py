"""The parts of a recipe that are tables of their own: data, network, optimizer, loss, Grad-CAM."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from harness.schema import Strict
from harness.study_file.values import Count, Rate, finite, unique

MAX_OPTIONS_TEXT = 10_000


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


class Named(BaseModel):
    """A table with a ``name`` from a registry or library and that entry's own options."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: str = Field(min_length=1, max_length=200)
    """Beside it stand this entry's own options."""

    @property
    def options(self) -> dict[str, Any]:
        """All values besides the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _options_are_plain(self) -> Self:
        if len(repr(self.options)) > MAX_OPTIONS_TEXT:  # every variant would be given a copy
            raise ValueError(f"options of more than {MAX_OPTIONS_TEXT} characters")
        finite(self.options)
        return self


class ModelConfig(Named):
    """The network; its options are those of its own class in :mod:`harness.models`."""

    name: str = Field("custom_resnet", min_length=1, max_length=200)
    """{MODELS}, or `package.module:function` of a package that is allowed."""


class OptimizerConfig(Named):
    """Any class of ``torch.optim`` with its own argument names; the rate comes from the schedule."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        options = self.options
        if "lr" in options:
            raise ValueError(
                "lr is set by [schedule] (lr_max, or lr where its kind is constant); remove it here"
            )
        for key in ("momentum", "betas", "dampening", "weight_decay"):
            values = options.get(key, [])
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ValueError(f"{key} must be a number, got {value!r}")
                if key == "weight_decay" and value < 0:
                    raise ValueError(f"weight_decay must be >= 0, got {value!r}")
                if key != "weight_decay" and not 0 <= value < 1:
                    raise ValueError(f"{key} must be in [0, 1), got {value!r}")
        return self


class Loss(Strict):
    """Cross-entropy on logits, with what the recipes add to it."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """As torch's `cross_entropy` has it."""
    l1: Rate = 0.0
    """Times the sum of all absolute parameter values, added to the loss."""


class Attribution(Strict):
    """The layers that Grad-CAM looks at, and for how many images."""

    layers: Annotated[list[str], Field(max_length=50), AfterValidator(unique)] = []
    """Names of the network's modules, as its `named_modules` has them."""
    images: Annotated[int, Field(ge=1, le=100)] = 25
    """Misclassified ones that are drawn, and of the evaluation split's first ones that are measured."""
