"""All topics together: the columns that others' scripts read, and what an empty study says."""

from __future__ import annotations

import csv

import pytest

from harness.analysis.findings import Findings
from harness.report.blocks import Block
from harness.report.figures import FIGURES
from harness.report.topics import TABLES, TOPICS, csv_tables
from harness.report.topics.figures import Figures
from tests.lab import MakeLab, sections

# The columns that were promised first; what came later stands after them.
PROMISED = {
    "runs": "variant,seed,status,epochs,accuracy,loss,train_accuracy,best_accuracy,best_epoch,"
    "epochs_to_target,seconds_to_target,parameters,lr_min,lr_max,seconds,error,",
    "history": "variant,seed,epoch,lr,train_loss,train_accuracy,eval_loss,eval_accuracy,"
    "train_seconds,eval_seconds,images_per_second,raw_loss,raw_accuracy,",
    "summary": "variant,evaluated_on,runs,failed,accuracy_mean,accuracy_std,accuracy_sem,"
    "accuracy_ci_low,accuracy_ci_high,accuracy_min,accuracy_max,target,reached,",
    "metrics": "variant,evaluated_on,metric,better,target,n,mean,std,sem,ci_low,ci_high,min,median,max",
    "comparisons": "variant,baseline,test,n,difference,ci_low,ci_high,p,p_holm,effect_size,verdict,",
    "ranking": "rank,variant,n,mean,std,behind,p,possible,changes,",
    "references": "reference,published,runs,variant,n,difference,percentile,prediction_low,prediction_high,"
    "plausible,",
    "noise": "variant,baseline,n,n_baseline,images,clusters,mean,se_seeds,se_images,se_both,df,low,high,"
    "var_seeds,var_images,var_residual",
    "calibration": "variant,seed,bin_low,bin_high,images,confidence,accuracy",
    "always_missed": "variant,runs,index,label,predicted,votes",
    "per_class": "variant,seed,class,images,correct,accuracy,",
    "misclassified": "variant,seed,index,label,predicted,confidence",
    "range_test": "variant,iteration,lr,loss,smoothed_loss,accuracy,smoothed_accuracy,repeat,seed",
    "learning_rates": "variant,iteration,epoch,lr,seed",
    "model": "variant,layer,output_shape,parameters,bytes,frozen",
    "attributions": "variant,layer,images,seeds,seed_pairs,",
    "variance_components": "variant,design,source,levels,runs,df,mean_square,variance,variance_low,"
    "variance_high,std,share,share_low,share_high,f,p,p_holm,noise_seeds",
    "pairing": "variant,baseline,source,levels,runs,correlation,correlation_low,correlation_high,"
    "pairing_gain",
    "leakage": "data,split_a,index_a,class_a,split_b,index_b,class_b,kind,distance,correlation",
    "attribution_curves": "variant,layer,curve,step,at,mean",
}  # fmt: skip


def test_every_table_is_promised() -> None:
    assert sorted(table.name for table in TABLES) == sorted(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_columns_are_the_promised_ones(findings: Findings, name: str) -> None:
    header, _, _ = csv_tables(findings)[name].partition("\n")
    assert header.startswith(PROMISED[name])
    assert PROMISED[name].endswith(",") or header == PROMISED[name]


# The names until version 0.2, which stay until version 0.4.
OLD = {
    "runs": {"test_accuracy": "accuracy", "test_loss": "loss", "best_test_accuracy": "best_accuracy"},
    "history": {"test_loss": "eval_loss", "test_accuracy": "eval_accuracy"},
    "summary": {
        **{
            f"test_{name}": name
            for name in (f"accuracy_{of}" for of in ("mean", "std", "sem", "ci_low", "ci_high", "min", "max",
                                                     "median", "iqm"))
        },
        "test_loss_mean": "loss_mean",
        "test_loss_std": "loss_std",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_the_old_names_have_the_same_values(findings: Findings, name: str) -> None:
    rows = list(csv.DictReader(csv_tables(findings)[name].splitlines()))
    assert rows
    for row in rows:
        assert {old: row[old] for old in OLD[name]} == {old: row[new] for old, new in OLD[name].items()}


def test_every_column_says_what_stands_in_it_and_no_name_comes_twice() -> None:
    for table in TABLES:
        assert all(column.meaning for column in table.columns)
        assert len({column.name for column in table.columns}) == len(table.columns)


def test_every_figure_has_its_place_on_the_page(findings: Findings) -> None:
    asked: list[str] = []

    class Noting(Figures):
        def __call__(self, *names: str) -> list[Block]:
            asked.extend(names)
            return []

    for topic in TOPICS:
        topic.section(findings, Noting({}))
    assert sorted(asked) == sorted(figure.name for figure in FIGURES)


def test_an_empty_study_has_every_table_with_its_header(nothing: Findings) -> None:
    tables = csv_tables(nothing)
    assert tables["calibration"] == PROMISED["calibration"] + "\n"
    assert [row["status"] for row in csv.DictReader(tables["runs"].splitlines())] == ["missing"] * 3


def test_before_a_run_has_finished_the_page_has_runs_and_how_to_repeat_them(nothing: Findings) -> None:
    said = [topic.__name__.rpartition(".")[2] for topic in TOPICS if sections(nothing, topic)]  # type: ignore[attr-defined]
    assert said == ["claim", "runs", "repeat"]


def test_numbers_are_unrounded_and_unknown_ones_empty(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    place.finish("base", 0)
    place.fail("base", 1)
    tables = csv_tables(place.findings())
    finished, failed = csv.DictReader(tables["runs"].splitlines())
    record = place.folder.run("base", 0).record()
    assert record is not None and finished["accuracy"] == repr(record.metrics["accuracy"])
    assert (failed["accuracy"], failed["epochs"]) == ("", "1")
    assert failed["error"] == "diverged: loss not finite (iteration 12)"
    assert not any("\r" in text for text in tables.values())
