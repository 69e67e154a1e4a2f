"""What the report says: paragraphs, tables and figures, which the page and the Markdown both render."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis import cost
from harness.analysis.comparisons import sentence
from harness.analysis.findings import Findings
from harness.analysis.numbers import (
    accuracy_text,
    decimals_of,
    interval_text,
    minutes_text,
    p_text,
    percent_text,
    spread_text,
)
from harness.analysis.provenance import origins, times_note
from harness.analysis.ranking import Ranked
from harness.analysis.ranking import sentence as ranking_sentence
from harness.analysis.results import Results
from harness.messages import one_line
from harness.report import findings, repeat, seeds
from harness.report.attribution.page import attribution_blocks
from harness.report.blocks import Block, Report, Section, explained
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture
from harness.report.tables import model_rows
from harness.store.sealed import canonical
from harness.study_file.config import Study
from harness.study_file.grids import short_keys

MOST_NAMED = 8
MOST_SENTENCES = 10  # about comparisons; the table has all
MOST_ROWS = 60  # of a table on the page; its CSV has all of them


def compose(
    found: Findings,
    pictures: dict[str, Picture],
    notes: list[str],
    formats: Sequence[str] = (),
) -> Report:
    """The report of a study.

    Args:
        pictures: file name -> figure.
        notes: what could not be drawn or measured, and why.
        formats: the files of each figure beside its PNG, such as ``svg``.
    """
    draw = _Figures(pictures, formats)
    results, summaries, measured = found.results, found.summaries, found.attributions
    sections = [
        Section("Summary", _result(found)),
        Section(
            "Accuracy and learning curves",
            [*draw("accuracy"), *seeds.distribution(summaries), *draw("curves")],
        ),
        Section("How surely the target is reached", findings.target(summaries)),
        Section(
            "Variants compared" if results.study.comparisons == "all" else "Against the baseline",
            [*_in_words(found), *draw("comparisons"), *findings.comparisons(results, found.comparisons)],
        ),
        Section("Which variant may be the best", ranking_blocks(found)),
        Section("Against published numbers", findings.references(results, found.references)),
        Section("Which part of the spread is luck", seeds.spread(summaries)),
        Section("Every run", _runs(results)),
        Section(
            "Learning rates",
            [*_range_tests(results), *_stepped_rates(results), *draw("range_test", "learning_rate")],
        ),
        Section("Classes and errors", draw("per_class", "confusion", "misclassified")),
        Section("Calibration", [*seeds.calibration(summaries), *draw("calibration")]),
        Section("What the seeds know together", seeds.together(results, summaries)),
        Section(
            "What the network looks at",
            [*draw("gradcam"), *attribution_blocks(measured), *draw("attributions")],
        ),
        Section("What it is trained on", draw("augmented")),
        Section("The network", _parameters(found)),
        Section("Where the numbers come from", _provenance(results)),
        Section("How to repeat it", repeat.blocks(results)),
    ]
    if notes:
        sections.insert(-2, Section("Left out", [Block("list", items=notes)]))
    return Report(
        title=results.study.name,
        question=results.study.question,
        verdict=found.verdict,
        met=found.met,
        sections=[section for section in sections if section.blocks],
    )


def _result(found: Findings) -> list[Block]:
    results, summaries, summary = found.results, found.summaries, found
    header = (
        "variant", "accuracy ± std, %", "reached the target", "95 % interval of the mean, %",
        "lowest to highest, %", "finished", "failed", "not finished", "loss", "train accuracy, %",
        "minutes a run",
    )  # fmt: skip
    rows = []
    for row in summaries:
        accuracy, loss, train, seconds = row.test_accuracy, row.test_loss, row.train_accuracy, row.seconds
        runs = [str(row.finished), str(row.failed), str(row.missing)]
        reached = f"{row.reached} of {row.runs}"
        if accuracy is None:
            lost = f"{row.failed} of {row.runs} failed" if row.failed else "–"
            rows.append([row.variant, lost, reached, "–", "–", *runs, *["–"] * 3])
            continue
        rows.append(
            [
                row.variant,
                accuracy_text(accuracy, row.target).removesuffix(" %"),
                reached,
                interval_text(accuracy.ci_low, accuracy.ci_high),
                interval_text(accuracy.minimum, accuracy.maximum) if accuracy.n > 1 else "–",
                *runs,
                "–" if loss is None else f"{loss.mean:.3f}",
                "–" if train is None else f"{100 * train.mean:.1f}",
                minutes_text(None if seconds is None else seconds.mean),
            ]
        )
    numeric = frozenset(range(1, len(header)))
    blocks = [Block("table", header=header, rows=rows, numeric=numeric, files=["tables/summary.csv"])]
    blocks += [Block("warning", text) for text in summary.warnings]
    splits = {row.evaluated_on for row in summaries}
    if splits == {"holdout"}:
        split = "images held out of the train split (the test split was not opened)"
    elif splits == {"test"}:
        split = "the test split"
    else:
        held = ", ".join(row.variant for row in summaries if row.evaluated_on == "holdout")
        split = f"the test split, and for {held} on images held out of the train split"
    target = percent_text(results.study.target.test_accuracy)
    lead = (
        f"Accuracy and loss are those of the last epoch on {split}; no epoch was picked by them. "
        f"± is the standard deviation over seeds. The target is {target}."
    )
    text = (
        "Every ± in this report is the standard deviation over seeds (divisor n - 1, n = the finished runs "
        "beside it); one run has none. The interval is the 95 % t interval of the mean over seeds on this "
        "one set of images: it says how surely the recipe's mean is known, not where a single run falls. "
        "From few seeds it is wide; it is cut at 0 and 100 %. Where all seeds agree there is none. A failed "
        "run counts as one that did not reach the target."
    )
    note = times_note(results)
    return [*blocks, Block("text", lead if note is None else f"{lead} {note}"), explained(text)]


def _in_words(found: Findings) -> list[Block]:
    """Each comparison in a sentence, where these are few."""
    compared = found.compared
    if not 0 < len(compared) <= MOST_SENTENCES:
        return []
    return [Block("list", items=[f"{sentence(one, len(compared) > 1)}." for one in compared])]


TITLES = {figure.name: figure.title for figure in FIGURES}
# The table that a figure is drawn from.
SOURCES = {figure.name: figure.source for figure in FIGURES if figure.source}


class _Figures:
    """The blocks of figures by their names, a name's variants together."""

    def __init__(self, pictures: dict[str, Picture], formats: Sequence[str]) -> None:
        self.pictures, self.formats = pictures, formats
        self.several = len({picture.variant for picture in pictures.values() if picture.variant}) > 1

    def __call__(self, *names: str) -> list[Block]:
        return [
            self._block(file, picture)
            for name in names
            for file, picture in self.pictures.items()
            if picture.name == name
        ]

    def _block(self, file: str, picture: Picture) -> Block:
        """Its title names the variant where several have such a figure."""
        title = TITLES.get(picture.name, picture.name.replace("_", " ").capitalize())
        if self.several and picture.variant:
            title += f": {picture.variant}"
        stem = file.removesuffix(".png")
        files = [f"figures/{stem}.{kind}" for kind in self.formats]
        if picture.name in SOURCES:
            files.append(f"tables/{SOURCES[picture.name]}.csv")
        return Block("figure", title=title, picture=picture, file=file, files=files)


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
        arrival = run.arrival(results.study.target.test_accuracy)
        failed = run.status != "finished"
        rows.append(
            [
                f"{run.variant}/seed-{run.seed}",
                run.status,
                "–" if failed or accuracy is None else f"{100 * accuracy:.2f}",
                "–" if failed or loss is None else f"{loss:.4f}",
                "–" if failed or best is None else f"{100 * best:.2f} ({run.number('best_epoch')})",
                "–" if arrival is None else f"{arrival.epochs}",
                minutes_text(seconds),
                run.error or "–",
            ]
        )
    numeric = frozenset({2, 3, 4, 5, 6})
    blocks = [Block("table", header=header, rows=rows, numeric=numeric, files=["tables/runs.csv"])]
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
    numeric, files = frozenset({1, 2, 4}), ["tables/range_test.csv"]
    return (
        [Block("table", header=header, rows=rows[:MOST_ROWS], numeric=numeric, files=files)] if rows else []
    )


def _stepped_rates(results: Results) -> list[Block]:
    """List the schedule's corners and the highest rate of a step, of each variant's first finished run."""
    rows = []
    for variant in results.variants[:MOST_ROWS]:
        for run in results.of(variant, "finished")[:1]:
            corners, highest = (run.number("lr_min"), run.number("lr_max")), run.highest_rate
            if highest is not None:
                given = ["–" if corner is None else f"{corner:.4g}" for corner in corners]
                last = run.rates[-1]["lr"]
                rows.append(
                    [
                        variant,
                        *given,
                        f"{highest[0]:.4g}",
                        f"{highest[1]:,} of {len(run.rates):,}",
                        "–" if last is None else f"{last:.4g}",
                    ]
                )
    if not rows:
        return []
    header = ("variant", "lr_min given", "lr_max given", "highest rate of a step", "at step", "last rate")
    text = (
        "lr_min and lr_max are the corners of the schedule, found or given. A corner that falls between two "
        "steps is no step's rate: then the highest rate lies below lr_max."
    )
    numeric, files = frozenset(range(1, len(header))), ["tables/learning_rates.csv"]
    return [Block("table", header=header, rows=rows, numeric=numeric, files=files), Block("text", text)]


def _parameters(found: Findings) -> list[Block]:
    """One summary for each different network."""
    by_variant: dict[str, list[list[str]]] = {}
    for variant, layer, shape, parameters, size in model_rows(found):
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
        numeric, files = frozenset({2, 3}), ["tables/model.csv"]
        table = Block("table", header=header, rows=rows, numeric=numeric, title="Layers", files=files)
        blocks.append(table)
    return blocks


def _provenance(results: Results) -> list[Block]:
    """When, at what cost, and with which code, machine, data and versions; nothing before the first run."""
    tables = {
        "Times and cost": [*cost.times(results), *cost.cost(results)],
        "Code, machine, data and versions": origins(results),
    }
    blocks = []
    for title, rows in tables.items():
        if rows:
            blocks += [Block("heading", title), Block("table", header=("property", "value"), rows=rows)]
    text = "The record of each run, runs/<variant>/seed-<n>/run.json, has its own."
    return [*blocks, Block("text", text)] if blocks else []


def changes_text(study: Study, variant: str) -> str:
    """What a variant changes: ``lr_max 0.2, momentum 0.9``."""
    changes = study.variants.get(variant, {})
    return ", ".join(
        f"{word} {value if isinstance(value, str) else canonical(value)}"
        for word, value in zip(short_keys(changes), changes.values(), strict=True)
    )


def ranking_blocks(found_: Findings) -> list[Block]:
    """The table of the page, with what a reader has to know of it."""
    ranked, results = found_.ranking, found_.results
    if not ranked:
        return []
    header = (
        "rank", "variant", "what it changes", "mean accuracy, %", "std, %", "n", "failed",
        "behind the highest, points", "p (all pairs)", "may be the best",
    )  # fmt: skip
    rows = [
        [
            str(one.rank),
            one.variant,
            one_line(changes_text(results.study, one.variant), 120) or "–",
            *_numbers(one),
            _possible(one),
        ]
        for one in ranked[:MOST_ROWS]
    ]
    text = (
        "May be the best: every variant that neither of two rules excludes. One is Games and Howell's test "
        "with Tukey's correction for all pairs: p of at most 0.05 against the highest mean. The other is the "
        "comparison above: a variant that it calls worse than another is not the best. The first takes the "
        "spread of all seeds, the second, where variants share seeds, that of their differences, so one can "
        "exclude what the other does not. Each excludes the best recipe in about 1 of 20 studies at most, so "
        "both together in 1 of 10. More seeds make the list shorter. A variant with one run has no spread of "
        "its own and is judged by the one that all variants have in common. A variant without a finished run "
        "stands last: it is not the best where its recipe made runs fail, and unknown where the machine did."
    )
    found = [
        Block("text", f"{ranking_sentence(ranked)}."),
        Block(
            "table", header=header, rows=rows, numeric=frozenset({0, 3, 4, 5, 6, 7, 8}),
            files=["tables/ranking.csv"],
        ),
        explained(text),
    ]  # fmt: skip
    recipe = results.study.recipes.get(ranked[0].variant)
    if recipe is not None and recipe.data.holdout is None:
        text = (
            "These are test images: the winner's own accuracy is the highest of several draws, and so on "
            "average too high. To choose a recipe, set data.holdout, and run the chosen one on the test "
            "split once."
        )
        found.append(Block("text", text))
    return found


def _numbers(one: Ranked) -> list[str]:
    """Return mean, std, n, failed runs, distance from the highest and p."""
    place, failed = one.place, one.failed_text if one.failed else "–"
    if place is None:
        return [failed, "–", "0", failed, "–", "–"]
    std = 100 * (place.std or 0.0)
    return [
        f"{100 * place.mean:.{decimals_of(std, 2)}f}",
        "–" if place.std is None else spread_text(std, 2),
        str(place.n),
        failed,
        f"{100 * place.behind:.2f}",
        p_text(place.p),
    ]


def _possible(one: Ranked) -> str:
    if one.place is None:
        return "unknown" if one.possible is None else "no: none finished"
    if one.place.possible and one.worse_than:
        return f"no: worse than {', '.join(one.worse_than[:MOST_NAMED])}"
    return "yes" if one.possible else "no"
