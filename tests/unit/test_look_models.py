"""What `look` sees of each kind of model, and what it says when a model has no such map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_tools import tokenizer as speaker_tokenizer
from training_tools import video_lm

from vidapt.errors import BrokenClip, CheckpointError, ConfigError
from vidapt.measure.look import Area, Wanted, look, look_at
from vidapt.measure.look.see import word_tokens
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.models.word_maps import patch_states, token_states, word_map
from vidapt.recipe import DualBlueprint
from vidapt.towers import clip_vip
from vidapt.training.tokenizer import learn_caption_tokenizer
from vidapt.video import write_mp4

TEXT = "the red ball hits the blue one"
VOCABULARY = 280


@pytest.fixture(scope="module")
def words() -> Any:
    return learn_caption_tokenizer([TEXT] * 3, VOCABULARY)


def dual(words: Any, **tower: Any) -> DualEncoder:
    text = {
        "model_type": "clip_text_model",
        "hidden_size": 12,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 16,
        "projection_dim": 8,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    arch = {**clip_vip.tiny().cfg.arch, "num_hidden_layers": 2}
    blueprint = DualBlueprint.model_validate(
        {
            "tower": {"kind": "clip_vip", "arch": arch, "frames": 3, **tower},
            "text": {"arch": text},
            "width": 8,
            "frames": {"policy": "uniform", "count": 3},
        }
    )
    torch.manual_seed(0)
    model = DualEncoder(blueprint).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("look") / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (6, 24, 48, 3), dtype=np.uint8)
    write_mp4(path, frames, 6)
    return path


def film(frames: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, frames, 3, 12, 12), dtype=torch.uint8, generator=generator)


def by_hand(patches: Tensor, tokens: Tensor) -> Tensor:
    """[P, C] and [W, C] -> [P]: one inner product at a time, brought to 0..1, averaged over tokens."""
    rows = []
    for token in tokens.double():
        row = torch.tensor([float((token * patch).sum()) for patch in patches.double()])
        rows.append((row - row.min()) / (row.max() - row.min()))
    return torch.stack(rows).mean(0)


@torch.no_grad()
def projected(model: DualEncoder, views: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    cells = model.tower(views).x.flatten(1, 3)[0]
    patches = model.visual_projection(model.tower.net.post_layernorm(cells))
    return patches, model.text_projection(model.text.states(ids))[0]


def test_a_words_map_equals_its_equation(words: Any) -> None:
    model, views = dual(words), film()
    ids, of = word_tokens(words, "red ball", TEXT)
    patches, tokens = projected(model, views, ids)
    found, norms = word_map(model, views, ids, of)
    expected = by_hand(patches, tokens[of]).reshape(3, 3, 3)
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(norms.flatten(), patches.norm(dim=-1))
    others = by_hand(patches, tokens[~of]).reshape(3, 3, 3)
    assert (found - others).abs().max() > 0.01
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


@torch.inference_mode()
def test_levels_are_the_towers_own_states(words: Any) -> None:
    model, views = dual(words), film()
    ids, _ = word_tokens(words, "ball")
    states = list(model.tower.states(views))
    for level, state in zip(
        ("embedding", "layer:1", "layer:2", "encoder"), [*states, states[-1]], strict=True
    ):
        cells = model.tower.features(state, model.tower.grid(3, (12, 12))).x[0]
        torch.testing.assert_close(patch_states(model, views, level), cells, atol=1e-5, rtol=0)
    layers = model.text.layers(ids)
    for level, index in (("embedding", 0), ("layer:3", 3), ("encoder", 4)):
        assert torch.equal(token_states(model, ids, None, level), layers[index])
    assert token_states(model, ids, None, "projected").shape[-1] == 8


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("layer:3", "the vision tower has 2 layers, not 3"),
        ("layer:0", "there is no level 'layer:0'"),
        ("last", "known: embedding, layer:1"),
        ("encoder", "tokens are 12 wide and patches 16(.|\n)*compare them at `projected`"),
    ],
)
def test_a_level_that_cannot_be_compared_is_an_error(words: Any, level: str, message: str) -> None:
    ids, of = word_tokens(words, "ball")
    with pytest.raises(ConfigError, match=message):
        word_map(dual(words), film(), ids, of, level)


def test_a_word_is_found_in_its_text(words: Any) -> None:
    ids, of = word_tokens(words, "Blue", TEXT)
    assert words.decode(ids[0, of]).strip() == "blue"
    alone, own = word_tokens(words, "blue")
    assert not own[0]
    assert not own[-1]
    assert own[1:-1].all()
    assert int(alone[0, -1]) == len(words) - 1
    with pytest.raises(ConfigError, match="'green' is not in"):
        word_tokens(words, "green", TEXT)


def test_a_dual_encoder_shows_its_class_token_and_words(words: Any, clip: Path) -> None:
    model = dual(words)
    shown = look_at(clip, model, words, "dual")
    assert shown.shown == "layer 2, mean of 2 heads, from class"
    assert shown.weights.shape == (3, 3, 3)
    assert shown.frames.shape == (3, 24, 48, 3)
    assert len(shown.table) == 2 * (1 + 1 + 2)
    word = look_at(clip, model, words, "dual", Wanted(word="red", text=TEXT))
    assert word.shown == "'red' at projected"
    assert float(word.weights.max()) <= 1
    with pytest.raises(ConfigError, match="has no tokenizer"):
        look_at(clip, model, None, "dual", Wanted(word="red"))


def test_layers_heads_and_rollout_differ(words: Any, clip: Path) -> None:
    model = dual(words)
    asked = [
        Wanted(),
        Wanted(layer=1),
        Wanted(head=2),
        Wanted(rollout=True),
        Wanted(token="proxies"),
        Wanted(token="received"),
    ]
    maps = [look_at(clip, model, words, "dual", wanted) for wanted in asked]
    for index, one in enumerate(maps):
        for other in maps[:index]:
            assert one.shown != other.shown
            assert not torch.equal(one.weights, other.weights)
    numbers = {(row["layer"], row["head"]): row["entropy"] for row in maps[0].table}
    assert numbers[2, "mean"] == pytest.approx(maps[0].noise.entropy, abs=1e-6)
    assert numbers[1, "mean"] == pytest.approx(maps[1].noise.entropy, abs=1e-6)
    assert numbers[2, 2] == pytest.approx(maps[2].noise.entropy, abs=1e-6)
    assert numbers[2, "rollout"] == pytest.approx(maps[3].noise.entropy, abs=1e-6)


def test_a_language_model_with_a_frame_tower(clip: Path) -> None:
    shown = look_at(clip, video_lm(), speaker_tokenizer(), "lm")
    assert shown.shown == "layer 1, mean of 2 heads, from class"  # it reads the last layer but one
    assert shown.weights.shape == (3, 4, 4)
    assert shown.area.width == pytest.approx(1, abs=0.03)


def test_a_crop_is_drawn_where_it_was_cut(clip: Path) -> None:
    shown = look_at(clip, video_lm(resolution={"kind": "whole", "fit": "crop"}), None, "lm")
    for name, value in (("left", 0.25), ("top", 0.0), ("width", 0.5), ("height", 1.0)):
        assert getattr(shown.area, name) == pytest.approx(value, abs=0.04), name
    assert isinstance(shown.area, Area)


def test_footage_shrunk_in_the_decoder_is_drawn_larger_than_the_model_sees_it(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 120, 720, 3), dtype=np.uint8)
    write_mp4(tmp_path / "wide.mp4", frames, 4)
    model = video_lm(resolution={"kind": "whole", "filter": "area", "in_decoder": True})
    shown = look_at(tmp_path / "wide.mp4", model, None, "lm")
    assert model.decode_size == (16, 16)
    assert shown.frames.shape == (3, 60, 360, 3)
    assert shown.weights.shape == (3, 4, 4)


NO_MAP = [
    (Wanted(word="red"), "the model does not compare words with clips"),
    (Wanted(slot=1), "the model's connector has no slots"),
    (Wanted(layer=2), "there is no layer 2: this tower has 1"),
    (Wanted(head=9), "there is no head 9"),
    (Wanted(token="proxies, please"), "known: class, proxies, received"),
]


@pytest.mark.parametrize(("wanted", "message"), NO_MAP)
def test_what_a_model_does_not_have_is_an_error(clip: Path, wanted: Wanted, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        look_at(clip, video_lm(), speaker_tokenizer(), "lm", wanted)


def test_a_model_without_attention_is_refused(clip: Path) -> None:
    arch = {
        "model_type": "convnext",
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "image_size": 32,
    }
    model = video_lm(towers=[{"kind": "convnext", "arch": arch}])
    with pytest.raises(ConfigError, match="attention of 'convnext' cannot be shown"):
        look_at(clip, model, None, "lm")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"word": "red", "slot": 1}, "--word: does not go with --slot"),
        ({"word": "red", "layer": 1}, "--word: does not go with --layer, --head"),
        ({"slot": 0, "rollout": True}, "--slot: does not go with --layer"),
        ({"word": " "}, "is empty"),
        ({"text": "a red ball"}, "needs --word"),
    ],
)
def test_contradictions_are_errors(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Wanted(**asked)


def test_a_saved_dual_encoder_is_opened_by_its_folder(words: Any, clip: Path, tmp_path: Path) -> None:
    save_dual(tmp_path / "dual", dual(words), words, {})
    name = str(tmp_path / "dual")
    both = look(clip, tmp_path / "a.gif", [name, "billiards-home"])
    assert [one.model for one in both] == [name, "billiards-home"]
    assert (tmp_path / "a.gif").read_bytes()[:6] == b"GIF89a"
    (word,) = look(clip, tmp_path / "a.png", [name], Wanted(word="red"))
    assert word.shown == "'red' at projected"


def test_nothing_is_opened_for_a_name_that_cannot_be_written(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        look(clip, tmp_path / "a.bmp", ["no such model"])
    with pytest.raises(CheckpointError, match="no such model"):
        look(clip, tmp_path / "a.png", ["no such model"])


def test_a_broken_clip_is_named(words: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(BrokenClip, match=r"empty\.mp4"):
        look_at(tmp_path / "empty.mp4", dual(words), words, "dual")
