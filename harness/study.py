"""The command: options in, exit status out. ``python -m harness.study --help``"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.catalogue import list_studies
from harness.console import run_command, tell
from harness.errors import StudyError
from harness.export import FORMATS as EXPORTS
from harness.launch import LAUNCHERS
from harness.planning import Question, check_question
from harness.request import Request, make_request
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.trackers import TRACKERS
from harness.version import __version__


def _complete_study(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer built-in studies, then files."""
    names = [CompletionItem(name) for name in builtin_studies() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def _complete_variants(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer variants of the studies named before, after the last comma."""
    earlier, comma, last = incomplete.rpartition(",")
    names: list[str] = []
    for study in context.params.get("studies") or context.args:
        with suppress(StudyError):
            names += load_study(study).recipes
    return [CompletionItem(f"{earlier}{comma}{name}") for name in names if name.startswith(last)]


def _complete_from(*names: str) -> Callable[..., list[CompletionItem]]:
    """Return a function that offers these names, where a click.Choice would also change the error."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def _or(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
)
@click.argument("studies", nargs=-1, metavar="[STUDY]...", shell_complete=_complete_study)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
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
    "--variants", metavar="A,B", shell_complete=_complete_variants, help="Only these variants. [default: all]"
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
    metavar="NAME",
    shell_complete=_complete_from("auto", *LAUNCHERS),
    help=f"Who executes the runs: {'; '.join(f'{name}, {known.runs}' for name, known in LAUNCHERS.items())}; "
    "auto, the faster of serial and process, by timing.",
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
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--devices",
    type=int,
    default=1,
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
    help=f"Finished networks also as {_or(EXPORTS)}, with a model card: docs/export.md.",
)
@click.option(
    "--tracker",
    metavar="NAME",
    shell_complete=_complete_from(*TRACKERS),
    help=f"Also show the runs in {_or(TRACKERS)}.",
)
@click.option("--list", "list_", is_flag=True, help="List the built-in studies.")
@click.option("--dry-run", is_flag=True, help="Show plan, cost and what is already there; do nothing.")
@click.option(
    "--plan",
    is_flag=True,
    help="Show how many seeds --difference takes, and what the study's seeds can show; do nothing.",
)
@click.option("--difference", type=float, metavar="X", help="With --plan: 0.003 is 0.3 points.")
@click.option(
    "--std", type=float, metavar="X", help="With --plan: the std over seeds. [default: from finished runs]"
)
@click.option("--json", "json_", is_flag=True, help="--list, --dry-run and --plan for machines.")
@click.option(
    "--until-decided",
    is_flag=True,
    help="Go from one of the study's looks to the next, and stop where they decide: docs/looks.md.",
)
@click.option("--report-only", is_flag=True, help="Rebuild tables, figures and report from the runs on disk.")
@click.option("--force", is_flag=True, help="Move runs of another configuration aside instead of refusing.")
@click.option("--require-target", is_flag=True, help="Exit with 3 where a study misses its target.")
@click.option(
    "--profile", is_flag=True, help="Leave in each new run's profile/ where its time went, and its speed."
)
@click.option("--quiet", is_flag=True, help="Only the verdict.")
@click.version_option(__version__, prog_name="harness")
def command(
    studies: tuple[str, ...],
    list_: bool,
    dry_run: bool,
    plan: bool,
    difference: float | None,
    std: float | None,
    json_: bool,
    **options: Any,
) -> None:
    """Train every variant of a STUDY with every seed, and report mean and std against its target.

    A STUDY is a built-in study's name or the path of a study file; with none, the embedded quickstart.
    The same command goes on where an earlier one ended.

    \b
    Examples:
      python -m harness.study                                    the quickstart, on embedded data
      python -m harness.study onecycle --data DIR --seeds 0-4    five seeds on CIFAR-10
      python -m harness.study my.toml --set schedule.epochs=3    a trial of your own study
      python -m harness.study onecycle --dry-run                 what it would do, and what it costs
      python -m harness.study my.toml --plan --difference 0.003  how many seeds 0.3 points take

    \b
    Exit status: 0 every run finished; 1 a run failed; 2 the request is wrong; 3 target missed
    (with --require-target); 130 interrupted, the same command goes on.
    """
    if not plan and (difference, std) != (None, None):
        raise StudyError("--difference and --std: go with --plan")
    question = check_question(difference, std) if plan else None
    if json_ and not (list_ or dry_run or plan):
        raise StudyError("--json: goes with --list, --dry-run or --plan")
    request = make_request(studies or ("quickstart",), options)
    if request.follows and (list_ or dry_run or plan):
        return
    if list_:
        list_studies(json_)
        return
    loaded = request.load()  # reports mistakes before torch is imported, which takes seconds
    if question is not None:
        _tell_plan(request, loaded, question, json_)
        return
    if dry_run:
        from harness.planning.states import previews
        from harness.preview import as_json, as_text

        tell((as_json if json_ else as_text)(previews(request, loaded)))
        return
    from harness.workflow import carry_out

    sys.exit(carry_out(request, loaded, tell).status)


def _tell_plan(request: Request, studies: Sequence[Study], question: Question, json_: bool) -> None:
    """Print the plan of each study."""
    from harness.planning.needs import make_plans
    from harness.planning.states import previews
    from harness.planning.words import as_json, as_text

    tell((as_json if json_ else as_text)(make_plans(previews(request, studies), question)))


def main() -> None:
    """Run the command as a process of its own."""
    resumes = "interrupted: run the same command again to resume"
    run_command(command, "harness.study", interrupted=resumes)


if __name__ == "__main__":
    main()
