"""Options and arguments that do not exist: what to write instead."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.messages import keys_ending_in, nearest, one_line, plain_name, usual_keys
from harness.schema import dotted_keys
from harness.study_file.config import Study
from harness.study_file.variants import DISCRIMINATORS

# Each row: names that other programs use, the option here, and its value where it is not the given one.
_ROWS = (
    ("gpu gpu_id gpu_ids cuda_device g", "device", "cuda:{}"),
    ("cuda use_cuda use_gpu accelerator", "device", "cuda"),
    ("cpu no_cuda no_gpu", "device", "cpu"),
    ("gpus n_gpus num_gpus n_gpu ngpus nproc_per_node world_size num_devices", "devices", None),
    ("output output_dir outdir output_path results results_dir save_dir log_dir logdir o", "out", None),
    ("data_dir datadir data_path data_root dataset_dir root d", "data", None),
    ("seed random_seed random_state manual_seed s", "seeds", None),
    ("num_seeds nseeds n_runs num_runs runs repeats repeat trials", "n-seeds", None),
    ("num_workers n_workers jobs n_jobs num_jobs j parallel processes max_workers nproc", "workers", None),
    ("fp16 half use_fp16", "precision", "float16"),
    ("bf16 use_bf16", "precision", "bfloat16"),
    ("fp32 no_amp", "precision", "float32"),
    ("amp mixed_precision use_amp autocast", "precision", "auto"),
    ("wandb use_wandb", "tracker", "wandb"),
    ("mlflow use_mlflow", "tracker", "mlflow"),
    ("tensorboard use_tensorboard tb", "tracker", "tensorboard"),
    ("logger report_to log_to", "tracker", None),
    ("override overrides cfg_options hparams param params", "set", None),
    ("dryrun preview check", "dry-run", ""),
    ("silent q no_progress", "quiet", ""),
    ("overwrite rerun f", "force", ""),
    ("report plot plots evaluate eval eval_only test test_only figures_only", "report-only", ""),
    ("onnx", "export", "onnx"),
    ("profiler trace", "profile", ""),
    ("studies list_studies ls", "list", ""),
    ("format image_format", "figures", None),
)
_OPTIONS = {name: (option, value) for names, option, value in _ROWS for name in names.split()}
# Names of options that are not needed, and why.
_ANSWERS = (
    ("resume continue restore restart auto_resume ckpt", "run the same command again to resume"),
    (
        "config cfg c config_file study study_file file recipe",
        "write the study's name or path without an option",
    ),
    ("verbose v debug log_level loglevel verbosity", "leave it out; progress is shown without it"),
    ("deterministic benchmark cudnn_benchmark", "leave it out; runs are deterministic"),
    ("no_download download", "leave it out; CIFAR-10 is downloaded only where --data has none"),
    ("compare", "compare results with python -m harness.compare A B"),
)
_SENTENCES = {name: sentence for names, sentence in _ANSWERS for name in names.split()}
# Keys of the study file that take a table or a list; what `--set` would be given is none.
_ONLY_IN_FILES = {"extends", "grid", "random", "search", "variants", "references", "augment", "augment.train"}
# Tables, and the key that a single value is for.
_MEANT = {**{table: f"{table}.{key}" for table, key in DISCRIMINATORS.items()}, "target": "target.accuracy"}


def option_hint(option: str, arguments: Sequence[str], known: Mapping[str, bool]) -> str:
    """Return what to write instead of an option that the command does not have.

    Args:
        option: as click names it, such as ``--epochs`` or ``-e``.
        arguments: all words of the command line.
        known: names of the command's options, without dashes, and whether each takes a value.
    """
    name, value = _as_given(option, arguments)
    shown = "VALUE" if value is None else value

    def write(option: str, template: str | None) -> str:
        text = shown if template is None else template.format("0" if value is None else value)
        return f"--{option} {_quoted(text)}" if known[option] else f"--{option}"

    hint = _hint(name, known, write, lambda key: f"--set {_quoted(f'{key}={shown}')}")
    return hint or "; --help lists the options"


def argument_hint(name: str, value: Any, known: Iterable[str]) -> str:
    """Return what to write instead of an argument that ``harness.run`` does not have."""

    def write(option: str, template: str | None) -> str:
        text: Any = True if template == "" else value if template is None else template.format(value)
        return f"{option.replace('-', '_')}={one_line(repr(text), 80)}"

    hint = _hint(name, known, write, lambda key: f"settings={{{key!r}: {one_line(repr(value), 80)}}}")
    return hint or "; help(harness.run) lists them"


def _hint(
    name: str, known: Iterable[str], write: Callable[[str, str | None], str], setting: Callable[[str], str]
) -> str:
    word, known = name.lstrip("-").replace("-", "_").lower(), sorted(known)
    begun = [each for each in known if each.replace("-", "_").startswith(word)]
    if len(word) > 2 and len(begun) == 1:
        return f"; write {write(begun[0], None)}"
    if word in _SENTENCES:
        return f": {_SENTENCES[word]}"
    near = nearest(word, known)
    if near is not None and plain_name(near) == plain_name(word):
        return f"; write {write(near, None)}"
    option, value = _OPTIONS.get(word, ("", None))
    if option in known or option.replace("-", "_") in known:
        return f"; write {write(option, value)}"
    keys = list(dotted_keys(Study, None))
    found = list(usual_keys(word)[:1]) or ([word] if word in keys else keys_ending_in(word, keys))
    if not found and near is not None:
        return f"; write {write(near, None)}"
    found = found or [key for key in [nearest(word, keys, 0.75)] if key is not None]
    if found and found[0] in _ONLY_IN_FILES:
        return f"; write {found[0]} in the study file: docs/study-file.md"
    named = [_MEANT.get(key, key) for key in found]
    return f"; write {' or '.join(map(setting, named[:4]))}" if found else ""


def _as_given(option: str, arguments: Sequence[str]) -> tuple[str, str | None]:
    """Return an option as it was written, and its value: of ``-epochs 3`` click names only ``-e``."""
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name != option and (
            option.startswith("--") or word.startswith("--") or not word.startswith(option)
        ):
            continue
        if equals:
            return name, value
        if name != option and name[2:].isdigit():
            return option, name[2:]
        following = arguments[at + 1] if at + 1 < len(arguments) else "-"
        return name, None if following.startswith("-") and not following[1:2].isdigit() else following
    return option, None


def _quoted(text: str) -> str:
    """Quote what a shell would split or expand."""
    return shlex.quote(one_line(text, 200))
