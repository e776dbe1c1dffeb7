"""Steps are made ready in the background: in order, with their errors, and nothing is learned otherwise."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from training_tools import assert_equal, recipe, silent, stage, trained, weights, write_clips

from vidapt.training.cache import TensorStore
from vidapt.training.prefetch import Prefetch
from vidapt.training.run import train


class Portion:
    def __init__(self, number: int, log: list[str]) -> None:
        self.number, self._log = number, log

    @property
    def tokens(self) -> int:
        return 10 * (self.number + 1)

    def ready(self) -> None:
        self._log.append(f"ready {self.number} in {threading.current_thread().name[:15]}")


@contextmanager
def prefetch(steps: int, ahead: int, log: list[str], fails: int = -1) -> Iterator[Prefetch]:
    def batches(number: int) -> list[Any]:
        if number == fails:
            raise ValueError(f"step {number} is broken")
        log.append(f"made {number}")
        return [Portion(number, log)]

    with closing(Prefetch(batches, steps, ahead)) as made:
        yield made


def test_steps_come_in_order_and_some_ahead() -> None:
    log: list[str] = []
    with prefetch(6, 2, log) as steps:
        assert [one.number for one in steps(0)] == [0]
        deadline = time.monotonic() + 10
        while "made 2" not in log and time.monotonic() < deadline:
            time.sleep(0.001)
        assert [line for line in log if line.startswith("made")] == ["made 0", "made 1", "made 2"]
        assert steps.tokens_s is None
        assert [steps(number)[0].number for number in range(1, 6)] == [1, 2, 3, 4, 5]
        assert (
            steps.read == 20 + 30 + 40 + 50 + 60
        )  # the first step, behind which time is counted, is left out
        assert steps.tokens_s is not None
        assert steps.tokens_s > 0
    assert [line for line in log if line.startswith("made")] == [f"made {n}" for n in range(6)]
    assert {line.rpartition(" ")[2] for line in log if "ready" in line} == {"vidapt-prefetch"}


def test_a_step_that_is_asked_for_again_is_made_anew_and_so_are_later_ones() -> None:
    log: list[str] = []
    with prefetch(9, 1, log) as steps:
        first = steps(3)
        assert steps(3)[0] is not first[0]
        assert [steps(number)[0].number for number in (4, 5)] == [4, 5]
        assert steps(1)[0].number == 1  # and any other order


def test_an_error_comes_with_its_own_step() -> None:
    log: list[str] = []
    with prefetch(5, 3, log, fails=2) as steps:
        assert steps(0)[0].number == 0
        assert steps(1)[0].number == 1
        with pytest.raises(ValueError, match="step 2 is broken"):
            steps(2)
        assert steps(3)[0].number == 3


def test_nothing_is_made_beyond_the_last_step_nor_after_the_end() -> None:
    log: list[str] = []
    with prefetch(2, 50, log) as steps:
        steps(0)
    assert {"made 0"} <= {line for line in log if "made" in line} <= {"made 0", "made 1"}
    assert not [one for one in threading.enumerate() if one.name.startswith("vidapt-prefetch")]


def test_without_it_all_is_made_in_place() -> None:
    log: list[str] = []
    with prefetch(3, 0, log) as steps:
        steps(0)
        assert log == ["made 0", "ready 0 in MainThread"]


@pytest.mark.parametrize("keep", ["features", "frames", "nothing"])
def test_what_is_learned_does_not_depend_on_it(keep: str, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=5)
    towers = {"towers": "frozen"} if keep == "features" else {"towers": "full"}
    found = [
        trained(
            recipe(stage(labels, train=towers, cache={"keep": keep}, batching={"clips": 2, "ahead": ahead})),
            tmp_path / str(ahead),
        )
        for ahead in (0, 3)
    ]
    assert_equal(*found)


def test_a_slow_store_is_waited_for_less_and_the_share_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write_clips(tmp_path / "clips", clips=4)
    read = TensorStore.get

    def slowly(self: TensorStore, key: str) -> Any:
        time.sleep(0.02)
        return read(self, key)

    monkeypatch.setattr(TensorStore, "get", slowly)
    real = Prefetch.__call__

    def computed(self: Prefetch, number: int) -> list[Any]:
        found = real(self, number)
        time.sleep(0.08)  # what the device would take
        return found

    monkeypatch.setattr(Prefetch, "__call__", computed)
    shares: dict[int, float] = {}
    for ahead in (0, 2):
        plan = recipe(
            stage(
                labels,
                train={"towers": "frozen"},
                steps=12,
                batching={"clips": 2, "ahead": ahead, "blind": 0},
            )
        )
        run = train(plan, tmp_path / f"runs{ahead}", silent, workers=0)
        (result,) = json.loads((run / "run.json").read_text())["stages"].values()
        shares[ahead] = result["waited"]
    assert shares[2] < shares[0] / 2
    assert weights(tmp_path / "runs0" / "run").keys() == weights(tmp_path / "runs2" / "run").keys()
