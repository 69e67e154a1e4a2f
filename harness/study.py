"""The command ``python -m harness.study``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.catalogue import list_studies
from harness.console import run_command, tell
from harness.errors import StudyError
from harness.export import FORMATS as EXPORTS
from harness.hints import option_hint
from harness.launch import LAUNCHERS
from harness.messages import listed, one_line
from harness.planning import Question, check_question
from harness.report.theme import CONTEXTS, PALETTES
from harness.request import Request, make_request
from harness.study_file.builtin import builtin_studies
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.trackers import TRACKERS
from harness.version import __version__


def _complete_study(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of built-in studies, then files."""
    names = [CompletionItem(name) for name in builtin_studies() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def _complete_variants(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the variants of the studies named before, after the last comma."""
    earlier, comma, last = incomplete.rpartition(",")
    names: list[str] = []
    for study in context.params.get("studies") or context.args:
        with suppress(StudyError):
            names += load_study(study).recipes
    return [CompletionItem(f"{earlier}{comma}{name}") for name in names if name.startswith(last)]


def _complete_from(*names: str) -> Callable[..., list[CompletionItem]]:
    """Return a function that completes these names; click.Choice would also change the error."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


class _Command(click.Command):
    """A command that says what to write instead of an option that it does not have."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            takes_value = {name[2:]: not each.is_flag for each in self._options for name in each.opts}
            hint = option_hint(error.option_name, given, takes_value)
            raise StudyError(f"there is no option {one_line(error.option_name, 80)}{hint}") from None
        except click.BadOptionUsage as error:
            option = next(each for each in self._options if error.option_name in each.opts)
            value = "" if option.is_flag else f" {option.metavar}"
            raise StudyError(f"{one_line(error.message)} Write {error.option_name}{value}") from None

    @property
    def _options(self) -> list[click.Option]:
        return [each for each in self.params if isinstance(each, click.Option)]


@click.command(
    cls=_Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.argument("studies", nargs=-1, metavar="[STUDY]...", shell_complete=_complete_study)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write results to DIR/<study>/. [default: results; a trial made by --set has its own folder there, "
    "results/<study>-trial-.../]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Data directory. [default: $HARNESS_DATA, else the user's cache directory]",
)
@click.option("--seeds", metavar="LIST", help="Use these seeds: 0,1,2 or 0-4. [default: the study's]")
@click.option(
    "--n-seeds",
    type=int,
    metavar="N",
    help="Use the study's first N seeds. If it has fewer, add the seeds after its highest.",
)
@click.option(
    "--variants",
    metavar="A,B",
    shell_complete=_complete_variants,
    help="Use only these variants. [default: all]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the study, such as schedule.epochs=2. VALUE is TOML. The last part of KEY is "
    "enough if it is unique: epochs=2. Repeatable.",
)
@click.option(
    "--launcher",
    default="auto",
    metavar="NAME",
    shell_complete=_complete_from("auto", *LAUNCHERS),
    help=f"Execute the runs by {'; '.join(f'{name}, {known.runs}' for name, known in LAUNCHERS.items())}; "
    "auto, serial or process, whichever is faster.",
)
@click.option(
    "--workers",
    metavar="N",
    help="Number of parallel runs, or auto. [default: auto; with ray, as many as fit the cluster]",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Address of the Ray cluster. [default: $RAY_ADDRESS, else start one on this machine]",
)
@click.option("--device", default="auto", metavar="NAME", help="Device: auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--devices",
    type=int,
    default=1,
    metavar="N",
    help="GPUs per run (data parallel).",
)
@click.option(
    "--precision",
    metavar="NAME",
    shell_complete=_complete_from("auto", "float32", "bfloat16", "float16"),
    help="Override the study's precision: auto, float32, bfloat16 or float16.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PACKAGE",
    help="Allow studies to import code from this package: docs/your-own.md. Repeatable.",
)
@click.option(
    "--figures", metavar="LIST", help="Also save figures as svg, pdf or svg,pdf. [default: only PNG]"
)
@click.option(
    "--theme",
    metavar="LIST",
    shell_complete=_complete_from(*CONTEXTS, *PALETTES),
    help=f"Theme of the figures: a seaborn context ({listed(CONTEXTS, word='or')}), "
    f"a palette ({', '.join(PALETTES)}), or both, such as talk,deep. "
    "[default: paper, with colours that are safe for colour blindness]",
)
@click.option(
    "--export",
    metavar="LIST",
    help=f"Export finished networks as {listed(EXPORTS, word='or')}, with a model card: docs/export.md.",
)
@click.option(
    "--tracker",
    metavar="NAME",
    shell_complete=_complete_from(*TRACKERS),
    help=f"Also log the runs to {listed(TRACKERS, word='or')}.",
)
@click.option("--list", "list_", is_flag=True, help="List the built-in studies.")
@click.option("--dry-run", is_flag=True, help="Show the plan, its cost and the finished runs; run nothing.")
@click.option(
    "--plan",
    is_flag=True,
    help="Show how many seeds --difference needs, and what the study's seeds can show; run nothing.",
)
@click.option(
    "--difference",
    type=float,
    metavar="X",
    help="With --plan: the difference to detect; 0.003 is 0.3 points.",
)
@click.option(
    "--std",
    type=float,
    metavar="X",
    help="With --plan: the std over seeds. [default: that of the finished runs]",
)
@click.option("--json", "json_", is_flag=True, help="Print --list, --dry-run or --plan as JSON.")
@click.option(
    "--until-decided",
    is_flag=True,
    help="Run from one planned look to the next; stop when a look decides: docs/looks.md.",
)
@click.option(
    "--report-only",
    is_flag=True,
    help="Rebuild tables, figures and report from the runs on disk; run nothing.",
)
@click.option(
    "--force", is_flag=True, help="Move runs of another configuration to superseded/ and run again."
)
@click.option("--require-target", is_flag=True, help="Exit with status 3 if a study misses its target.")
@click.option(
    "--profile",
    is_flag=True,
    help="Profile each new run: write its time per operation and its speed to profile/.",
)
@click.option("--quiet", is_flag=True, help="Print only the verdict.")
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

    A STUDY is the name of a built-in study or the path of a study file. The default is quickstart, on
    embedded data. Run the same command again to resume.

    \b
    Examples:
      python -m harness.study                                    the quickstart, on embedded data
      python -m harness.study onecycle --data DIR --seeds 0-4    five seeds on CIFAR-10
      python -m harness.study my.toml --set schedule.epochs=3    a short trial of your own study
      python -m harness.study onecycle --dry-run                 the plan and its cost
      python -m harness.study my.toml --plan --difference 0.003  the seeds that 0.3 points need

    \b
    Exit status: 0 every run finished; 1 a run failed; 2 invalid option or study file; 3 target
    missed (with --require-target); 130 interrupted: run the same command again to resume.
    """
    if not plan and (difference, std) != (None, None):
        raise StudyError("--difference and --std: add --plan")
    question = check_question(difference, std) if plan else None
    if json_ and not (list_ or dry_run or plan):
        raise StudyError("--json: add --list, --dry-run or --plan")
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
