"""A step that does not fit into memory is computed in smaller portions, to the same result, ever after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_tools import assert_equal, recipe, silent, stage, trained, write_clips

from vidapt.errors import BudgetError, CheckpointError, ConfigError
from vidapt.models.memory import is_out_of_memory
from vidapt.objectives import Loss
from vidapt.objectives.next_token import Part as NextToken
from vidapt.training.align.aligning import Aligning
from vidapt.training.room import Room
from vidapt.training.run import train

CLIPS = 6


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=CLIPS, questions=2)


class Small:
    """A machine without memory for more than some clips together; `late` fails in the backward pass."""

    def __init__(
        self, patch: pytest.MonkeyPatch, most: int, *, late: bool = False, error: Any = None
    ) -> None:
        self.sizes: list[int] = []
        self.tokens = 0
        forward = NextToken.forward
        raised = error or torch.OutOfMemoryError("out of memory")

        def full(gradient: Tensor) -> Tensor:
            raise raised

        def measured(part: NextToken, model: Any, batch: Any) -> Loss:
            self.sizes.append(len(batch))
            layout = batch.packed.layout
            self.tokens = int(layout.valid.sum()) + int((layout.owner >= 0).sum())
            loss = forward(part, model, batch)
            if len(batch) > most and not late:
                raise raised
            if len(batch) > most:
                loss.total.register_hook(full)
            return loss

        patch.setattr(NextToken, "forward", measured)


def plan(labels: Path, **changes: Any) -> Any:
    batching = {"clips": CLIPS, "memory": "auto", "blind": 0.0, **changes.pop("batching", {})}
    return recipe(stage(labels, steps=4, save_every=1, batching=batching, **changes))


@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_smaller_portions_learn_what_the_whole_step_learns(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, *, late: bool
) -> None:
    whole = trained(plan(labels), tmp_path / "whole")
    small, heard = Small(monkeypatch, most, late=late), list[str]()

    def report(task: str, done: int, total: int, note: str = "") -> None:
        heard.append(note)

    apart = trained(plan(labels), tmp_path / "small", report=report)
    for name, weight in whole.items():
        torch.testing.assert_close(apart[name], weight, rtol=1e-4, atol=1e-5)
    assert max(small.sizes[3:]) <= max(most, 1)
    fits = {1: 1, 2: 2, 4: 3}[most]
    told = [note for note in heard if "do not fit" in note]
    assert told[-1].endswith(f"together; {fits} at once from here on")
    kept = json.loads((tmp_path / "small" / "run" / "01-a" / "work" / "memory.json").read_text())
    assert kept["found"][-1] == [0, fits]


def test_a_portion_of_a_step_that_fails_leaves_nothing_of_the_others(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first portion's gradients are there already when the second one does not fit."""
    expected = trained(plan(labels, batching={"at_once": 2}), tmp_path / "whole")
    forward, calls = NextToken.forward, list[int]()

    def failing(part: NextToken, model: Any, batch: Any) -> Loss:
        calls.append(len(batch))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(part, model, batch)

    monkeypatch.setattr(NextToken, "forward", failing)
    apart = trained(plan(labels, batching={"at_once": 3}), tmp_path / "failing")
    assert calls[:5] == [3, 3, 2, 2, 2]
    assert_equal(apart, expected)


def test_what_was_found_holds_from_its_step_on_for_who_resumes(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps before the one that did not fit are done again as they were done: to the same bits."""
    forward, done = NextToken.forward, {"steps": 0}

    def fails_at_the_third(part: NextToken, model: Any, batch: Any) -> Loss:
        loss = forward(part, model, batch)
        if done["steps"] >= 2 and len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return loss

    def report(task: str, number: int, total: int, note: str = "") -> None:
        if task == "a":
            done["steps"] = number
            if number == stop:
                raise RuntimeError("power cut")

    monkeypatch.setattr(NextToken, "forward", fails_at_the_third)
    # Dropout: a step that was tried in vain has drawn from chance, which must not show.
    learns = {"language": "lora", "lora": {"rank": 2, "dropout": 0.5}}
    batching = {"clips": CLIPS, "memory": "auto", "blind": 0.0}
    seldom = recipe(stage(labels, steps=5, save_every=100, batching=batching, train=learns))
    stop = 0
    expected = trained(seldom, tmp_path / "whole", report=report)
    stop, done["steps"] = 4, 0
    with pytest.raises(RuntimeError, match="power cut"):
        train(seldom, tmp_path / "cut", report, workers=0)
    stop, done["steps"] = 0, 0
    assert_equal(trained(seldom, tmp_path / "cut", report=report, resume=True), expected)
    found = json.loads((tmp_path / "cut" / "run" / "01-a" / "work" / "memory.json").read_text())["found"]
    assert found == [[2, 3], [2, 2]]


def test_a_clip_that_does_not_fit_alone_is_named_with_its_tokens(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(monkeypatch, 0)
    with pytest.raises(BudgetError, match=r"\d\.mp4 \(\d\d+ tokens\) does not fit into memory even") as told:
        train(plan(labels), tmp_path, silent, workers=0)
    assert f"({small.tokens} tokens)" in str(told.value)
    assert "stage a, step 1" in str(told.value)


def test_without_auto_it_is_told_what_goes_on(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(monkeypatch, 2)
    given = plan(labels, batching={"memory": "given"})
    with pytest.raises(BudgetError, match="stage a, step 1: does not fit into memory") as told:
        train(given, tmp_path, silent, workers=0)
    assert small.sizes == [CLIPS]
    assert "--resume --set stages.0.batching.memory=auto" in str(told.value)
    change = "stages.0.batching.memory"
    assert trained(plan(labels), tmp_path, resume=True, changes=[change])


def test_an_update_is_never_tried_twice(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def full(*given: Any) -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(BudgetError, match="what the optimizer keeps does not fit into memory"):
        train(plan(labels), tmp_path, silent, workers=0)
    assert calls == [1]


def test_another_error_is_no_lack_of_memory(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(monkeypatch, 0, error=RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(plan(labels), tmp_path, silent, workers=0)
    assert len(small.sizes) == 1


def test_a_lack_of_memory_is_known_on_every_device() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(told.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("out of luck"))
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_the_recipe_gives_the_most(tmp_path: Path) -> None:
    assert Room(tmp_path, None).at_once(0) is None
    room = Room(tmp_path, 8)
    heard: list[str] = []
    assert room.at_once(0) == 8
    room.halve(5, 8, heard.append)
    room.halve(7, 3, heard.append)
    again = Room(tmp_path, 8)
    assert [again.at_once(step) for step in (4, 5, 6, 7)] == [8, 4, 4, 2]
    assert Room(tmp_path, 3).at_once(5) == 3
    assert heard[0] == "step 6: 8 clips do not fit into memory together; 4 at once from here on"


def test_what_was_found_and_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"found": [[1]]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"memory\.json: is damaged"):
        Room(tmp_path, None)


def test_pairs_that_are_compared_are_not_divided(labels: Path) -> None:
    with pytest.raises(ConfigError, match=r"batching\.memory: would compare the clips of a portion"):
        Aligning().planned(plan(labels))
