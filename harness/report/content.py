"""What the report says: paragraphs, tables and figures, which the page and the Markdown both render."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import Study
from harness.report import findings
from harness.report.attribution_measures import Attributions
from harness.report.attribution_page import attribution_blocks
from harness.report.blocks import Block, Report, Section
from harness.report.findings import interval
from harness.report.provenance import origins
from harness.report.results import Results
from harness.report.style import Picture
from harness.report.summary import Summary, VariantSummary, accuracy_text, percent_text
from harness.report.tables import model_rows

MOST_ROWS = 60  # of a table on the page; its CSV has all of them


def compose(
    results: Results,
    summaries: list[VariantSummary],
    summary: Summary,
    pictures: dict[str, Picture],
    notes: list[str],
    measured: Sequence[Attributions],
) -> Report:
    """The report of a study.

    Args:
        pictures: file name -> figure.
        notes: what could not be drawn or measured, and why.
        measured: what is known of the variants' Grad-CAM maps.
    """
    sections = [
        Section("Result", _result(results.study, summaries, summary)),
        Section("How surely the target is reached", findings.target(summaries)),
        Section(
            "Variants compared" if results.study.comparisons == "all" else "Against the baseline",
            [*_figures(pictures, ("comparisons",)), *findings.comparisons(results)],
        ),
        Section("Against published numbers", findings.references(results, summaries)),
        Section("Accuracy and learning curves", _figures(pictures, ("accuracy", "curves"))),
        Section("Which part of the spread is luck", findings.spread(summaries)),
        Section("Runs", _runs(results)),
        Section(
            "Learning rates", [*_range_tests(results), *_figures(pictures, ("range_test", "learning_rate"))]
        ),
        Section("Classes and errors", _figures(pictures, ("per_class", "confusion", "misclassified"))),
        Section("Calibration", [*findings.calibration(summaries), *_figures(pictures, ("calibration",))]),
        Section("What the seeds know together", findings.together(results, summaries)),
        Section(
            "What the network looks at",
            [
                *_figures(pictures, ("gradcam",)),
                *attribution_blocks(measured),
                *_figures(pictures, ("attributions",)),
            ],
        ),
        Section("Augmentation", [*_figures(pictures, ("augmented",))]),
        Section("Parameters", _parameters(results)),
        Section("Where the numbers come from", _provenance(results)),
        Section("How to repeat it", _repeat(results.study)),
    ]
    if notes:
        sections.insert(-2, Section("Left out", [Block("list", items=notes)]))
    return Report(
        title=results.study.name,
        question=results.study.question,
        verdicts=summary.verdicts,
        met=summary.target_met,
        sections=[section for section in sections if section.blocks],
    )


def _result(study: Study, summaries: list[VariantSummary], summary: Summary) -> list[Block]:
    blocks = [Block("warning", text) for text in summary.warnings]
    header = (
        "variant", "finished", "failed", "not finished", "accuracy ± std, %", "95 % interval, %", "range, %",
        "reached", "loss", "train accuracy, %", "minutes a run",
    )  # fmt: skip
    rows = []
    for row in summaries:
        accuracy, loss, train, seconds = row.test_accuracy, row.test_loss, row.train_accuracy, row.seconds
        if accuracy is None:
            rows.append([row.variant, "0", str(row.failed), str(row.missing), *["–"] * 7])
            continue
        rows.append(
            [
                row.variant,
                str(row.finished),
                str(row.failed),
                str(row.missing),
                accuracy_text(accuracy, row.target).removesuffix(" %"),
                interval(accuracy.ci_low, accuracy.ci_high),
                interval(accuracy.minimum, accuracy.maximum) if accuracy.n > 1 else "–",
                f"{row.reached} of {row.runs}",
                "–" if loss is None else f"{loss.mean:.3f}",
                "–" if train is None else f"{100 * train.mean:.1f}",
                "–" if seconds is None else f"{seconds.mean / 60:.1f}",
            ]
        )
    blocks.append(Block("table", header=header, rows=rows, numeric=frozenset(range(1, len(header)))))
    splits = {row.evaluated_on for row in summaries}
    if splits == {"holdout"}:
        split = "images held out of the train split (the test split was not opened)"
    elif splits == {"test"}:
        split = "the test split"
    else:
        held = ", ".join(row.variant for row in summaries if row.evaluated_on == "holdout")
        split = f"the test split, and for {held} on images held out of the train split"
    blocks.append(
        Block(
            "text",
            f"Accuracy and loss are those of the last epoch on {split}; no epoch was picked by them. "
            "Every ± in this report is the standard deviation over seeds (divisor n - 1, n = the finished "
            "runs beside it); one run has none. The interval is the 95 % t interval of the mean over seeds "
            "on this one set of images: it says how surely the recipe's mean is known, not where a single "
            "run falls. A failed run counts as one that did not reach the target of "
            f"{percent_text(study.target.test_accuracy)}.",
        )
    )
    return blocks


def _figures(pictures: dict[str, Picture], names: Sequence[str]) -> list[Block]:
    """The figures of these names, a name's variants together."""
    several = len({picture.variant for picture in pictures.values() if picture.variant}) > 1
    return [
        Block("figure", title=_figure_title(picture, several), picture=picture, file=file)
        for name in names
        for file, picture in pictures.items()
        if picture.name == name
    ]


def _figure_title(picture: Picture, several: bool) -> str:
    """``Confusion``, or ``Confusion: no_cutout`` where several variants have one."""
    titles = {
        "gradcam": "Grad-CAM",
        "attributions": "How far Grad-CAM can be believed",
        "range_test": "Learning-rate range test",
    }
    title = titles.get(picture.name, picture.name.replace("_", " ").capitalize())
    return f"{title}: {picture.variant}" if several and picture.variant else title


def _runs(results: Results) -> list[Block]:
    header = (
        "run", "status", "accuracy, %", "loss", "best accuracy, % (epoch)", "epochs to target", "minutes",
        "cause of failure",
    )  # fmt: skip
    rows = []
    shown = sorted(results.runs, key=lambda run: run.status == "finished")[:MOST_ROWS]
    for run in [run for run in results.runs if run in shown]:
        accuracy, loss = run.number("test_accuracy"), run.number("test_loss")
        best, seconds = run.number("best_test_accuracy"), run.number("seconds", "timings")
        epochs = run.number("epochs_to_target")
        failed = run.status != "finished"
        rows.append(
            [
                f"{run.variant}/seed-{run.seed}",
                run.status,
                "–" if failed or accuracy is None else f"{100 * accuracy:.2f}",
                "–" if failed or loss is None else f"{loss:.4f}",
                "–" if failed or best is None else f"{100 * best:.2f} ({run.number('best_epoch')})",
                "–" if failed or epochs is None else f"{epochs}",
                "–" if seconds is None else f"{seconds / 60:.1f}",
                run.error or "–",
            ]
        )
    blocks = [Block("table", header=header, rows=rows, numeric=frozenset({2, 3, 4, 5, 6}))]
    more = len(results.runs) - len(rows)
    text = (
        "The best epoch is mentioned, not used: it is known only from the images that it would be judged on."
    )
    if more:
        text += f" {more} more finished runs stand in tables/runs.csv."
    return [*blocks, Block("text", text)]


def _range_tests(results: Results) -> list[Block]:
    rows = []
    for variant, sweep in results.sweeps.items():
        record = sweep.record
        if sweep.error:
            rows.append([variant, "–", "–", "–", "–", "–", sweep.error])
            continue
        rows.append(
            [
                variant,
                f"{record['lr_min']:.4g}",
                f"{record['lr_max']:.4g}",
                str(record.get("criterion", "–")),
                str(record.get("seed", "–")),
                "yes" if record.get("used") else "no: the study sets its rates",
                "; ".join(record.get("warnings") or []) or "–",
            ]
        )
    header = ("variant", "LRMIN", "LRMAX", "criterion", "seed", "used", "warnings")
    return (
        [Block("table", header=header, rows=rows[:MOST_ROWS], numeric=frozenset({1, 2, 4}))] if rows else []
    )


def _parameters(results: Results) -> list[Block]:
    """One summary for each different network."""
    by_variant: dict[str, list[list[str]]] = {}
    for variant, layer, shape, parameters, size in model_rows(results):
        by_variant.setdefault(variant, []).append([layer, shape, f"{parameters:,}", f"{size / 1024:,.1f}"])
    networks: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for variant, rows in by_variant.items():
        networks.setdefault(tuple(map(tuple, rows)), []).append(variant)
    blocks = []
    for layers, variants in networks.items():
        total = sum(int(row[2].replace(",", "")) for row in layers)
        names = ", ".join(variants[:8]) + (" …" if len(variants) > 8 else "")
        blocks.append(Block("text", f"{names}: {total:,} trainable parameters."))
        rows = [list(row) for row in layers]
        header = ("layer", "output shape", "parameters", "KiB")
        blocks.append(Block("table", header=header, rows=rows, numeric=frozenset({2, 3}), title="Layers"))
    return blocks


def _provenance(results: Results) -> list[Block]:
    rows = [list(row) for row in origins(results)]
    return [Block("table", header=("property", "value"), rows=rows)] if rows else []


def _repeat(study: Study) -> list[Block]:
    names = [name for name in study.recipes]
    commands = [
        "# the whole study again, into another folder: the same numbers on the same machine and thread count",
        "python -m harness.study study.toml --out again",
        "# tables, figures and this report again, from the finished runs in DIR/" + study.name,
        "python -m harness.study study.toml --out DIR --report-only",
    ]
    if len(names) > 1:
        commands += [
            "# one variant",
            f"python -m harness.study study.toml --variants {names[-1]} --out again",
        ]
    return [
        Block("text", "study.toml lies beside this report: the study as resolved, every override included."),
        Block("code", "\n".join(commands)),
        Block("code", study.to_toml(), title="The study file as resolved"),
    ]
