"""What a plan says is what the run does: the tokens exactly, memory and operations as they are measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import align_tools
import pytest
import torch
from training_tools import blueprint, recipe, silent, stage, write_clips

from _accounted import Taken, accounted
from vidapt.planning.numbers import RecipePlan
from vidapt.planning.plan import Means, plan_recipe
from vidapt.planning.weightless import Account
from vidapt.recipe import Recipe
from vidapt.training.outlook import Outlook, outlook
from vidapt.training.run import train


def planned(plan: Recipe, runs: Path) -> tuple[RecipePlan, Taken]:
    """The plan of a recipe, and what carrying it out was measured to do."""
    found: list[RecipePlan] = []

    def look(ahead: Outlook) -> None:
        found.append(plan_recipe(ahead, Means("h100", runs=runs), every_step=True))

    with accounted() as measured:
        train(plan, runs, silent, workers=0, look=look)
    return found[0], measured


DEEP = blueprint(language={"num_hidden_layers": 6, "intermediate_size": 64})
WAYS: dict[str, dict[str, Any]] = {
    "everything": {},
    "frozen tower": {"train": {"towers": "frozen"}},
    "towers": {"train": {"towers": "full"}},
    "adapters": {"train": {"language": "lora", "lora": {"rank": 2}}},
    "portions": {"batching": {"clips": 4, "at_once": 2}},
    "separate samples": {"batching": {"clips": 2, "shared_prefix": False}},
    "nothing kept": {"cache": {"keep": "nothing"}},
    "halves": {"precision": "bfloat16"},
    "blind": {"batching": {"clips": 2, "blind": 0.5}},
    "computed again": {"recompute": True, "train": {"towers": "frozen"}},
    "norms": {"train": {"towers": "norms", "language": "norms"}},
    "last layers": {"train": {"towers": {"last": 1}, "language": {"last": 1}}},
    "adapters of towers": {"train": {"towers": "lora", "towers_lora": {"rank": 2}, "language": "frozen"}},
    "samples": {"steps": None, "samples": 9},
    "tokens": {"steps": None, "tokens": 400},
}


@pytest.mark.parametrize("way", WAYS)
def test_plan_is_what_the_run_does(way: str, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=5)
    plan, measured = planned(
        recipe(stage(labels, **{"batching": {"clips": 2}, "steps": 4, **WAYS[way]}), blueprint=DEEP),
        tmp_path,
    )
    (one,) = plan.stages
    assert one.memory is not None
    assert one.tokens.total == sum(measured.tokens)
    assert one.tokens.exact
    assert one.steps == len(measured.peaks)
    foreseen = one.memory.gradients + one.memory.activations
    assert foreseen == pytest.approx(max(measured.peaks), rel=0.15)
    assert one.flops == pytest.approx(sum(measured.flops), rel=0.15)


def test_plan_needs_no_weights(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    lora = {"language": "lora", "lora": {"rank": 2}}
    whole = recipe(stage(labels, "a", steps=1), stage(labels, "b", train=lora, steps=1))
    plan, _ = planned(whole, tmp_path)
    alone = plan_recipe(outlook(whole, silent), Means("h100", runs=tmp_path), every_step=True)
    assert [one.to_dict() for one in alone.stages] == [one.to_dict() for one in plan.stages]


def test_parts_and_what_learns_are_counted(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    lora = {"language": "lora", "lora": {"rank": 2, "targets": ["q_proj"]}}
    plan, _ = planned(recipe(stage(labels, train=lora, steps=1)), tmp_path)
    parts = plan.stages[0].parts
    assert parts["towers"][1] == 0
    assert parts["connector"][0] == parts["connector"][1] > 0
    assert parts["language"][1] == 2 * 2 * (16 * 2)  # two layers, two matrices each of 16 by rank 2
    assert plan.stages[0].trained == parts["connector"][1] + parts["language"][1]
    assert plan.stages[0].memory is not None
    assert plan.stages[0].memory.optimizer == 2 * 4 * plan.stages[0].trained


def test_cache_and_model_take_the_room_that_was_planned(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    train_ = {"towers": "frozen"}
    plan, _ = planned(recipe(stage(labels, train=train_, steps=1)), tmp_path)
    shards = sum(path.stat().st_size for path in (tmp_path / ".cache").rglob("*.safetensors"))
    models = sum(path.stat().st_size for path in tmp_path.rglob("model/model.safetensors"))
    assert plan.stages[0].disk.cache == pytest.approx(shards, abs=2000)  # of the shard's header
    assert plan.stages[0].disk.model == pytest.approx(models, rel=0.15)


def test_stages_go_on_with_what_the_one_before_left(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    lora = {"language": "lora", "connector": "frozen", "lora": {"rank": 2}}
    plan, measured = planned(
        recipe(stage(labels, "a", train=lora, steps=1), stage(labels, "b", steps=1)), tmp_path
    )
    first, second = plan.stages
    # Its adapters stay with the model, and learn with all of it.
    assert second.parts["language"] == (first.parts["language"][0],) * 2
    assert [s.memory and s.memory.gradients + s.memory.activations for s in plan.stages] == pytest.approx(
        measured.peaks, rel=0.15
    )


def test_alignment_is_planned(tmp_path: Path) -> None:
    labels = align_tools.write_captioned(tmp_path / "clips")
    plan, measured = planned(align_tools.recipe(align_tools.stage(labels, steps=2)), tmp_path)
    (one,) = plan.stages
    assert one.memory is not None
    assert one.memory.gradients + one.memory.activations == pytest.approx(max(measured.peaks), rel=0.15)
    assert one.tokens.clip == 0
    assert one.kv_bytes == 0


def test_times_are_operations_by_speed(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    ahead = outlook(recipe(stage(labels, train={"towers": "full"}, steps=3)), silent)
    slow = plan_recipe(ahead, Means("l4", utilisation=0.5, price=2.0))
    fast = plan_recipe(ahead, Means("l4", devices=4, utilisation=0.5))
    flops = slow.stages[0].flops
    assert slow.seconds[0] == pytest.approx(flops / (0.5 * 30.3e12))  # float32
    assert fast.seconds[0] == pytest.approx(slow.seconds[0] / 4)
    assert slow.price == pytest.approx(slow.seconds[0] / 3600 * 2.0)
    assert fast.price is None


def test_a_part_that_cannot_be_foreseen_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("decides by what it sees\nand more")

    labels = write_clips(tmp_path / "clips")
    monkeypatch.setattr("vidapt.planning.stage.step_cost", fails)
    plan = plan_recipe(outlook(recipe(stage(labels, steps=3)), silent), Means("h100"))
    (one,) = plan.stages
    assert one.memory is None
    assert one.unknown == "a step cannot be foreseen: RuntimeError: decides by what it sees"
    assert not plan.seconds
    assert one.tokens.total > 0


def test_very_many_clips_are_planned_by_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = write_clips(tmp_path / "clips", clips=6)
    whole = plan_recipe(outlook(recipe(stage(labels, steps=6)), silent), Means("h100"))
    monkeypatch.setattr("vidapt.planning.shapes.LOOKED_AT", 2)
    monkeypatch.setattr("vidapt.planning.shapes.Shapes.__init__.__defaults__", (2,))
    some = plan_recipe(outlook(recipe(stage(labels, steps=6)), silent), Means("h100"))
    assert whole.stages[0].tokens.exact
    assert not some.stages[0].tokens.exact
    assert some.stages[0].tokens.total == whole.stages[0].tokens.total  # all clips are alike


def test_no_weight_is_read(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    wide = {"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48}
    ahead = outlook(recipe(stage(labels, steps=1), blueprint=blueprint(language=wide)), silent)
    assert all(weight.is_meta for weight in ahead.model.parameters())
    plan = plan_recipe(ahead, Means("l4"))
    assert plan.stages[0].size > 10_000_000_000
    assert [one.id for one in plan.errors if one.stage] == ["memory"]


def test_memory_is_that_of_the_optimizer_the_mean_and_few_bits(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1)

    def memory(**changes: Any) -> Any:
        ahead = outlook(recipe(stage(labels, **changes)), silent)
        return plan_recipe(ahead, Means("h100")).stages[0].memory

    lora = {"language": "lora", "lora": {"rank": 2}}
    plain, mean = memory(train=lora), memory(train=lora, average={"kind": "ema"})
    learning = plain.optimizer // 2
    assert mean.weights - plain.weights == learning == plain.gradients
    assert memory(train=lora, optimizer={"kind": "adamw_8bit"}).optimizer == learning // 2
    assert memory(train=lora, optimizer={"kind": "adamw_offload"}).optimizer == 0
    matrices = 2 * (4 * 16 * 16 + 3 * 16 * 24)
    assert plain.weights - memory(train={**lora, "base": "8bit"}).weights == 3 * matrices
    assert plain.weights - memory(train={**lora, "base": "4bit"}).weights == 3.5 * matrices


def test_account_lets_go() -> None:
    account = Account()
    with account:
        one = torch.zeros(100)
        two = one.view(10, 10)
        assert account.now == 400  # a view is no memory of its own
        three = one + 1
        assert account.now == 800
        del three
        assert (account.now, account.peak) == (400, 800)
        del one, two
    assert account.now == 0
    assert math.isclose(account.peak, 800)
