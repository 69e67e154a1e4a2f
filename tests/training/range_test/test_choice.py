"""What the range test chooses from a sweep, and which choices it doubts."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.study_file.schedules import RangeTest
from harness.training.range_test.choice import APART, CRITERIA, choose, choose_together
from harness.training.range_test.sweep import Sweep

LR = np.geomspace(1e-4, 1.0, 200)
LOG = np.log10(LR)


def curve(loss: Any = None, accuracy: Any = None, diverged: bool = False) -> Sweep:
    flat = np.ones(200)
    return Sweep(LR, flat if loss is None else loss, flat if accuracy is None else accuracy, diverged)


def bowl(at: float) -> Any:
    return (LOG - at) ** 2


def doubts_of(sweep: Sweep, **settings: Any) -> list[str]:
    return choose(sweep, RangeTest(**settings))[1]


def planned(chosen: RangeTest) -> Any:
    space = np.geomspace if chosen.mode == "exponential" else np.linspace
    return space(chosen.start_lr, chosen.end_lr, chosen.iterations)


def test_every_criterion_of_the_study_file_has_a_function() -> None:
    assert set(CRITERIA) == set(get_args(RangeTest.model_fields["criterion"].annotation))


ONE_LUCKY_BATCH = 1 - bowl(-2) / 10
ONE_LUCKY_BATCH[150] = 1.2
FALLS_STEEPLY = -np.tanh(3 * (LOG + 2.5)) + 20 * np.maximum(0, LOG + 0.5) ** 2
# rises to 10^-3.5, falls to 10^-0.5, rises
VALLEY = np.where(LOG < -3.5, LOG, np.where(LOG < -0.5, -7 - LOG, LOG - 6))
# falls from 10^-3 to 10^-2, rises, runs away at 10^-1.5, and falls for longer, but not as low
FALLS_AGAIN = np.where(LOG < -3, LOG, np.where(LOG < -1.5, 3 * abs(LOG + 2) - 6, 1.5 - LOG))


@pytest.mark.parametrize(
    ("criterion", "sweep", "log_lr"),
    [
        ("accuracy", curve(bowl(-1), 1 - bowl(-2) / 10), -2),
        ("accuracy", curve(bowl(-1), ONE_LUCKY_BATCH), -2),
        ("minimum", curve(bowl(-1.5), bowl(0)), -1.5),
        ("steepest", curve(FALLS_STEEPLY), -2.5),
        ("valley", curve(VALLEY), -3.5 + 2),
        ("valley_minimum", curve(VALLEY), (-3.5 + 2 - 0.5) / 2),
        ("valley_minimum", curve(FALLS_AGAIN), (-3 + 2 / 3 - 2) / 2),
    ],
    ids=[
        "peak of the accuracy",
        "but not of one batch",
        "lowest loss",
        "steepest",
        "two thirds of the fall",
        "between that and the lowest",
        "before the lowest, however long it falls again",
    ],
)
def test_a_criterion_chooses_its_rate_of_the_smoothed_curve(
    criterion: Any, sweep: Sweep, log_lr: float
) -> None:
    rates, doubts = choose(sweep, RangeTest(criterion=criterion))
    assert np.log10(rates.lr_max) == pytest.approx(log_lr, abs=0.05) and doubts == []


def test_steepest_is_over_log_lr_in_a_linear_sweep_too() -> None:
    lr = np.linspace(0.01, 1, 300)
    loss = -np.tanh(3 * (np.log10(lr) + 1)) + 20 * np.maximum(0, np.log10(lr) + 0.2) ** 2
    rates, _ = choose(Sweep(lr, loss, lr, False), RangeTest(criterion="steepest"))
    assert np.log10(rates.lr_max) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("divisor", [1, 10, 32.5])
def test_lr_min_is_lr_max_by_its_divisor(divisor: float) -> None:
    rates, _ = choose(curve(bowl(-1), -bowl(-2)), RangeTest(lr_min_divisor=divisor))
    assert rates.lr_min == rates.lr_max / divisor


@pytest.mark.parametrize("criterion", ["accuracy", "minimum"])
def test_a_choice_at_the_end_of_the_sweep_is_doubtful(criterion: Any) -> None:
    for diverged, says in ((False, "is at the end of the sweep; raise range_test.end_lr"),
                           (True, "is where the loss diverged; raise range_test.iterations")):  # fmt: skip
        rates, doubts = choose(curve(bowl(0), -bowl(0), diverged), RangeTest(criterion=criterion))
        assert doubts == [f"lr_max = {rates.lr_max:.4g} {says}"]
        rises = doubts_of(curve(bowl(-4), -bowl(-4), diverged), criterion=criterion)
        assert rises == ["the loss rises from the first rates on; lower range_test.start_lr"]


def test_where_the_second_rate_follows_the_last_that_one_is_named() -> None:
    lr, loss = np.linspace(1e-4, 1e3, 200)[:8], np.geomspace(2.3, 20, 8)
    doubts = doubts_of(Sweep(lr, loss, -loss, True), end_lr=1e3, iterations=200, mode="linear")
    assert doubts == ["the loss rises from the first rates on; lower range_test.end_lr"]


def test_a_choice_whose_loss_is_above_the_first_is_doubtful() -> None:
    rates, (doubt,) = choose(curve(bowl(-3), LOG), RangeTest())
    assert rates.lr_max > 0.9
    assert doubt.startswith(f"the loss at lr_max = {rates.lr_max:.4g} is ")
    assert doubt.endswith(" at the start; lower range_test.end_lr")


def test_an_accuracy_that_falls_while_the_loss_falls_too_is_no_criterion() -> None:
    (doubt,) = doubts_of(curve(bowl(-1), -LOG))
    start = "lr_max = 0.0001 is at the start of the sweep, but the loss falls until lr = 0.09"
    assert doubt.startswith(start) and doubt.endswith("; choose another range_test.criterion")


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_flat_curve_asks_for_higher_rates(criterion: str) -> None:
    noise = np.random.default_rng(0).normal(size=200) / 5
    for loss in (np.full(200, 2.3), 2.3 + noise):
        doubts = doubts_of(curve(loss, -loss), criterion=criterion)
        assert doubts == ["no rate of the sweep lowers the loss; raise range_test.end_lr"]


@pytest.mark.parametrize(
    ("few", "says"),
    [
        (RangeTest(iterations=5, end_lr=1e6), "5 rates, each 316 times the one before, are too few"),
        (RangeTest(iterations=15, start_lr=0.1), "15 rates are too few"),
        (RangeTest(iterations=15, mode="linear"), "15 rates are too few"),
        (RangeTest(iterations=30, start_lr=1e-9, end_lr=10), "30 rates, each 2.21 times the one before"),
    ],
)
def test_rates_too_few_or_too_far_apart_are_doubtful(few: RangeTest, says: str) -> None:
    def doubts(chosen: RangeTest) -> list[str]:
        fall = np.linspace(2, 1, chosen.iterations)
        return choose(Sweep(planned(chosen), fall, -fall, False), chosen)[1]

    doubt = doubts(few)[0]
    assert doubt.startswith(says) and "raise range_test.iterations to " in doubt
    enough = few.model_copy(update={"iterations": int(doubt.split()[-1])})
    assert not any("too few" in doubt for doubt in doubts(enough))


def imagined(chosen: RangeTest, learns: float, fails: float, noise: float) -> Sweep | None:
    """Return the sweep of a network that learns from one rate on and fails from another on, both as log10.

    None where its loss runs away within five steps, which is an error.
    """
    lr = planned(chosen)
    at = np.log10(lr)
    loss = 2.3 - 1.5 * np.clip((at - learns) / (fails - learns), 0, 1) + 10 ** (2 * (at - fails))
    loss = np.concatenate([[2.3], loss[:-1]])  # that of a batch is measured before the step
    loss += noise * np.random.default_rng(0).normal(size=len(lr))
    above = np.flatnonzero(loss > 5 * np.minimum.accumulate(loss))
    end = int(above[0]) + 1 if len(above) else len(lr)
    return Sweep(lr[:end], loss[:end], 1 - loss[:end] / 3, len(above) > 0) if end >= 5 else None


@settings(deadline=None, max_examples=60)
@given(
    start=st.floats(-7, 2),
    span=st.floats(0.5, 7),
    iterations=st.integers(5, 300),
    mode=st.sampled_from(["exponential", "linear"]),
    criterion=st.sampled_from(["accuracy", "minimum"]),
    learns=st.floats(-4, -2),
    noise=st.floats(0, 0.1),
)
def test_who_follows_the_advice_finds_the_rate_at_which_the_network_still_learns(
    start: float, span: float, iterations: int, mode: Any, criterion: Any, learns: float, noise: float
) -> None:
    fails, told = learns + 2, []
    chosen = RangeTest(
        start_lr=10**start, end_lr=10 ** min(start + span, 5), iterations=iterations,
        mode=mode, criterion=criterion,
    )  # fmt: skip
    for _ in range(20):
        result = imagined(chosen, learns, fails, noise)
        if result is None:
            coarse = chosen.mode == "linear" or chosen.iterations < 50
            told.append(f"lower range_test.{'end' if coarse else 'start'}_lr")
        else:
            rates, doubts = choose(result, chosen)
            if not doubts:
                break
            told.append(doubts[-1].rpartition("; ")[2])
        verb, key, *to = told[-1].replace("range_test.", "").replace("to ", "").split()
        value = int(to[0]) if to else getattr(chosen, key) * {"raise": 3, "lower": 1 / 3}[verb]
        changed = chosen.model_copy(update={key: int(value) if key == "iterations" else value})
        if changed.start_lr >= changed.end_lr:  # both go down
            changed = changed.model_copy(update={"start_lr": changed.end_lr / 100})
        chosen = changed
    else:
        pytest.fail(f"never done: {told} {chosen}")
    assert learns < np.log10(rates.lr_max) < fails + 0.5, (told, chosen)


def test_a_choice_well_inside_is_not_doubtful() -> None:
    for at in (-3.8, -0.2):
        assert doubts_of(curve(bowl(at), -bowl(at))) == []


def test_a_sweep_that_never_turned_is_doubtful() -> None:
    rates, doubts = choose(curve(-LOG, -bowl(-2)), RangeTest(criterion="accuracy"))
    assert doubts == ["the loss still falls where the sweep ends; raise range_test.end_lr"]
    assert np.log10(rates.lr_max) == pytest.approx(-2, abs=0.02)


def test_a_loss_that_falls_until_it_is_not_finite_may_be_the_datas_fault() -> None:
    (doubt,) = doubts_of(curve(-LOG, -bowl(-2), diverged=True))
    assert doubt.startswith("the loss falls until lr = 1 and is not finite at the next step; look at data")
    ran_away = np.append(-LOG[:-5], [5, 9, 15, 30, 80])
    assert doubts_of(curve(ran_away, -bowl(-2), diverged=True)) == []


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("steps", [5, 6, 11])
def test_every_criterion_chooses_a_rate_of_even_the_shortest_or_flattest_sweep(
    criterion: Any, steps: int
) -> None:
    lr = np.geomspace(1e-3, 1, steps)
    for values in (np.ones(steps), np.arange(steps, 0.0, -1), np.arange(steps, dtype=float)):
        rates, _ = choose(Sweep(lr, values, values, True), RangeTest(criterion=criterion))
        assert rates.lr_max in lr


# ---- several sweeps ----------------------------------------------------------------------------------------

PEAKS = st.lists(st.floats(-3.5, -0.8), min_size=1, max_size=6)


def peaked(at: float) -> Sweep:
    return curve(bowl(at + 0.3), 1 - bowl(at) / 10)


@given(PEAKS, st.randoms())
@settings(max_examples=40, deadline=None)
def test_lr_max_of_several_sweeps_is_the_median_of_their_choices_in_any_order(
    peaks: Any, random: Any
) -> None:
    sweeps = [peaked(at) for at in peaks]
    together = choose_together(sweeps, RangeTest())
    alone = [choose(sweep, RangeTest())[0].lr_max for sweep in sweeps]
    assert list(together.each) == alone
    assert np.log(together.rates.lr_max) == pytest.approx(np.median(np.log(alone)), abs=1e-12)
    assert together.rates.lr_min == together.rates.lr_max / 10
    random.shuffle(sweeps)
    assert choose_together(sweeps, RangeTest()).rates == together.rates


@pytest.mark.parametrize("repeats", [1, 3, 5])
def test_an_odd_number_of_sweeps_chooses_a_rate_that_was_swept(repeats: int) -> None:
    rates = choose_together([peaked(-2 + at / 5) for at in range(repeats)], RangeTest()).rates
    assert rates.lr_max in LR


def test_sweeps_that_differ_by_more_than_a_factor_of_two_are_a_warning() -> None:
    near, far = (choose_together([peaked(-2), peaked(at)], RangeTest()) for at in (-1.75, -1.55))
    assert near.doubts == () and max(near.each) < APART * min(near.each)
    (doubt,) = far.doubts
    low, high = sorted(far.each)
    assert doubt.startswith(f"its 2 sweeps choose lr_max from {low:.4g} to {high:.4g}, a factor of 2.")
    assert doubt.endswith('; raise range_test.repeats, or take criterion = "valley_minimum"')


def test_a_doubt_of_some_sweeps_is_said_once_with_their_number() -> None:
    end = peaked(-0.01)  # its accuracy is best, and its loss still falls, where the sweep ends
    (one,) = choose_together([end], RangeTest()).doubts
    assert one.endswith("is at the end of the sweep; raise range_test.end_lr")
    assert choose_together([end] * 3, RangeTest()).doubts == (one,)
    some = choose_together([end, peaked(-0.9), end], RangeTest()).doubts
    assert some[0] == f"2 of 3 sweeps: {one}"
