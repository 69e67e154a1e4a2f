"""The commands on the page: which runs they name, and every option that decides a number."""

from __future__ import annotations

from itertools import pairwise

from harness.analysis.results import read_results
from harness.report.topics.repeat import PROGRAM, commands, report_command
from harness.study_file.seeds import parse_seeds
from tests.lab import Lab, MakeLab

START = "python -m harness.study study.toml --out again"


def repeated(lab: Lab, seeds: list[int] | None = None) -> list[str]:
    return commands(lab.results(seeds))


def test_a_study_of_one_setting_is_one_command(lab: MakeLab) -> None:
    place = lab(variants={"slow": {"optimizer.momentum": 0.1}})
    identity = {"device": "cpu", "precision": "bfloat16"}
    for variant in ("base", "slow"):
        place.finish(variant, 0, identity=identity)
    assert repeated(place) == [f"OMP_NUM_THREADS=1 {START} --device cpu --precision bfloat16"]


def test_variants_of_other_seeds_have_a_command_of_their_own(lab: MakeLab) -> None:
    place = lab(variants={"slow": {"optimizer.momentum": 0.1}}, precision="float32", seeds=[0, 1, 2])
    for seed in range(3):
        place.finish("base", seed, identity={"device": "cpu"})
    place.finish("slow", 1, identity={"device": "cpu"})
    assert repeated(place, []) == [
        f"OMP_NUM_THREADS=1 {START} --variants base --device cpu",
        f"OMP_NUM_THREADS=1 {START} --variants slow --seeds 1 --device cpu",
    ]


def test_the_reports_own_command_asks_for_no_run_that_it_does_not_have(lab: MakeLab) -> None:
    place = lab(variants={"slow": {"optimizer.momentum": 0.1}, "idle": {"optimizer.momentum": 0.2}})

    def again(seeds: list[int], variants: list[str]) -> tuple[str, set[tuple[str, int]]]:
        results = read_results(place.study, place.folder, seeds, variants)
        return report_command(results), {(run.variant, run.seed) for run in results.runs}

    def asked(command: str) -> tuple[list[int], list[str]]:
        words = command.split()
        given = {one: words[words.index(one) + 1] for one in ("--seeds", "--variants") if one in words}
        seeds = parse_seeds(given["--seeds"]) if "--seeds" in given else place.study.seeds
        return seeds, given["--variants"].split(",") if "--variants" in given else list(place.study.recipes)

    for seed in range(3):
        place.finish("base", seed)
    place.finish("slow", 1)
    for wish in (([1], ["slow"]), ([1, 2], ["slow"]), ([0, 1, 2], ["base"])):
        command, runs = again(*wish)
        assert again(*asked(command)) == (command, runs)
    assert again([1], ["slow"])[0] == f"{PROGRAM} --out DIR --report-only --variants base"


def test_what_a_gpu_needs_is_named(lab: MakeLab) -> None:
    place = lab(data={"source": "cifar10", "batch_size": 160}, seeds=[0])
    identity = {"device": "cuda", "devices": 2, "precision": "bfloat16", "recipe": {"compile": True}}
    place.finish(identity=identity, provenance={"device": "cuda"})
    assert repeated(place) == [
        f"{START} --device cuda --devices 2 --precision bfloat16 --set compile=true --data DATA"
    ]


def test_a_memory_format_that_was_timed_is_not_lost_by_naming_the_precision(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    place.finish(identity={"device": "cpu", "precision": "float32", "memory_format": "contiguous_format"})
    assert repeated(place) == [f"OMP_NUM_THREADS=1 {START} --device cpu"]


def test_each_package_of_the_users_own_code_is_allowed(lab: MakeLab) -> None:
    place = lab(
        seeds=[0],
        data={"source": "digits", "batch_size": 160, "sampler": "my_samplers:hard"},
        optimizer={"name": "my_muon.flat:FlatMuon"},
        loss={"name": "my_losses:focal"},
        augment={"train": [{"transform": "OneOf", "transforms": [{"transform": "my_transforms:Speckle"}]}]},
        schedule={"kind": "torch.optim.lr_scheduler:ExponentialLR", "epochs": 2, "lr_max": 0.1},
        model={"name": "timm:resnet26"},
    )
    place.finish(identity={"device": "cpu"})
    (line,) = repeated(place)
    allowed = {word for before, word in pairwise(line.split()) if before == "--allow"}
    assert allowed == {"my_samplers", "my_muon", "my_losses", "my_transforms"}
