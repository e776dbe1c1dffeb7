"""Long-CLIP against its equations in float64: frame features, the stretched table, long texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clip_tools as clip
import openai_tools as openai
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub.long_clip import open_dual_encoder, to_hub
from vidapt.models._text_tower import stretch
from vidapt.models.dual_encoder import DualEncoder
from vidapt.nouns import Grid
from vidapt.towers.long_clip import Part, tiny

TOLERANCE = 1e-4
LONG = 248


def build(**fields: Any) -> Part:
    torch.manual_seed(0)
    tower = clip.shake(Part(tiny().cfg.model_copy(update=fields)))
    assert isinstance(tower, Part)
    return tower


@torch.no_grad()
def frame_feature(frame: Tensor, tower: Part) -> Tensor:
    weights = clip.exact(tower)
    states = clip.image_states(frame, weights, "net", heads=2)
    return weights["projection.weight"] @ clip.norm(states[0], weights, "net.post_layernorm")


@torch.no_grad()
def test_frame_features_equal_the_equations_and_are_not_normalised() -> None:
    tower, views = build(frames_at_once=4), clip.film(2, 3)
    seen = tower(views)
    right = torch.stack([torch.stack([frame_feature(f, tower) for f in film]) for film in views])
    torch.testing.assert_close(seen.x[:, :, 0, 0].double(), right, atol=TOLERANCE, rtol=0)
    assert seen.extra is None
    assert seen.grid == tower.grid(3, (12, 12)) == Grid(3, 1, 1)
    assert (right.norm(dim=-1) - 1).abs().min() > 0.1


@torch.no_grad()
def test_patches_are_handed_on_with_the_class_tokens_to_pool() -> None:
    feature, views = build(), clip.film(2, 3)
    tower = build(output="patches")
    tower.load_state_dict(feature.state_dict())
    seen = tower(views)
    assert seen.grid == tower.grid(3, (12, 12)) == Grid(3, 3, 3)
    states = clip.image_states(views[1, 2], clip.exact(tower), "net", heads=2)
    torch.testing.assert_close(seen.x[1, 2].flatten(0, 1).double(), states[1:], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(tower.pool(seen), feature.pool(feature(views)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_feature_without_its_norm_is_another() -> None:
    tower, views = build(), clip.film(1, 1)
    tower.net.post_layernorm.weight.fill_(1.0)
    right = frame_feature(views[0, 0], build())
    assert (tower(views).x.flatten() - right).abs().max() > 100 * TOLERANCE


def test_another_size_interpolates_the_places() -> None:
    assert build()(clip.film(1, 2, side=20)).grid == Grid(2, 1, 1)
    assert build(output="patches")(clip.film(1, 2, side=20)).grid == Grid(2, 5, 5)


def test_another_kind_of_tower_is_refused() -> None:
    with pytest.raises(ValidationError, match="not 'clip_vision_model'"):
        Part.Config(arch={"model_type": "siglip_vision_model"})


def stretched(table: Tensor, kept: int, factor: int) -> Tensor:
    """Row by row, as the paper says it."""
    rows = list(table[:kept])
    for index in range(kept, len(table) - 1):
        shares = [part / factor for part in range(factor)]
        rows += [table[index] * (1 - share) + table[index + 1] * share for share in shares]
    rows += [table[-1] + (table[-1] - table[-2]) * (part / factor) for part in range(factor)]
    return torch.stack(rows)


@given(rows=st.integers(2, 60), kept=st.integers(0, 30), factor=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_stretching_keeps_interpolates_and_goes_on(rows: int, kept: int, factor: int) -> None:
    table = torch.randn(kept + rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    long = stretch(table, kept, factor)
    torch.testing.assert_close(long, stretched(table, kept, factor), atol=1e-12, rtol=0)
    assert len(long) == kept + factor * rows
    assert torch.equal(long[kept::factor], table[kept:])


def test_the_published_stretch_gives_248_rows() -> None:
    assert len(stretch(torch.randn(77, 4))) == 4 * 77 - 60 == LONG


def test_a_table_too_short_to_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be stretched"):
        stretch(torch.randn(21, 4))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(openai.state(LONG, long=True), tmp_path / "longclip.pt")
    return tmp_path / "longclip.pt"


def captions(length: int) -> Tensor:
    """Two texts; the end mark is the largest id, and stands at the end of one and amid the other."""
    ids = torch.randint(1, openai.WORDS - 1, (2, length), generator=torch.Generator().manual_seed(length))
    ids[0, -1] = openai.WORDS - 1
    ids[1, length // 2] = openai.WORDS - 1
    ids[1, length // 2 + 1 :] = 0
    return ids


@torch.no_grad()
def text_features(ids: Tensor, weights: dict[str, Tensor], table: Tensor) -> Tensor:
    rows = []
    for text in ids:
        states = clip.text_states(text, table, weights, "text", heads=1)
        feature = states[text.tolist().index(openai.WORDS - 1)] @ weights["text_projection"]
        rows.append(feature / feature.norm())
    return torch.stack(rows)


def tables(raw: dict[str, Tensor]) -> Tensor:
    """The first 20 positions of the one, the others of the other."""
    return torch.cat([raw["positional_embedding"][:20], raw["positional_embedding_res"][20:]]).double()


@torch.no_grad()
@pytest.mark.parametrize("length", [4, 20, 21, 77, LONG])
def test_texts_of_any_length_equal_the_equations(published: Path, length: int) -> None:
    model, _ = open_dual_encoder(published)
    raw, ids = openai.state(LONG, long=True), captions(length)
    right = text_features(ids, openai.as_transformers(raw), tables(raw))
    torch.testing.assert_close(model.encode_text(ids).double(), right, atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["positional_embedding", "positional_embedding_res"])
def test_one_table_alone_breaks_the_match(published: Path, name: str) -> None:
    model, _ = open_dual_encoder(published)
    raw, ids = openai.state(LONG, long=True), captions(60)
    wrong = text_features(ids, openai.as_transformers(raw), raw[name].double())
    assert (model.encode_text(ids) - wrong).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_clips_equal_the_mean_over_their_frames(published: Path) -> None:
    model, _ = open_dual_encoder(published)
    weights, views = openai.as_transformers(openai.state(LONG, long=True)), clip.film(2, 3, side=openai.SIDE)
    rows = []
    for film in views:
        features = []
        for frame in film:
            states = clip.image_states(frame, weights, "vision", heads=2)
            feature = clip.norm(states[0], weights, "vision.post_layernorm") @ weights["visual.proj"]
            features.append(feature / feature.norm())
        mean = torch.stack(features).mean(0)
        rows.append(mean / mean.norm())
    videos = model.encode_video(views)
    torch.testing.assert_close(videos.double(), torch.stack(rows), atol=TOLERANCE, rtol=0)
    ids = captions(12)
    texts = text_features(ids, weights, tables(openai.state(LONG, long=True)))
    logits = torch.exp(torch.tensor(3.0)) * torch.stack(rows) @ texts.T
    torch.testing.assert_close(model(views, ids).double(), logits, atol=TOLERANCE, rtol=0)


def test_only_the_stretched_table_learns(published: Path) -> None:
    model, _ = open_dual_encoder(published)
    model.encode_text(captions(60)).sum().backward()
    table = model.text.net.embeddings.position_embedding
    assert not table.first.requires_grad
    moved = table.rest.grad.abs().sum(dim=1) > 0
    assert not moved[:20].any()
    assert moved[20:60].all()


def test_a_longer_caption_is_refused(published: Path) -> None:
    model, _ = open_dual_encoder(published)
    with pytest.raises(ConfigError, match=r"249 tokens.*reads 248"):
        model.encode_text(captions(LONG + 1))


@torch.no_grad()
def test_clip_itself_opens_with_its_one_table(tmp_path: Path) -> None:
    path, raw = tmp_path / "clip.pt", openai.state()
    numbers = {"input_resolution": torch.tensor(8), "context_length": torch.tensor(77)}
    torch.save({f"module.{key}": tensor for key, tensor in {**raw, **numbers}.items()}, path)
    model, report = open_dual_encoder(path)
    assert report.initialised == ()
    assert set(report.ignored) == {"module.input_resolution", "module.context_length"}
    ids = captions(77)
    right = text_features(ids, openai.as_transformers(raw), raw["positional_embedding"].double())
    torch.testing.assert_close(model.encode_text(ids).double(), right, atol=TOLERANCE, rtol=0)
    with pytest.raises(ConfigError, match="reads 77"):
        model.encode_text(captions(78))


@torch.no_grad()
def test_clip_can_be_lengthened_and_the_report_names_it(tmp_path: Path) -> None:
    path, raw = tmp_path / "clip.pt", openai.state()
    torch.save(raw, path)
    model, report = open_dual_encoder(path, lengthen=True)
    assert [name.rpartition(".")[2] for name in report.initialised] == ["first", "rest"]
    assert "stretched" in report.ignored["positional_embedding"]
    ids, table = captions(LONG), stretched(raw["positional_embedding"].double(), 20, 4)
    right = text_features(ids, openai.as_transformers(raw), table)
    torch.testing.assert_close(model.encode_text(ids).double(), right, atol=TOLERANCE, rtol=0)
    short, plain = captions(20), open_dual_encoder(path)[0]
    torch.testing.assert_close(model.encode_text(short), plain.encode_text(short))


def test_what_is_long_already_is_not_lengthened(published: Path) -> None:
    with pytest.raises(CheckpointError, match="it is Long-CLIP"):
        open_dual_encoder(published, lengthen=True)


def test_writing_gives_the_authors_layout_back(published: Path) -> None:
    model, _ = open_dual_encoder(published)
    assert isinstance(model, DualEncoder)
    written, raw = to_hub(model.state_dict()), openai.state(LONG, long=True)
    assert written.keys() == raw.keys()
    assert all(torch.equal(written[key], raw[key]) for key in raw)
