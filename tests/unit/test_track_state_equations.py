"""What following things costs, against its equations in plain numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Features
from vidapt.objectives.track_state import Part

BALLS, SLOTS, FRAMES, ROWS, COLUMNS, RECORDED, WIDTH, LOOKS = 3, 5, 3, 2, 5, 7, 6, 4
EVENTS = {"pocket", "first_hit", "hits", "cushions", "facts", "shirt_token"}


class Model:
    """A `track` connector that finds what it is told, and what it was asked to look at."""

    def __init__(self, frames: int = FRAMES, slots: int = SLOTS) -> None:
        torch.manual_seed(3)
        cells = ROWS * COLUMNS + 1
        self.found = SimpleNamespace(
            logits=torch.randn(2, frames, cells, slots, dtype=torch.float64),
            place=torch.rand(2, frames, slots, 2, dtype=torch.float64),
            looks=torch.randn(2, frames, slots, LOOKS, dtype=torch.float64),
        )
        self.visual = torch.randn(2, slots, WIDTH, dtype=torch.float64)
        self.connector = SimpleNamespace(
            cfg=SimpleNamespace(slots=slots, looks=LOOKS), tracks=lambda features: self.found
        )
        embedding = SimpleNamespace(embedding_dim=WIDTH)
        self.language = SimpleNamespace(get_input_embeddings=lambda: embedding)
        self.asked: list[Tensor] = []

    def connect(self, features: Features) -> Any:
        return SimpleNamespace(x=self.visual)

    def see(self, views: Tensor) -> Features:
        self.asked.append(views)
        return Features(torch.zeros(2, views.shape[1], ROWS, COLUMNS, 1))


def truth() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    tracks = torch.rand(2, RECORDED, BALLS, 3, generator=generator, dtype=torch.float64)
    tracks[..., 0] = torch.randint(0, 2, (2, RECORDED, BALLS), generator=generator)
    tracks[0, :, 0] = torch.tensor([1.0, 1.0, 1.0])  # on the last edges
    tracks[1, :, 1] = torch.tensor([1.0, -0.9, -0.9])  # beyond the first ones, and far from where it is found
    return {
        "tracks": tracks,
        "player": torch.tensor([[0.1, 0.9], [0.7, 0.3]], dtype=torch.float64),
        "shirt": torch.tensor([2, 5], dtype=torch.int8),
        "pocket": torch.tensor([[-1, 6, 1], [0, 3, 2]], dtype=torch.int8),
        "first_hit": torch.tensor([1, 0], dtype=torch.int8),
        "hits": torch.randint(0, 2, (2, BALLS, BALLS), generator=generator, dtype=torch.uint8),
        "cushions": torch.randint(0, 2, (2, BALLS, 4), generator=generator),
        "broken": torch.tensor([1, 0], dtype=torch.int8),
        "cushion_first": torch.tensor([0, 0], dtype=torch.int8),
    }


def part(model: Any, **options: Any) -> Part:
    torch.manual_seed(5)
    made = Part(Part.Config(things=BALLS, **options))
    made.prepare(model)
    return made.double()


def batch(columns: dict[str, Tensor], frames: int = FRAMES) -> Any:
    seen = Features(torch.zeros(2, frames, ROWS, COLUMNS, 1))
    views = torch.arange(frames, dtype=torch.float64)[None, :, None].expand(2, -1, 1)
    return SimpleNamespace(
        truth=columns,
        seen=[SimpleNamespace(features=(seen,))],
        views=[SimpleNamespace(tensors=(views,))],
    )


# The oracle: plain numbers.


def surprise(scores: list[float], right: int) -> float:
    return math.log(math.fsum(math.exp(s) for s in scores)) - scores[right]


def doubt(score: float, right: float) -> float:
    return math.log1p(math.exp(-score if right else score))


def moments(frames: int) -> list[int]:
    """The recorded moment in the middle of each frame's stretch of time."""
    return [math.floor((frame + 0.5) / frames * RECORDED) for frame in range(frames)]


def places(model: Model, columns: dict[str, Tensor], rows: list[int]) -> tuple[float, float]:
    """What cells and places inside them cost."""
    cell = inside = 0.0
    for clip in range(2):
        for frame, row in enumerate(rows):
            known = [*columns["tracks"][clip, row].tolist(), [1.0, *columns["player"][clip].tolist()]]
            for thing, (there, x, y) in enumerate(known):
                scores = model.found.logits[clip, frame, :, thing].tolist()
                column = min(max(math.floor(x * COLUMNS), 0), COLUMNS - 1)
                line = min(max(math.floor(y * ROWS), 0), ROWS - 1)
                cell += surprise(scores, line * COLUMNS + column if there else ROWS * COLUMNS) / len(rows)
                a, b = model.found.place[clip, frame, thing].tolist()
                far = min(3.0, abs(a - x) * COLUMNS) + min(3.0, abs(b - y) * ROWS)
                inside += far / len(rows) if there else 0.0
    return cell, inside


def linear(layer: Any, x: list[float]) -> list[float]:
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [b + math.fsum(w * v for w, v in zip(row, x, strict=True)) for row, b in rows]


def shirt(model: Model, made: Part, columns: dict[str, Tensor]) -> float:
    looks = model.found.looks[:, :, BALLS].mean(1).tolist()
    return math.fsum(
        surprise(linear(made.shirt, one), right)
        for one, right in zip(looks, columns["shirt"].tolist(), strict=True)
    )


def events(model: Model, made: Part, columns: dict[str, Tensor]) -> dict[str, float]:
    heads: Any = made.heads
    cost = dict.fromkeys(EVENTS, 0.0)
    for clip, tokens in enumerate(model.visual.tolist()):
        known = {name: column[clip].tolist() for name, column in columns.items()}
        balls, player = tokens[:BALLS], tokens[BALLS]
        first = [0.0] + [linear(heads.picks["first_hit"], ball)[0] for ball in balls[1:]]
        cost["first_hit"] += surprise(first, known["first_hit"])
        cost["shirt_token"] += surprise(linear(heads.shirt, player), known["shirt"])
        facts = zip(linear(heads.facts, balls[0]), (known["broken"], known["cushion_first"]), strict=True)
        cost["facts"] += math.fsum(doubt(*one) for one in facts)
        for ball, token in enumerate(balls):
            cost["pocket"] += surprise(linear(heads.states["pocket"], token), known["pocket"][ball] + 1)
            sides = zip(linear(heads.marks["cushions"], token), known["cushions"][ball], strict=True)
            cost["cushions"] += 0.5 * math.fsum(doubt(*one) for one in sides)
            hitter = linear(heads.by["hits"], token)
            for other, struck in enumerate(linear(heads.of["hits"], one) for one in balls):
                score = math.fsum(a * b for a, b in zip(hitter, struck, strict=True)) / math.sqrt(32)
                cost["hits"] += 0.5 * doubt(score, known["hits"][ball][other])
    return cost


@pytest.mark.parametrize("options", [{}, {"place": 0.2, "events": 0.3}])
def test_every_term_is_its_equation(options: dict[str, float]) -> None:
    model, columns = Model(), truth()
    made = part(model, **options)
    loss = made(model, batch(columns))
    cell, inside = places(model, columns, moments(FRAMES))
    wanted = {"cell": cell, "place": options.get("place", 0.5) * inside, "shirt": shirt(model, made, columns)}
    wanted |= {name: options.get("events", 1.0) * c for name, c in events(model, made, columns).items()}
    assert loss.parts == pytest.approx(wanted, abs=1e-6)  # places are compared in single precision
    assert loss.total.item() == pytest.approx(sum(wanted.values()), abs=1e-5)
    assert loss.weight == 2


def test_a_window_looks_at_any_neighbouring_frames_and_learns_no_events() -> None:
    frames, window = 5, 3
    model, columns = Model(window), truth()
    made = part(model, window=window)
    assert made.heads is None
    assert made.needs_views
    assert made.columns == ("tracks", "player", "shirt")
    firsts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        loss = made(model, batch(columns, frames))
        shown = model.asked[-1][0, :, 0].long().tolist()
        firsts.add(shown[0])
        assert shown == list(range(shown[0], shown[0] + window))
        cell, inside = places(model, columns, [moments(frames)[frame] for frame in shown])
        assert loss.parts == pytest.approx(
            {"cell": cell, "place": 0.5 * inside, "shirt": shirt(model, made, columns)}, abs=1e-6
        )
    assert firsts == {0, 1, 2}


def test_a_window_of_the_whole_clip_begins_at_its_first_frame() -> None:
    model = Model()
    part(model, window=FRAMES)(model, batch(truth()))
    assert model.asked[-1][0, :, 0].tolist() == [0, 1, 2]


def of_shapes() -> dict[str, Tensor]:
    """Columns of a world without an actor: looks that may be unknown, fates, touches, who was first."""
    generator = torch.Generator().manual_seed(6)
    return {
        "tracks": truth()["tracks"],
        "kind": torch.tensor([[-1, 3, 0], [2, -1, 1]], dtype=torch.int8),
        "size": torch.tensor([[-1, 1, 0], [0, -1, 1]], dtype=torch.int8),
        "fate": torch.tensor([[-1, 2, 0], [1, -1, 1]], dtype=torch.int8),
        "touches": torch.randint(0, 2, (2, BALLS, BALLS), generator=generator),
        "first": torch.randint(0, 2, (2, BALLS, 1), generator=generator),
    }


SHAPES = {
    "actor": False,
    "looks": {"kind": 4, "size": 2},
    "states": {"fate": 4},
    "picks": (),
    "pairs": ("touches",),
    "marks": {"first": 1},
    "facts": (),
}


def test_a_world_may_have_columns_of_its_own_and_no_actor() -> None:
    model, columns = Model(slots=BALLS), of_shapes()
    made = part(model, **SHAPES)
    assert made.columns == ("tracks", "kind", "size", "fate", "touches", "first")
    loss = made(model, batch(columns))
    heads: Any = made.heads
    wanted = dict.fromkeys(("looks", "look_tokens", "fate", "touches", "first"), 0.0)
    for clip in range(2):
        tokens = model.visual[clip].tolist()
        rows = columns["tracks"][clip][moments(FRAMES)].tolist()
        for thing in range(BALLS):
            seen = [frame for frame in range(FRAMES) if rows[frame][thing][0] > 0.5]
            looks = model.found.looks[clip, seen, thing].sum(0) / max(1, len(seen))
            for name in SHAPES["looks"]:
                right = int(columns[name][clip, thing])
                if right >= 0:
                    wanted["looks"] += surprise(linear(made.looks[name], looks.tolist()), right)
                    wanted["look_tokens"] += surprise(linear(heads.looks[name], tokens[thing]), right)
            right = int(columns["fate"][clip, thing]) + 1
            wanted["fate"] += surprise(linear(heads.states["fate"], tokens[thing]), right)
            (first,) = linear(heads.marks["first"], tokens[thing])
            wanted["first"] += 0.5 * doubt(first, float(columns["first"][clip, thing, 0]))
            for other in range(BALLS):
                pair = (
                    linear(heads.by["touches"], tokens[thing]),
                    linear(heads.of["touches"], tokens[other]),
                )
                score = math.fsum(a * b for a, b in zip(*pair, strict=True)) / math.sqrt(32)
                wanted["touches"] += 0.5 * doubt(score, float(columns["touches"][clip, thing, other]))
    assert {name: loss.parts[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert set(loss.parts) == {*wanted, "cell", "place"}


def test_looks_are_learned_through_a_window_too() -> None:
    model = Model(2, slots=BALLS)
    made = part(model, window=2, **SHAPES)
    assert made.columns == ("tracks", "kind", "size")
    assert set(made(model, batch(of_shapes(), 5)).parts) == {"looks", "cell", "place"}


def test_what_is_kept_has_a_shape_for_each_question() -> None:
    made = part(Model())
    assert made.columns == (
        *("tracks", "player", "shirt"),
        *("pocket", "first_hit", "hits", "cushions", "broken", "cushion_first"),
    )
    assert not made.needs_views
    shapes = {name: (m.out_features, m.in_features) for name, m in made.named_modules() if _linear(m)}
    assert shapes == {
        "shirt": (6, LOOKS),
        "heads.states.pocket": (8, WIDTH),
        "heads.marks.cushions": (4, WIDTH),
        "heads.picks.first_hit": (1, WIDTH),
        "heads.facts": (2, WIDTH),
        "heads.shirt": (6, WIDTH),
        "heads.by.hits": (32, WIDTH),
        "heads.of.hits": (32, WIDTH),
    }


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def test_places_are_compared_where_they_lie() -> None:
    model, columns = Model(), truth()
    made, seen = part(model), batch(columns).seen[0].features[0]
    tracks = torch.ones(2, FRAMES, BALLS, 3, dtype=torch.float64)
    with torch.device("meta"):  # what is made without a place would be there
        found = made._places(model.found, seen.grid, tracks)
    assert all(value.isfinite() for value in found.values())


def test_the_player_needs_a_slot_behind_the_balls() -> None:
    part(Model(slots=BALLS + 1))
    with pytest.raises(ConfigError, match=f"at least {BALLS + 1} slots"):
        part(Model(slots=BALLS))
