"""The command: load studies, plan them, launch what is missing, report. ``python -m harness.study --help``"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

import harness
from harness.analysis.numbers import plus_minus
from harness.console import (
    EXIT_RUN_FAILED,
    EXIT_TARGET_MISSED,
    complain,
    plain,
    run_command,
    tell,
    torchrun_place,
)
from harness.errors import DataError, RunError, StudyError
from harness.export import parse_exports
from harness.messages import one_line
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed
from harness.study_file.config import MAX_SEEDS, Recipe, Study
from harness.study_file.load import builtin_studies, known_results, load_study

if TYPE_CHECKING:
    from harness.analysis.findings import Findings
    from harness.data.arrays import Data
    from harness.plan import Plan
    from harness.trackers import Guarded
    from harness.training.progress import Say

FORMATS = ("svg", "pdf")  # of figures, beside PNG


def parse_seeds(text: str) -> list[int]:
    """``"0,1,5-7"`` -> ``[0, 1, 5, 6, 7]``.

    Raises:
        StudyError: not seeds, or one named twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        digits = max(len(first), len(last))
        numbers = part.isascii() and first.isdecimal() and (last.isdecimal() or not dash)
        if not numbers or digits > 16:
            raise StudyError(f"--seeds {one_line(text, 80)}: expected seeds such as 0,1,2 or 0-4")
        low, high = int(first), int(last or first)
        if high < low or len(seeds) + high - low >= MAX_SEEDS:
            raise StudyError(
                f"--seeds {one_line(text, 80)}: {part.strip()} is not a range of rising seeds, "
                f"or there are more than {MAX_SEEDS}"
            )
        seeds += range(low, high + 1)
    twice = next((seed for seed, times in Counter(seeds).items() if times > 1), None)
    if twice is not None:
        raise StudyError(f"--seeds {one_line(text, 80)}: seed {twice} is named twice")
    return seeds


def parse_formats(text: str) -> list[str]:
    """``"svg,pdf"`` -> ``["svg", "pdf"]``.

    Raises:
        StudyError: neither of these.
    """
    formats = list(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if any(name not in FORMATS for name in formats):
        raise StudyError(
            f"--figures {one_line(text, 80)}: expected svg, pdf or svg,pdf; PNGs are always written"
        )
    return formats


class Images:
    """The data of recipes, each loaded once and kept while it is in use."""

    def __init__(self, root: Path | None, *, download: bool, progress: bool) -> None:
        self.root = root
        self.options = {"download": download, "progress": progress}
        self.loaded: dict[str, Data] = {}

    def __getstate__(self) -> dict[str, Any]:
        """On its way to another process without the images: that loads its own."""
        return {**self.__dict__, "loaded": {}}

    def __call__(self, recipe: Recipe) -> Data:
        """The train and evaluation images of a recipe."""
        from harness.data import default_root, load_data

        config = recipe.data
        key = config.model_dump_json(exclude={"batch_size", "drop_last"})
        if key not in self.loaded:
            self.loaded[key] = load_data(
                config.source,
                self.root or default_root(),
                path=config.path,
                image_size=config.image_size,
                bits=config.bits,
                holdout=config.holdout,
                train_limit=config.train_limit,
                test_limit=config.test_limit,
                **self.options,
            )
        return self.loaded[key]


def _complete_study(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Built-in studies, then files."""
    names = [CompletionItem(name) for name in builtin_studies() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def _complete_variants(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those of the studies that stand before, after the last comma."""
    earlier, comma, last = incomplete.rpartition(",")
    names: list[str] = []
    for study in context.params.get("studies") or context.args:
        with suppress(StudyError):
            names += load_study(study).recipes
    return [CompletionItem(f"{earlier}{comma}{name}") for name in names if name.startswith(last)]


def _complete_from(*names: str) -> Callable[..., list[CompletionItem]]:
    """What an option's value can be, where a wrong one has an error of our own."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("studies", nargs=-1, metavar="[STUDY]...", shell_complete=_complete_study)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Where results go: DIR/<study>/.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where data lies. [default: $HARNESS_DATA, else the user's cache directory]",
)
@click.option("--seeds", metavar="LIST", help="The seeds themselves: 0,1,2 or 0-4. [default: the study's]")
@click.option(
    "--variants",
    metavar="A,B",
    shell_complete=_complete_variants,
    help="Only these variants. [default: all]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the study, such as schedule.epochs=2; VALUE is TOML. Repeatable.",
)
@click.option(
    "--launcher",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=_complete_from("auto", "serial", "process", "ray"),
    help="Who executes the runs: serial, one after another; process, several at once; auto, the faster "
    "of these two, by timing; ray, a cluster.",
)
@click.option(
    "--workers",
    metavar="N",
    help="Runs at once, or auto. [default: auto; with ray, as many as the cluster has room for]",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="The Ray cluster. [default: $RAY_ADDRESS, else one of this machine, for this command]",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps."
)
@click.option(
    "--devices",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Devices that share each run, with a part of every batch each.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Instead of the study's.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PACKAGE",
    help="Let studies name networks in this package: docs/your-own.md. Repeatable.",
)
@click.option("--figures", metavar="LIST", help="Figures also as svg, pdf or svg,pdf. [default: PNG alone]")
@click.option(
    "--export",
    metavar="LIST",
    help="Finished networks also as safetensors, torchscript or onnx, with a model card: docs/export.md.",
)
@click.option(
    "--tracker",
    metavar="NAME",
    shell_complete=_complete_from("tensorboard", "mlflow"),
    help="Also show the runs in tensorboard or mlflow.",
)
@click.option("--list", "list_", is_flag=True, help="List the built-in studies.")
@click.option("--dry-run", is_flag=True, help="Show plan, cost and what is already there; do nothing.")
@click.option("--json", "json_", is_flag=True, help="--list and --dry-run for machines.")
@click.option("--report-only", is_flag=True, help="Rebuild tables, figures and report from the runs on disk.")
@click.option("--force", is_flag=True, help="Move runs of another configuration aside instead of refusing.")
@click.option("--require-target", is_flag=True, help="Exit with 3 where a study misses its target.")
@click.option(
    "--profile", is_flag=True, help="Leave in each new run's profile/ where its time went, and its speed."
)
@click.option("--quiet", is_flag=True, help="Only the verdict.")
@click.version_option(harness.__version__, prog_name="harness")
def command(studies: tuple[str, ...], **options: Any) -> None:
    """Train every variant of a STUDY with every seed, and report mean and std against its target.

    A STUDY is a built-in study's name or the path of a study file; with none, the embedded quickstart.
    The same command goes on where an earlier one ended.

    \b
    Examples:
      python -m harness.study                                    the quickstart, on embedded data
      python -m harness.study onecycle --data DIR --seeds 0-4    five seeds on CIFAR-10
      python -m harness.study my.toml --set schedule.epochs=3    a trial of your own study
      python -m harness.study onecycle --dry-run                 what it would do, and what it costs

    \b
    Exit status: 0 every run finished; 1 a run failed; 2 the request is wrong; 3 target missed
    (with --require-target); 130 interrupted, the same command goes on.
    """
    sys.exit(answer(studies or ("quickstart",), options))


def answer(names: tuple[str, ...], options: dict[str, Any]) -> int:
    """Do what was asked; the exit status."""
    from harness.models.imported import allow

    allow(options["allow"], [Path(name).parent for name in names])
    if (place := torchrun_place()) is not None and place[0] > 0:
        return _follow(len(names), options)
    if options["list_"]:
        _list(options["json_"])
        return 0
    _check(options)
    if options["variants"] is not None:
        options["variants"] = [name.strip() for name in options["variants"].split(",")]
    options["formats"] = [] if options["figures"] is None else parse_formats(options["figures"])
    options["formats_exported"] = [] if options["export"] is None else parse_exports(options["export"])
    seeds = parse_seeds(options["seeds"]) if options["seeds"] is not None else None
    loaded = [
        load_study(name, settings=options["settings"], seeds=seeds, precision=options["precision"])
        for name in names
    ]
    for at, study in enumerate(loaded):
        if study.name in [earlier.name for earlier in loaded[:at]]:
            raise StudyError(f"two of the studies are named {study.name!r} and would share a folder")
    for study in loaded:
        if study.search is not None:
            from harness.search import check_search

            check_search(study, options["devices"])
    if options["dry_run"]:
        from harness.preview import Preview, as_json, as_text

        images = Images(options["data"], download=False, progress=False)
        previews = [
            Preview(
                study,
                StudyFolder(options["out"], study.name),
                images,
                options["variants"],
                options["device"],
                options["devices"],
            )
            for study in loaded
        ]
        tell(as_json(previews) if options["json_"] else as_text(previews))
        return 0
    return _work(loaded, options)


def _check(options: dict[str, Any]) -> None:
    """Options that click cannot judge.

    Raises:
        StudyError: in one line.
    """
    from harness.launch import check_launcher, parse_workers
    from harness.trackers import check_tracker

    if options["json_"] and not options["dry_run"]:
        raise StudyError("--json: goes with --list or --dry-run")
    workers = options["workers"] = parse_workers(options["workers"])
    if workers is not None and workers > 1 and options["launcher"] == "serial":
        raise StudyError(f"--workers {workers}: the serial launcher runs one at a time; --launcher process")
    if options["ray_address"] is not None:
        if options["launcher"] != "ray":
            raise StudyError("--ray-address: goes with --launcher ray")
        os.environ["RAY_ADDRESS"] = options["ray_address"]  # where Ray itself looks for it
    _check_devices(options)
    if options["tracker"] is not None:
        check_tracker(options["tracker"])
        nodes = options["launcher"] == "ray"
        if nodes and options["tracker"] == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise StudyError(
                "--tracker mlflow with --launcher ray: nodes need a server; set MLFLOW_TRACKING_URI"
            )
    data = options["data"]
    if data is not None and not os.path.isdir(data):
        raise DataError(f"--data {data}: no such folder")
    check_launcher(options["launcher"])


def _follow(studies: int, options: dict[str, Any]) -> int:
    """As a process that torchrun has started: its part of the runs; all else is the first one's."""
    if not any(options[name] for name in ("list_", "dry_run", "report_only")):
        from harness.device import resolve_device
        from harness.launch import followers

        for _ in range(studies):
            followers.follow(
                resolve_device(options["device"]), Images(options["data"], download=False, progress=False)
            )
    return 0


def _check_devices(options: dict[str, Any]) -> None:
    """``--devices``, or as many as torchrun has started."""
    if (place := torchrun_place()) is not None:
        started = place[1]
        if options["devices"] not in (1, started):
            raise StudyError(f"--devices {options['devices']}: torchrun has started {started}")
        options["devices"] = started
    devices = options["devices"]
    if devices < 1:
        raise StudyError(f"--devices {devices}: expected at least 1")
    if devices > 1:
        from harness.device import resolve_device
        from harness.launch.followers import check

        if options["launcher"] not in ("auto", "serial") or options["workers"] not in (None, 1):
            raise StudyError(
                f"--devices {devices}: one run at a time; leave out --workers, use --launcher auto or serial"
            )
        check(resolve_device(options["device"]), devices)


def _work(studies: list[Study], options: dict[str, Any]) -> int:
    """Plan all studies before the first begins, so that a mistake in the last one costs nothing."""
    from harness.launch.job import check_folders, check_plan
    from harness.plan import choose_variants
    from harness.search import with_trials
    from harness.training.progress import say, silent

    speak = silent if options["quiet"] else say
    images = Images(options["data"], download=not options["report_only"], progress=not options["quiet"])
    folders = [StudyFolder(options["out"], study.name) for study in studies]
    for folder in folders:
        folder.check_writable()
    chosen = [options["variants"]] * len(studies)
    for at, (study, folder) in enumerate(zip(studies, folders, strict=True)):
        # a search's report, and its variants by their names, are about the trials that there are
        if study.search is not None and (options["report_only"] or options["variants"] is not None):
            studies[at], whole = with_trials(study, folder)
            chosen[at] = options["variants"] or whole
        elif study.search is not None and not options["force"]:
            with_trials(study, folder)  # another search's are refused before any work
    chosen = [choose_variants(study, names) for study, names in zip(studies, chosen, strict=True)]
    status = 0
    if options["report_only"]:
        for folder in folders:
            if not folder.path.is_dir():
                raise StudyError(f"--report-only: there is no {folder.path} to report on; --out says where")
            if (folder.path / "report.json").is_file() and not folder.runs():
                raise StudyError(f"--report-only: {folder.path} has a report and no runs; it stays as it is")
        for study, folder, variants in zip(studies, folders, chosen, strict=True):
            status = max(status, _report(study, folder, variants, images, options))
            status = max(status, _export(study, folder, variants, options))
        return status
    plans = [_plan(study, folder, images, options) for study, folder in zip(studies, folders, strict=True)]
    plans = [check_plan(plan, images, speak) for plan in plans]
    for plan in plans:
        check_folders(plan, force=options["force"], say=speak)
    for plan in plans:
        status = max(status, _carry_out(plan, images, options, speak))
    if len(plans) > 1 and not options["quiet"]:
        tell(f"all studies: {options['out'] / 'index.html'}")
    return status


def _carry_out(plan: Plan, images: Images, options: dict[str, Any], speak: Say) -> int:
    """Run, search, report, export; the exit status."""
    from harness.launch.job import check_folders, check_plan
    from harness.search import search
    from harness.trackers import get_tracker

    study, names = plan.study, [variant.name for variant in plan.variants]
    tracker = get_tracker(options["tracker"]) if options["tracker"] else None
    if study.search is None:  # a search's trials are not known yet
        plan.folder.write_study(_reported(study, plan.folder).to_toml())
    speak(_opening(plan))
    if tracker is not None:
        tracker.begin(plan, speak)

    def execute(plan: Plan) -> int:
        return _execute(plan, images, options, speak, tracker)

    def execute_some(study: Study, names: list[str]) -> int:
        some = _plan(study, plan.folder, images, {**options, "variants": names})
        some = check_plan(some, images, speak)
        check_folders(some, force=options["force"], say=speak)
        return execute(some)

    if study.search is None:
        status = execute(plan)
    else:
        study, names, status = search(plan, execute_some, speak, force=options["force"])
    status = max(status, _report(study, plan.folder, names, images, options))
    status = max(status, _export(study, plan.folder, names, options))
    if tracker is not None:
        from harness.report.index import REPORT  # drawing libraries, half a second: not before the runs

        tracker.report(plan.folder, (read_sealed(plan.folder.path / REPORT) or {})["variants"], speak)
    return status


def _execute(plan: Plan, images: Images, options: dict[str, Any], speak: Say, tracker: Guarded | None) -> int:
    """Run what is missing of a plan; a line for every run that could not be done."""
    from harness.bar import no_bar_left
    from harness.device import resolve_device
    from harness.launch import followers, get_launcher
    from harness.launch.job import Job, find_rates

    devices = options["devices"]
    launcher, workers, threads = _team(plan, options, speak)
    job = Job(plan, images, threads, speak, options["profile"], tracker)
    if devices > 1:  # a range test is one device's work
        job = replace(
            job, rates={variant.name: find_rates(job, variant, wait=True) for variant in plan.variants}
        )
    with no_bar_left(), followers.lead(devices, resolve_device(options["device"]), images):
        lost = _lost(plan, get_launcher(launcher)(job, workers))
    for line in lost:
        complain(line)
    return EXIT_RUN_FAILED if lost else 0


def _team(plan: Plan, options: dict[str, Any], speak: Say) -> tuple[str, int | None, int]:
    """The launcher, runs at once and threads of each: as asked for, or as is fastest."""
    from harness.device import threads_for
    from harness.launch.auto import choose_team

    launcher, workers, devices = options["launcher"], options["workers"], options["devices"]
    if launcher == "ray" or devices > 1:
        threads = threads_for((workers or 1) * devices)
        return "serial" if launcher == "auto" else launcher, workers, threads
    team = choose_team(plan, 1 if launcher == "serial" else workers)
    if team.reason:
        at_once = f"{team.workers} runs at once" if team.workers > 1 else "one run at a time"
        many = f"{team.threads} thread{'s' * (team.threads > 1)}"
        speak(f"{plan.study.name}: {at_once} with {many}{' each' * (team.workers > 1)} ({team.reason})")
    return team.launcher if launcher == "auto" else launcher, team.workers, team.threads


def _lost(plan: Plan, causes: dict[str, str]) -> list[str]:
    """A line for every planned run that could not be done, or has left no trace of how it ended."""
    lines = []
    for _, folder in plan.runs():
        cause = causes.get(folder.name)
        with suppress(RunError):  # damaged: the report says so
            if cause is None and folder.status() not in ("finished", "failed"):
                cause = "its folder was removed; the same command does it again"
        if cause is not None:
            lines.append(f"{folder.name}: not finished: {cause}")
    return lines


def _plan(study: Study, folder: StudyFolder, images: Images, options: dict[str, Any]) -> Plan:
    from harness.plan import make_plan

    return make_plan(
        study,
        folder,
        images,
        variants=options["variants"],
        device=options["device"],
        devices=options["devices"],
    )


def _opening(plan: Plan) -> str:
    first = plan.variants[0]
    reason = first.compute.reason
    variants, seeds = len(plan.variants), len(plan.seeds)
    statuses = []
    for _, folder in plan.runs():
        with suppress(RunError):  # damaged: whoever executes it says so
            statuses.append(folder.status())
    return (
        f"{plan.study.name}: {variants} variant{'s' * (variants > 1)} x {seeds} seed{'s' * (seeds > 1)} on "
        f"{first.device} in {first.precision}{f' ({reason})' if reason else ''}; "
        f"{statuses.count('finished')} of {len(plan.runs())} runs are already finished"
    )


def _report(
    study: Study, folder: StudyFolder, variants: list[str], images: Images, options: dict[str, Any]
) -> int:
    """Rebuild tables, figures and page; print the verdict; the exit status."""
    from harness.report import write_report
    from harness.report.index import write_index

    whole = _reported(study, folder)
    folder.write_study(whole.to_toml())
    summary: Findings = write_report(
        whole,
        folder,
        study.seeds,
        variants,
        lambda name: images(study.recipes[name]),
        options["formats"],
    )
    if not options["quiet"]:
        for warning in summary.warnings:
            complain(f"{study.name}: warning: {warning}")
    try:
        write_index(folder)
    except (RunError, OSError) as error:  # the study's own report is written
        complain(f"no page of all studies: {one_line(error)}")
    for line in summary.verdicts:
        tell(line)
    for failure in summary.failures:
        complain(failure)
    if not options["quiet"]:
        tell(f"report: {folder.path / 'report.html'}")
    if summary.failures:
        return EXIT_RUN_FAILED
    return EXIT_TARGET_MISSED if options["require_target"] and not summary.met else 0


def _reported(study: Study, folder: StudyFolder) -> Study:
    """The study with all seeds that a report is about: those asked for, and those of its runs on disk."""
    runs = [run for run in folder.runs() if run.variant in study.recipes]
    # os.path: where a folder may not be entered, Path raises
    found = {run.seed for run in runs if os.path.exists(run.record_file)}
    if found <= set(study.seeds):
        return study
    return study.model_copy(update={"seeds": sorted(found.union(study.seeds))})


def _export(study: Study, folder: StudyFolder, variants: list[str], options: dict[str, Any]) -> int:
    """``--export``, for every run that was asked for and is finished; the exit status."""
    if not options["formats_exported"]:
        return 0
    from harness.export import export

    status = 0
    for variant in variants:
        for seed in study.seeds:
            run = folder.run(variant, seed)
            try:
                if run.status() == "finished":
                    path = export(run, options["formats_exported"])
                    if not options["quiet"]:
                        tell(f"exported: {path}")
            except RunError as error:  # the others are exported all the same
                complain(f"error: {error}")
                status = EXIT_RUN_FAILED
    return status


def _list(as_json: bool) -> None:
    """Every built-in study with what is known of it: published elsewhere, and measured by this harness."""
    studies = [load_study(str(path)) for path in builtin_studies().values()]
    measured = known_results()
    published = {
        study.name: max(
            (one.test_accuracy for one in study.references.values() if one.test_accuracy is not None),
            default=None,
        )
        for study in studies
    }
    if as_json:
        rows = [
            {
                "name": study.name,
                "question": study.question,
                "target": study.target.test_accuracy,
                "published": published[study.name],
                "measured": measured.get(study.name),
            }
            for study in studies
        ]
        tell(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("study", box=None, header_style="bold", pad_edge=False)
    for column in ("target", "published", "measured"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("question")
    for study in studies:
        table.add_row(
            study.name,
            f"{study.target.test_accuracy:.1%}",
            plain(_percent(published[study.name])),
            plain(_measured(measured.get(study.name))),
            Text(plain(study.question)),
        )
    width = shutil.get_terminal_size((160, 24)).columns
    Console(width=max(width, 60), highlight=False).print(table)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _measured(found: dict[str, Any] | None) -> str:
    """``93.99 ± 0.12 % (n = 5)``."""
    if found is None:
        return "–"
    std = None if found["std"] is None else 100 * found["std"]
    return f"{plus_minus(100 * found['mean'], std, 2)} % (n = {found['n']})"


def main() -> None:
    """The command as a process of its own."""
    goes_on = "interrupted: the same command goes on where this one ended"
    run_command(command, "harness.study", interrupted=goes_on)


if __name__ == "__main__":
    main()
