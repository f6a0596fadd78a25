"""Runs stand in line so that none waits for longer than for a free worker and for its own stage 1."""

import pytest

from ctsl_lib.experiments.line import Line
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.losses.methods import METHODS

ROWS = [METHODS[name] for name in ("independent", "tfkd", "dml", "ctsl_mkt")]


def runs(seed: int) -> list[Spec]:
    return [Spec(objective=row, seed=seed) for row in ROWS]


def line_of(*seeds: int) -> tuple[Line, dict[int, Spec]]:
    every = [spec for seed in seeds for spec in runs(seed)]
    first = {seed: runs(seed)[1].stage1() for seed in seeds}
    return Line(first.values(), every), first


def test_stage_1_stands_before_its_seed_and_others_pass_those_that_wait_for_it() -> None:
    line, first = line_of(0, 1)
    independent, tfkd, dml, ctsl = runs(0)
    assert [line.take() for _ in range(3)] == [first[0], independent, dml]  # nobody has finished stage 1
    assert line.take() == first[1]
    line.end(first[0])
    assert [line.take(), line.take()] == [tfkd, ctsl]  # before the next seed
    assert line.take() == runs(1)[0]


def test_a_run_that_is_put_back_is_the_next_and_still_kept_waiting_for() -> None:
    line, first = line_of(0)
    taken = line.take()
    assert taken == first[0]
    line.put_back(taken)
    assert len(line) == 5 and line.take() == first[0]
    assert [line.take(), line.take(), line.take()] == [runs(0)[0], runs(0)[2], None]


def test_every_run_is_taken_once_and_stage_1_of_several_methods_too() -> None:
    line, _ = line_of(0, 1, 2)
    taken = []
    while line:
        spec = line.take()
        assert spec is not None
        line.end(spec)
        taken.append(spec)
    assert len(taken) == len(set(taken)) == 3 * 5
    assert [spec.seed for spec in taken] == sorted(spec.seed for spec in taken)


def test_weights_are_needed_of_a_stage_1_that_is_asked_for_itself() -> None:
    tfkd = Spec(objective=METHODS["tfkd"])
    line = Line([], [tfkd.stage1(), tfkd])
    assert line.needs_weights_of(tfkd.stage1()) and not line.needs_weights_of(tfkd)
    assert [line.take(), line.take()] == [tfkd.stage1(), None]


@pytest.mark.parametrize("done", [True, False])
def test_what_has_its_stage_1_already_does_not_wait(done: bool) -> None:
    tfkd = Spec(objective=METHODS["tfkd"])
    line = Line([] if done else [tfkd.stage1()], [tfkd])
    assert line.take() == (tfkd if done else tfkd.stage1())
