"""A run that was interrupted anywhere and resumed ends where it would have ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tools import assert_equal, recipe, silent, stage, trained, weights, write_clips

from vidapt.errors import ConfigError
from vidapt.interrupt import between_steps
from vidapt.recipe import Recipe
from vidapt.training import talking
from vidapt.training.run import train

STEPS = 7


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """As at a terminal; a test run in a shell's background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stop_at(step: int, how: Callable[[], Any], task: str = "a") -> Callable[..., None]:
    def report(name: str, done: int, total: int, note: str = "") -> None:
        if name == task and done == step:
            how()

    return report


def raise_(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


def plan_of(labels: Path, **changes: Any) -> Recipe:
    # Dropout, several questions drawn anew at each visit: everything that uses chance, or keeps a state.
    return recipe(
        stage(
            labels,
            steps=STEPS,
            train={"towers": "lora", "language": "lora", "lora": {"rank": 2, "dropout": 0.5}},
            batching={"clips": 2, "questions": 2, "at_once": 1},
            average={"kind": "ema", "decay": 0.9},
            optimizer={
                "rates": {"towers": 1e-2, "connector": 1e-2, "language": 1e-2},
                "layer_decay": {"towers": 0.8, "language": 0.9},
                "decay": "wsd",
                "warmup_floor": 0.25,
            },
            **changes,
        )
    )


@pytest.mark.parametrize("step", [1, 2, 3, 6, STEPS])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("power cut")])
def test_an_exception_at_any_step_changes_nothing(
    labels: Path, tmp_path: Path, step: int, error: BaseException
) -> None:
    plan = plan_of(labels)
    expected = trained(plan, tmp_path / "whole")
    with pytest.raises(type(error)):
        train(plan, tmp_path / "cut", stop_at(step, raise_(error)), workers=0)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


def test_the_numbers_written_down_are_those_of_an_uninterrupted_run(labels: Path, tmp_path: Path) -> None:
    def numbers(run: Path) -> tuple[Any, ...]:
        stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]["01-a"]
        card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
        log = (run / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8")
        return stages["steps"], stages["loss"], card["loss"], log

    plan = plan_of(labels)
    whole = train(plan, tmp_path / "whole", silent, workers=0)
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "cut", stop_at(STEPS, raise_(KeyboardInterrupt())), workers=0)
    with (tmp_path / "cut" / "run" / "01-a" / "work" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 99, "loss"')
    cut = train(plan, tmp_path / "cut", silent, workers=0, resume=True)
    assert numbers(cut) == numbers(whole)


def test_ctrl_c_waits_for_the_step_under_way_and_saves_it(labels: Path, tmp_path: Path) -> None:
    plan = plan_of(labels, save_every=1000)
    expected = trained(plan, tmp_path / "whole")

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "cut", stop_at(3, press), workers=0)
    work = tmp_path / "cut" / "run" / "01-a" / "work"
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-00000004"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


def test_ctrl_c_in_the_last_step_still_ends_the_run(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=2))
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path, stop_at(2, lambda: signal.raise_signal(signal.SIGINT)), workers=0)
    assert not (tmp_path / "run" / "01-a" / "model").exists()
    assert trained(plan, tmp_path, resume=True)


def test_a_second_ctrl_c_ends_at_once() -> None:
    def press_twice() -> None:
        with between_steps() as interrupted:
            assert not interrupted()
            signal.raise_signal(signal.SIGINT)
            assert interrupted()
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on after the second Ctrl-C")

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_ctrl_c_is_ignored_it_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with between_steps() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert not interrupted()


def test_stages_go_on_between_one_another(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(
        stage(labels, "a", steps=3, train={"towers": "full", "language": "frozen"}),
        stage(labels, "b", steps=3, train={"language": "lora", "lora": {"rank": 2}}),
        stage(labels, "c", steps=3, train={"towers": "full", "connector": "frozen", "language": "lora"}),
    )
    expected = trained(plan, tmp_path / "whole")
    cuts = [stop_at(2, raise_(KeyboardInterrupt()), task) for task in ("a", "b", "c")]
    for number, cut in enumerate(cuts):
        with pytest.raises(KeyboardInterrupt):
            train(plan, tmp_path / "cut", cut, workers=0, resume=number > 0)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)

    # Killed after a stage's checkpoint, before its model: the model is written from the checkpoint.
    with monkeypatch.context() as patch:
        patch.setattr(talking, "save_model", lambda *_: raise_(OSError("killed"))())
        with pytest.raises(OSError, match="killed"):
            train(plan, tmp_path / "late", silent, workers=0)
    assert_equal(trained(plan, tmp_path / "late", resume=True), expected)


def test_a_finished_run_stays_as_it_is(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=2))
    run = train(plan, tmp_path, silent, workers=0)
    before = (run / "run.json").read_bytes()
    assert list(run.rglob("checkpoint-*")) == []
    assert train(plan, tmp_path, silent, workers=0, resume=True) == run
    assert (run / "run.json").read_bytes() == before


def test_only_two_checkpoints_are_kept_and_torn_ones_go(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=9, save_every=1))
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path, stop_at(5, raise_(KeyboardInterrupt())), workers=0)
    work = tmp_path / "run" / "01-a" / "work"
    assert sorted(path.name for path in work.glob("checkpoint-*")) == [
        "checkpoint-00000004",
        "checkpoint-00000005",
    ]
    torn = work / ".checkpoint-00000006.x"
    torn.mkdir()
    trained(plan, tmp_path, resume=True)
    assert not torn.exists()


@pytest.mark.parametrize("change", ["a row less", "another answer", "another clip"])
def test_a_run_is_not_resumed_with_other_labels(tmp_path: Path, change: str) -> None:
    labels = write_clips(tmp_path / "clips")
    plan = recipe(stage(labels, steps=4, save_every=1))
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path, stop_at(2, raise_(KeyboardInterrupt())), workers=0)
    rows = labels.read_text(encoding="utf-8").splitlines()
    if change == "a row less":
        labels.write_text("\n".join(rows[:-1]), encoding="utf-8")
    elif change == "another answer":
        last = {**json.loads(rows[-1]), "answer": "no ball at all."}
        labels.write_text("\n".join([*rows[:-1], json.dumps(last)]), encoding="utf-8")
    else:
        (labels.parent / "0.mp4").write_bytes((labels.parent / "1.mp4").read_bytes() + b"\0" * 8)
    with pytest.raises(ConfigError, match="labels, or clips they name, have changed"):
        train(plan, tmp_path, silent, workers=0, resume=True)


def test_a_checkpoint_beyond_the_stages_end_is_refused(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(
            recipe(stage(labels, steps=6, save_every=1)),
            tmp_path,
            stop_at(5, raise_(KeyboardInterrupt())),
            workers=0,
        )
    shorter = recipe(stage(labels, steps=4))
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps({"recipe": shorter.fingerprint}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"stages\.0\.steps: is 4, and 5 are done"):
        train(shorter, tmp_path, silent, workers=0, resume=True)


def test_a_run_is_not_resumed_by_another_recipe_nor_without_being_asked(labels: Path, tmp_path: Path) -> None:
    train(recipe(stage(labels, steps=1)), tmp_path, silent, workers=0)
    with pytest.raises(ConfigError, match="this run exists"):
        train(recipe(stage(labels, steps=1)), tmp_path, silent, workers=0)
    with pytest.raises(ConfigError, match="another version of the recipe"):
        train(recipe(stage(labels, steps=2)), tmp_path, silent, workers=0, resume=True)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(labels: Path, tmp_path: Path) -> None:
    first = trained(recipe(stage(labels)), tmp_path / "a")
    assert_equal(trained(recipe(stage(labels)), tmp_path / "b"), first)
    other = trained(recipe(stage(labels), seed=1), tmp_path / "c")
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_torn_beginning_is_begun_again(labels: Path, tmp_path: Path) -> None:
    # Killed between writing recipe.json and run.json.
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text("{}", encoding="utf-8")
    (run / ".run.json.x1").write_text("", encoding="utf-8")
    assert train(recipe(stage(labels, steps=1)), tmp_path, silent, workers=0) == run
    assert weights(run)
