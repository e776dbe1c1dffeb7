"""What the sum of terms makes of two towers: levels, texts, weights and numbers for the log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid
from vidapt.objectives import Term
from vidapt.objectives.align import Part

CLIPS, TEXTS, FALSE, LENGTH, WIDTH, LAYERS, GRID = 2, 3, 2, 4, 6, 2, Grid(1, 2, 3)


class Tower(nn.Module):
    """Shows noise, which is another one at each level."""

    width, depth, size = WIDTH, LAYERS, (7, 8)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.levels = [torch.randn(CLIPS, 1 + GRID.cells, WIDTH) for _ in range(LAYERS + 1)]

    def states(self, views: Tensor) -> Iterator[Tensor]:
        self.seen.append("states")
        yield from self.levels

    def grid(self, frames: int, size: tuple[int, int]) -> Grid:
        assert (frames, size) in ((5, self.size), (1, self.size))
        return GRID

    def features(self, state: Tensor, grid: Grid) -> Features:
        return Features(state[:, 1:].reshape(CLIPS, grid.t, grid.h, grid.w, WIDTH), state[:, :1])

    def forward(self, views: Tensor) -> Features:
        self.seen.append("features")
        return self.features(self.levels[-1], GRID)


class Model(nn.Module):
    """Two towers of noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tower = Tower()
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.text_projection = nn.Linear(WIDTH, 3)
        self.read = 0
        every = torch.randn(LAYERS + 2, TEXTS + FALSE, LENGTH, WIDTH)
        self.every = every
        self.text = SimpleNamespace(
            width=WIDTH, depth=LAYERS, layers=self._layers, pool=lambda last, ids: last[:, -1]
        )
        self.blueprint = SimpleNamespace(width=3)

    def _layers(self, ids: Tensor) -> list[Tensor]:
        self.read = len(ids)
        return list(self.every[:, : len(ids)])

    def encode_text(self, ids: Tensor) -> Tensor:
        raise AssertionError("texts are read once, for all terms")

    def project_cells(self, cells: Tensor) -> Tensor:
        return cells[..., :3] * 2

    def stand_for(self, features: Features) -> Tensor:
        return F.normalize(features.x.flatten(1, 3).mean(1)[:, :3], dim=-1)


def batch(features: Features | None = None, false: int = FALSE) -> Any:
    return SimpleNamespace(
        views=torch.zeros(CLIPS, 5, 3, 7, 8),
        features=features,
        ids=torch.zeros(TEXTS + false, LENGTH, dtype=torch.long),
        real=torch.ones(TEXTS + false, LENGTH, dtype=torch.bool),
        clip_of=torch.tensor([0, 1, 1]),
        group=torch.tensor([0, 1]),
        false_of=torch.tensor([0, 2])[:false],
    )


def part(*terms: dict[str, Any], **options: Any) -> Part:
    made = Part(Part.Config.model_validate({"terms": terms or ({"kind": "contrastive"},), **options}))
    made.prepare(Model())
    return made


LOCAL = {"kind": "local_align", "patches": "layer:1"}


@pytest.mark.parametrize("proxies", [False, True])
def test_patches_of_each_level_are_what_the_tower_shows_there(proxies: bool) -> None:
    model = Model()
    pairs = part(LOCAL, proxies=proxies).pairs_of(model, batch())
    for level, place in (("embedding", 0), ("layer:1", 1), ("layer:2", 2), ("encoder", 2)):
        state = model.tower.levels[place]
        assert torch.equal(pairs.patches(level), state if proxies else state[:, 1:])
    assert torch.equal(pairs.patches("projected"), pairs.patches("encoder")[..., :3] * 2)
    with pytest.raises(ConfigError, match="has 2 layers"):
        pairs.patches("layer:3")
    assert pairs.grid == GRID
    assert model.tower.seen == ["states"]
    bare = Features(model.tower.levels[-1][:, 1:].reshape(CLIPS, 1, 2, 3, WIDTH))
    assert part(proxies=proxies).pairs_of(model, batch(bare)).patches("encoder").shape[1] == GRID.cells


def test_tokens_of_each_level_are_what_the_text_tower_makes_there() -> None:
    model = Model()
    pairs = part().pairs_of(model, batch())
    for level, place in (("embedding", 0), ("layer:1", 1), ("layer:2", 2), ("encoder", 3)):
        assert torch.equal(pairs.tokens(level), model.every[place, :TEXTS])
    assert torch.equal(pairs.tokens("projected"), model.text_projection(pairs.tokens("encoder")))
    with pytest.raises(ConfigError, match="has 2 layers"):
        pairs.tokens("layer:3")
    vectors = F.normalize(model.text_projection(model.every[-1, :TEXTS, -1]), dim=-1)
    torch.testing.assert_close(pairs.texts, vectors)
    assert pairs.scale.item() == pytest.approx(math.e)


def test_layers_are_shown_only_where_a_term_looks_inside() -> None:
    model = Model()
    for terms, inside in (
        ((), False),
        (({"kind": "local_align"},), False),
        (({"kind": "local_align", "patches": "projected"},), False),
        (({"kind": "local_align", "tokens": "layer:1"},), False),
        (({"kind": "contrastive"}, LOCAL), True),
        (({"kind": "local_align", "patches": "embedding"},), True),
    ):
        made = part(*terms)
        assert made.needs_views is inside
        model.tower.seen.clear()
        made.pairs_of(model, batch())
        assert model.tower.seen == ["states" if inside else "features"]


def test_what_is_kept_of_a_tower_shows_no_layers() -> None:
    model = Model()
    kept = Features(torch.randn(CLIPS, 1, 2, 3, WIDTH))
    pairs = part(LOCAL).pairs_of(model, batch(kept))
    assert torch.equal(pairs.patches("encoder"), kept.x.flatten(1, 3))
    assert model.tower.seen == []
    with pytest.raises(ConfigError, match="shows no layers"):
        pairs.patches("layer:1")


def test_falsified_texts_are_read_only_for_a_term_that_reads_them() -> None:
    model = Model()
    pairs = part().pairs_of(model, batch())
    assert (model.read, pairs.false_texts, pairs.false_of) == (TEXTS, None, None)
    margin = part({"kind": "contrastive"}, {"kind": "margin"})
    pairs = margin.pairs_of(model, batch())
    assert model.read == TEXTS + FALSE
    assert pairs.false_texts is not None
    vectors = F.normalize(model.text_projection(model.every[-1, :, -1]), dim=-1)
    torch.testing.assert_close(torch.cat([pairs.texts, pairs.false_texts]), vectors)
    assert pairs.false_of is not None
    assert pairs.false_of.tolist() == [0, 2]
    assert pairs.tokens("encoder").shape[0] == len(pairs.token_mask) == TEXTS
    assert margin.pairs_of(model, batch(false=0)).false_texts is None


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    model = Model()
    terms = ({"kind": "contrastive", "weight": 3}, {"kind": "margin"}, {"kind": "collapse", "weight": 0.5})
    made = part(*terms)
    loss = made(model, batch())
    pairs = made.pairs_of(model, batch())
    each = {name: term(pairs) for name, term in made.terms.items()}
    values = {name: term.value.item() for name, term in each.items()}
    assert list(values) == ["contrastive", "margin", "collapse"]
    weighted = 3 * values["contrastive"] + values["margin"] + 0.5 * values["collapse"]
    assert loss.total.item() == pytest.approx(weighted)
    assert loss.weight == 1
    for name, value in values.items():
        assert loss.parts[name] == pytest.approx(value)
    assert loss.parts["contrastive/chance"] == each["contrastive"].chance
    assert "collapse/chance" not in loss.parts, "it is no number"
    assert loss.parts["contrastive/temperature"] == pytest.approx(1 / math.e)


def test_numbers_that_are_none_do_not_reach_the_log() -> None:
    made = part()
    gauges = {"fine": 2.0, "nan": math.nan, "inf": math.inf}
    made.terms["contrastive"].forward = lambda pairs: Term(torch.tensor(4.0), 5.0, gauges)  # type: ignore[method-assign]
    loss = made(Model(), batch())
    assert loss.parts == {"contrastive": 4.0, "contrastive/chance": 5.0, "contrastive/fine": 2.0}


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan, True, "1", None])
def test_a_weight_that_is_none_is_refused(weight: object) -> None:
    with pytest.raises(ValidationError, match="must be above 0"):
        part({"kind": "contrastive", "weight": weight})


def test_terms_are_told_apart_by_their_names() -> None:
    with pytest.raises(ValidationError, match="need a `name` each"):
        part({"kind": "margin"}, {"kind": "margin"})
    assert list(part({"kind": "margin"}, {"kind": "margin", "name": "wide"}).terms) == ["margin", "wide"]


def test_an_objective_is_no_term() -> None:
    with pytest.raises(ConfigError, match="no term of one"):
        part({"kind": "align", "terms": [{"kind": "margin"}]})


def test_the_factor_on_cosines_stays_between_one_and_the_largest() -> None:
    model = Model()
    for before, after in ((-1.0, 0.0), (0.5, 0.5), (3.0, math.log(20)), (9.0, math.log(20))):
        model.logit_scale.data.fill_(before)
        part(max_scale=20).after_step(model)
        assert model.logit_scale.item() == pytest.approx(after)


def test_terms_are_prepared_for_the_model() -> None:
    made = part({"kind": "local_align", "every_layer": True})
    assert made.terms["local_align"].levels == [("layer:1", "layer:1"), ("layer:2", "layer:2")]
    with pytest.raises(ConfigError, match="needs a dual encoder"):
        Part(Part.Config(terms=({"kind": "contrastive"},))).prepare(nn.Linear(1, 1))


def test_clips_are_compared_where_any_term_compares_them() -> None:
    distill = {"kind": "distill", "teachers": {"a": "b"}}
    assert part().tells_apart
    assert part(distill, {"kind": "contrastive"}).tells_apart
    assert not part(distill).tells_apart
    assert Part.pairs


def test_a_teacher_is_introduced_to_those_who_learn_from_it() -> None:
    one = {"kind": "distill", "name": "one", "teachers": {"a": "x"}}
    both = {"kind": "distill", "name": "both", "teachers": {"a": {"path": "x", "weight": 3}, "b": "y"}}
    made = part(one, both, {"kind": "contrastive"})
    assert {name: teacher.weight for name, teacher in made.teachers.items()} == {"a": 1.0, "b": 1.0}
    made.introduce("b", torch.zeros(4), torch.ones(4))
    assert [list(made.terms[name].pupils) for name in ("one", "both")] == [[], ["of_b"]]
    made.introduce("a", torch.zeros(4), torch.ones(4))
    assert [list(made.terms[name].pupils) for name in ("one", "both")] == [["of_a"], ["of_b", "of_a"]]
