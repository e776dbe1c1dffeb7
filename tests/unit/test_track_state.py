"""The objective that gives the small default model eyes: balls, the player and the shirt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from training_tools import CELLS, WIDTH, video_lm

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Plan, Seen, View, Views
from vidapt.objectives.track_state import Part

BALLS, FRAMES = 2, 3


@dataclass
class Batch:
    """Two clips as seen, and the truth about them."""

    truth: dict[str, Tensor]
    seen: list[Seen] = field(default_factory=list)
    views: list[Views] = field(default_factory=list)
    packed: Any = None


def model() -> Any:
    return video_lm(connector={"kind": "track", "slots": 4, "scene": 0, "frames": FRAMES, "hidden": 16})


def batch(player: tuple[float, float] = (0.1, 0.1), shirt: int = 2) -> Batch:
    torch.manual_seed(0)
    truth = {
        "tracks": torch.rand(2, 30, BALLS, 3),
        "player": torch.tensor([player, player]),
        "shirt": torch.tensor([shirt, shirt], dtype=torch.int8),
        "pocket": torch.zeros(2, BALLS, dtype=torch.int8),
        "first_hit": torch.ones(2, dtype=torch.int8),
        "hits": torch.zeros(2, BALLS, BALLS, dtype=torch.uint8),
        "cushions": torch.zeros(2, BALLS, 4, dtype=torch.uint8),
        "broken": torch.zeros(2, dtype=torch.int8),
        "cushion_first": torch.zeros(2, dtype=torch.int8),
    }
    plan = Plan(FRAMES, (View((8, 8)),), (8, 8))
    return Batch(truth, [Seen((Features(torch.randn(2, FRAMES, CELLS, CELLS, WIDTH)),), plan)])


def prepared(**options: Any) -> tuple[Any, Part]:
    lm = model()
    torch.manual_seed(0)
    part = Part(Part.Config(things=BALLS, **options))
    part.prepare(lm)
    return lm, part


def test_every_term_is_reported_and_the_total_is_their_sum() -> None:
    lm, part = prepared()
    loss = part(lm, batch())
    events = {"pocket", "first_hit", "hits", "cushions", "facts", "shirt_token"}
    assert set(loss.parts) == {"cell", "place", "shirt", *events}
    assert float(loss.total.detach()) == pytest.approx(sum(loss.parts.values()), rel=1e-5)
    assert loss.weight == 2


@pytest.mark.parametrize(
    ("changed", "terms"),
    [({"player": (0.9, 0.9)}, {"cell", "place"}), ({"shirt": 5}, {"shirt", "shirt_token"})],
)
def test_the_player_and_the_shirt_are_terms_of_their_own(changed: dict[str, Any], terms: set[str]) -> None:
    lm, part = prepared()
    before, after = part(lm, batch()).parts, part(lm, batch(**changed)).parts
    assert {name for name in before if before[name] != pytest.approx(after[name], rel=1e-6)} == terms


def test_the_shirt_teaches_what_looks_are() -> None:
    lm, part = prepared()
    lm.requires_grad_(True)
    given = batch()
    loss = part(lm, given)
    torch.autograd.grad(loss.total, lm.connector.look.weight, retain_graph=True)
    assert part.shirt is not None
    (grad,) = torch.autograd.grad(loss.total, part.shirt.weight)
    assert grad.abs().sum() > 0


def test_a_connector_without_a_slot_for_the_player_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 5 slots"):
        Part(Part.Config(things=4)).prepare(model())
    with pytest.raises(ConfigError, match="track"):
        Part(Part.Config(things=4)).prepare(video_lm())
