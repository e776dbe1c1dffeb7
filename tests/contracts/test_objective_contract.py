"""What every objective promises: a finite sum and its weight, from the columns it names, that teaches."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.packed import Group, Packed, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Features, Plan, Seen, View, Views
from vidapt.objectives import Loss
from vidapt.objectives.align import Part as Align
from vidapt.parts import kinds
from vidapt.recipe import Blueprint, DualBlueprint
from vidapt.worlds.billiards import simulate

FRAMES, HEIGHT, WIDTH = 3, 16, 24
TOWER = {"kind": "conv_vip", "size": (HEIGHT, WIDTH), "frames": FRAMES, "width": 16, "stem": 8, "heads": 2}
LANGUAGE = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}
TEXT = {
    "model_type": "clip_text_model",
    "vocab_size": 40,
    "hidden_size": 12,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
    "eos_token_id": 39,
}


def tiny(kind: str) -> Any:
    torch.manual_seed(0)
    return importlib.import_module(f"vidapt.objectives.{kind}").tiny()


KINDS = kinds("objectives")
ALONE = [kind for kind in KINDS if hasattr(tiny(kind), "columns")]
"""Objectives; the others are terms of one."""
TERMS = [kind for kind in KINDS if kind not in ALONE]
SUMS = [kind for kind in ALONE if not getattr(tiny(kind), "pairs", False)]
"""Of video-language models, whose clips do not know of one another."""


class Truth(dict[str, Tensor]):
    """A simulator's columns, which remember who was asked for."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        super().__init__(columns)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.asked.add(name)
        return super().__getitem__(name)


@dataclass
class Step:
    """Some clips with a line of text each, for a video-language model."""

    views: Sequence[Views]
    seen: Sequence[Seen]
    packed: Packed
    truth: Truth


@dataclass
class PairStep:
    """Two clips, three texts and a falsified copy of each, for a dual encoder."""

    views: Tensor
    ids: Tensor
    real: Tensor
    clip_of: Tensor
    group: Tensor
    false_of: Tensor
    features: None = None

    def taught(self, name: str) -> Features:
        generator = torch.Generator().manual_seed(len(name))
        return Features(torch.randn(2, FRAMES, 2, 3, 5, generator=generator))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The columns that a simulated world writes, about three clips."""
    folder = tmp_path_factory.mktemp("world")
    simulate(folder, clips=3, venue="home", seed=0, workers=1, progress=lambda done, total: None)
    return load_file(folder / "truth.safetensors")


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def video_lm(slots: int) -> VideoLM:
    connector = {"kind": "track", "slots": slots, "scene": 0, "frames": FRAMES, "hidden": 16}
    return VideoLM(Blueprint(towers=(TOWER,), connector=connector, language=LANGUAGE))


def step(model: VideoLM, world: Mapping[str, Tensor], clips: Sequence[int], things: int) -> Step:
    """A step about some of three clips; of the world's balls the first so many are there."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, FRAMES, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    plan = Plan(FRAMES, (View((HEIGHT, WIDTH)),), (HEIGHT, WIDTH))
    views = Views((pixels[list(clips)],), plan)
    texts = [Encoded(((1, 2), 0), (3, 4 + clip, 5), (False, True, True)) for clip in clips]
    reading = (model.connector.plan(model.tower.grid(FRAMES, (HEIGHT, WIDTH))),)
    packed = pack([Group((text,), (reading,)) for text in texts], model.positions)
    cut = {name: of_balls(name, column, things)[list(clips)] for name, column in world.items()}
    return Step([views], [model.see_views(views)], packed, Truth(cut))


def of_balls(name: str, column: Tensor, things: int) -> Tensor:
    """The columns about balls have an axis of them; the number of the ball that is hit first is one."""
    if name == "first_hit":
        return column.clamp_max(things - 1)
    axes = {"tracks": (2,), "pocket": (1,), "hits": (1, 2), "cushions": (1,)}.get(name, ())
    for axis in axes:
        column = column.narrow(axis, 0, things)
    return column


def dual_encoder() -> DualEncoder:
    blueprint = {"tower": TOWER, "text": {"arch": TEXT}, "width": 8, "pool": "max"}
    return DualEncoder(DualBlueprint.model_validate(blueprint))


def pair_step() -> PairStep:
    true = [[1, 5, 6, 39], [1, 7, 8, 39], [1, 9, 39, 0]]
    false = [[1, 5, 10, 39], [1, 11, 8, 39], [1, 12, 39, 0]]
    ids = torch.tensor(true + false)
    views = torch.randint(0, 256, (2, FRAMES, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    return PairStep(
        views,
        ids,
        ids > 0,
        clip_of=torch.tensor([0, 0, 1]),
        group=torch.tensor([0, 1]),
        false_of=torch.tensor([0, 1, 2]),
    )


def ready(kind: str, world: Mapping[str, Tensor], clips: Sequence[int] = (0, 1)) -> tuple[Any, Any, Any]:
    """An objective, its model and a step; a term stands alone in a sum."""
    part = tiny(kind)
    if kind in TERMS:
        given = part.cfg.model_dump(mode="json", exclude_unset=True)
        part = Align(Align.Config(terms=({"kind": kind, **given},)))
    if kind not in SUMS:
        model: Any = dual_encoder()
        batch: Any = pair_step()
    else:
        things = getattr(part.cfg, "things", 1)
        model = video_lm(slots=things + 1)
        batch = step(model, world, clips, things)
    part.prepare(model)
    for name in getattr(part, "teachers", {}):
        part.introduce(name, torch.zeros(5), torch.ones(5))
    return part, model, batch


def silent_weights(module: torch.nn.Module) -> list[str]:
    """Weights that a loss says nothing about."""
    return [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("kind", ALONE)
def test_columns_are_what_is_read_of_a_world_that_writes_them(kind: str, world: dict[str, Tensor]) -> None:
    part, model, batch = ready(kind, world)
    assert isinstance(part.columns, tuple)
    assert len(set(part.columns)) == len(part.columns)
    assert set(part.columns) <= set(world)
    part(model, batch)
    if kind in SUMS:
        assert batch.truth.asked == set(part.columns)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_is_a_finite_sum_with_a_weight(kind: str, world: dict[str, Tensor]) -> None:
    part, model, batch = ready(kind, world)
    loss = part(model, batch)
    assert isinstance(loss, Loss)
    assert loss.total.shape == ()
    assert loss.total.isfinite()
    assert loss.total > 0
    assert loss.weight > 0
    assert all(isinstance(value, float) and math.isfinite(value) for value in loss.parts.values())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_model_and_every_weight_of_the_objective(
    kind: str, world: dict[str, Tensor]
) -> None:
    part, model, batch = ready(kind, world)
    part(model, batch).total.backward()
    assert silent_weights(part) == []
    assert len(silent_weights(model)) < len(list(model.parameters()))


@pytest.mark.parametrize("kind", SUMS)
def test_losses_of_micro_batches_add_up(kind: str, world: dict[str, Tensor]) -> None:
    found = []
    for clips in ((0, 1, 2), (0, 1), (2,)):
        part, model, batch = ready(kind, world, clips)
        found.append(part(model, batch))
    whole, *pieces = found
    assert whole.weight == sum(piece.weight for piece in pieces)
    torch.testing.assert_close(whole.total, sum(piece.total for piece in pieces))
