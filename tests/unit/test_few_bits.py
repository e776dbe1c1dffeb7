"""A language model in few bits, through which others learn: smaller, nearly the same, and saved as it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_tools import assert_equal, recipe, silent, stage, trained, video_lm, weights, write_clips

from vidapt.errors import ConfigError
from vidapt.models.placement import quantizable
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Stage
from vidapt.training.base import in_few_bits
from vidapt.training.freeze import set_trainable
from vidapt.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("bitsandbytes")

LORA = {"language": "lora", "lora": {"rank": 2, "dropout": 0.5}}
BITS = pytest.mark.parametrize("base", ["8bit", "4bit"])


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=3, questions=2)


def stage_in(base: str, **changes: Any) -> Stage:
    return Stage.model_validate({"name": "a", "steps": 1, "train": {**LORA, "base": base}, **changes})


def gradient(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    states = model.language.model(inputs_embeds=x, use_cache=False).last_hidden_state  # type: ignore[union-attr,operator]
    (found,) = torch.autograd.grad(states.square().mean() + states[..., 0].mean(), x)
    return states.detach(), found


@BITS
def test_it_is_smaller_says_nearly_the_same_and_comes_back_whole(tmp_path: Path, base: str) -> None:
    model = video_lm(adapters={"rank": 2})
    given = stage_in(base)
    set_trainable(model, given.train)
    model.eval()
    layers = quantizable(model)
    assert len(layers) == 14
    assert not any("lora" in name or "lm_head" in name for name in layers)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    whole, slope = gradient(model, x)
    with in_few_bits(model, given, tmp_path):
        inner = model.language.model.layers[0].mlp.up_proj
        assert inner.base_layer.weight.element_size() == 1
        assert inner.lora_A["default"].weight.dtype == torch.float32
        assert (tmp_path / "base").is_dir()
        few, few_slope = gradient(model, x)
        most = 0.06 if base == "8bit" else 0.9
        assert 0 < float((few - whole).norm() / whole.norm()) < most
        assert 0 < float((few_slope - slope).norm() / slope.norm()) < 2 * most
    assert not (tmp_path / "base").exists()
    assert_equal(model.state_dict(), before)
    again, again_slope = gradient(model, x)
    assert torch.equal(again, whole)
    assert torch.equal(again_slope, slope)


@BITS
def test_a_stage_saves_the_weights_as_they_were_under_what_it_learned(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    kinds: set[str] = set()
    forward = NextToken.forward

    def seen(part: NextToken, model: Any, batch: Any) -> Any:
        kinds.add(type(model.language.model.layers[0].mlp.up_proj.base_layer).__name__)
        return forward(part, model, batch)

    monkeypatch.setattr(NextToken, "forward", seen)
    plain = trained(recipe(stage(labels, train=LORA)), tmp_path / "plain")
    run = train(recipe(stage(labels, train={**LORA, "base": base})), tmp_path / "few", silent, workers=0)
    few = weights(run)
    assert kinds == {"Linear", "Linear8bitLt" if base == "8bit" else "Linear4bit"}
    assert few.keys() == plain.keys()
    learned = {name for name in few if ".lora_" in name or name.startswith("connector")}
    for name in few.keys() - learned:
        assert torch.equal(few[name], plain[name]), name
        assert few[name].is_floating_point()
    assert any(not torch.equal(few[name], plain[name]) for name in learned)
    for name in learned:
        torch.testing.assert_close(few[name], plain[name], rtol=0.2, atol=0.1)
    assert json.loads((run / "01-a" / "model" / "card.json").read_text())["base"] == base


@BITS
def test_it_is_killed_and_goes_on_to_the_same_bits_and_a_later_stage_trains_all_of_it(
    labels: Path, tmp_path: Path, base: str
) -> None:
    few = stage(labels, "a", steps=4, save_every=1, train={**LORA, "base": base})
    full = stage(labels, "b", steps=2, train={"language": "full"})
    expected = trained(recipe(few, full), tmp_path / "whole")

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe(few, full), tmp_path / "cut", report, workers=0)
    assert_equal(trained(recipe(few, full), tmp_path / "cut", resume=True), expected)


def test_stored_numbers_stay_where_they_are(tmp_path: Path) -> None:
    model = video_lm()
    before = model.language.model.layers[0].mlp.up_proj
    with in_few_bits(model, stage_in("stored"), tmp_path):
        assert model.language.model.layers[0].mlp.up_proj is before
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_it_is_told_before_any_work(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    plan = recipe(stage(labels, "a"), stage(labels, "b", train={**LORA, "base": "4bit"}))
    with pytest.raises(ConfigError, match=r"stage b, train\.base: needs bitsandbytes") as told:
        train(plan, tmp_path, silent, workers=0)
    assert "pip install 'vidapt[quant]'" in str(told.value)
    assert not (tmp_path / "run" / "01-a").exists()
