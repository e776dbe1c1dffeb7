"""CLIP-ViP as a dual encoder: its equations, its files, its beginning from image CLIP, and bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip_tools as clip
import pytest
import torch
from dual_tools import (
    ADDED_CLS,
    FRAMES,
    SIDE,
    TEMPORAL,
    TOLERANCE,
    WIDTH,
    WORDS,
    authors,
    captions,
    equations,
    image_clip,
)
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import clip_vip, long_clip
from vidapt.models._text_tower import Text
from vidapt.models.dual_encoder import DualBlueprint, DualEncoder
from vidapt.towers import convnext


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(authors(), tmp_path / "clipvip.pt")
    return tmp_path / "clipvip.pt"


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, FRAMES, 8])
@pytest.mark.parametrize("prefix", ["clipmodel.", "module.clipmodel.", ""])
def test_logits_of_the_authors_file_equal_the_equations(tmp_path: Path, prefix: str, frames: int) -> None:
    torch.save(authors(prefix), tmp_path / "clipvip.pt")
    model, report = clip_vip.open_dual_encoder(tmp_path / "clipvip.pt")
    views, ids = clip.film(2, frames, SIDE), captions()
    right = equations(authors(), views, ids)
    torch.testing.assert_close(model(views, ids).double(), right, atol=TOLERANCE, rtol=0)
    assert report.initialised == ()
    assert len(report.matched) == len(authors()) - 2
    assert set(report.ignored) == {f"{prefix}{tower}.embeddings.position_ids" for tower in NAMES}
    assert all(report.ignored.values())


NAMES = ("text_model", "vision_model")


def _swap_times(state: dict[str, Tensor]) -> None:
    state[f"clipmodel.{TEMPORAL}"] = state[f"clipmodel.{TEMPORAL}"].flip(1)


def _drop_proxies(state: dict[str, Tensor]) -> None:
    state[f"clipmodel.{ADDED_CLS}"] = state[f"clipmodel.{ADDED_CLS}"][:1]


def _other_scale(state: dict[str, Tensor]) -> None:
    state["clipmodel.logit_scale"] = state["clipmodel.logit_scale"] + 0.1


@torch.no_grad()
@pytest.mark.parametrize("mistake", [_swap_times, _drop_proxies, _other_scale])
def test_a_mistake_breaks_the_match(published: Path, mistake: Callable[[dict[str, Tensor]], None]) -> None:
    model, _ = clip_vip.open_dual_encoder(published)
    state, views, ids = authors(), clip.film(2, FRAMES, SIDE), captions()
    mistake(state)
    assert (model(views, ids) - equations(state, views, ids)).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_padding_is_not_read() -> None:
    torch.manual_seed(0)
    model = small()
    ids = captions()
    for mask in (None, torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])):
        torch.testing.assert_close(model.encode_text(ids[:1, :4]), model.encode_text(ids, mask)[:1])


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image_clip")
    image_clip().save_pretrained(folder)
    return folder


@torch.no_grad()
def test_a_beginning_from_image_clip_names_what_is_new(image_folder: Path) -> None:
    model, report = clip_vip.open_dual_encoder(image_folder, start_from_image=True)
    assert report.initialised == ("tower.added", "tower.temporal")
    assert len(report.matched) == len(image_clip().state_dict())
    assert model.tower.temporal.shape == (1, 12, WIDTH)
    assert not model.tower.temporal.any()
    assert model.tower.added.shape == (3, WIDTH)
    assert 0.8 < model.tower.added.std() < 1.2
    state = image_clip().state_dict()
    for ours, theirs in report.names.items():
        assert torch.equal(model.state_dict()[theirs], state[ours])


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 4])
def test_the_beginning_gives_image_clips_logits_for_a_repeated_frame(image_folder: Path, frames: int) -> None:
    """As long as nobody looks at the added proxies."""
    model, _ = clip_vip.open_dual_encoder(image_folder, start_from_image=True)
    frame, ids = clip.film(2, 1, SIDE), captions()
    pixels = clip.pixels(frame[:, 0]).float()
    theirs = image_clip()(input_ids=ids, pixel_values=pixels).logits_per_image
    views = frame.expand(-1, frames, -1, -1, -1)
    assert (model(views, ids) - theirs).abs().max() > 100 * TOLERANCE  # the proxies are seen
    masked = model.blueprint.tower | {"added_seen": False}
    blind = DualEncoder(model.blueprint.model_copy(update={"tower": masked})).eval()
    blind.load_state_dict(model.state_dict())
    torch.testing.assert_close(blind(views, ids), theirs, atol=TOLERANCE, rtol=0)


def test_the_same_seed_begins_alike(image_folder: Path) -> None:
    def added(seed: int) -> Tensor:
        model, _ = clip_vip.open_dual_encoder(image_folder, start_from_image=True, seed=seed)
        added: Tensor = model.tower.added
        return added

    assert torch.equal(added(1), added(1))
    assert not torch.equal(added(1), added(2))


def test_image_clip_is_not_taken_for_clip_vip(image_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)it is image CLIP.*start_from_image=True"):
        clip_vip.open_dual_encoder(image_folder)


def test_clip_vip_is_not_begun_again(published: Path) -> None:
    with pytest.raises(CheckpointError, match="it is CLIP-ViP"):
        clip_vip.open_dual_encoder(published, start_from_image=True)


@torch.no_grad()
def test_a_folder_with_one_such_file_opens(published: Path) -> None:
    by_file, by_folder = (clip_vip.open_dual_encoder(path) for path in (published, published.parent))
    assert by_file[1].fingerprint == by_folder[1].fingerprint
    views, ids = clip.film(1, 2, SIDE), captions()
    assert torch.equal(by_file[0](views, ids), by_folder[0](views, ids))


def test_writing_gives_the_authors_names_back(published: Path) -> None:
    model, _ = clip_vip.open_dual_encoder(published)
    written = clip_vip.to_hub(model.state_dict())
    expected = {key: tensor for key, tensor in authors().items() if not key.endswith("position_ids")}
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[key], expected[key]) for key in expected)


def test_the_format_of_numbers_is_chosen(published: Path) -> None:
    half = {key: t.half() if t.is_floating_point() else t for key, t in authors().items()}
    torch.save(half, published)
    assert clip_vip.open_dual_encoder(published)[0].text_projection.weight.dtype == torch.float32
    kept, report = clip_vip.open_dual_encoder(published, dtype=None)
    assert kept.text_projection.weight.dtype == torch.float16
    assert report.dtype == "as stored"


def small(**tower: Any) -> DualEncoder:
    arch = {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 4,
        "projection_dim": 12,
    }
    text = {
        "model_type": "clip_text_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": WORDS,
        "max_position_embeddings": 8,
        "bos_token_id": 1,
        "eos_token_id": WORDS - 1,
        "pad_token_id": 0,
    }
    spec = {"kind": "clip_vip", "arch": arch, **tower}
    return DualEncoder(DualBlueprint(tower=spec, text=Text(arch=text), width=12)).eval()


def test_every_weight_can_learn() -> None:
    for kind in ("clip_vip", "long_clip"):
        model = small(kind=kind)
        model(clip.film(2, 3, SIDE), captions()).square().sum().backward()
        assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_a_blueprint_survives_plain_data() -> None:
    blueprint = small().blueprint
    assert DualBlueprint.model_validate_json(blueprint.model_dump_json()) == blueprint


def test_a_decoded_clip_is_squashed_to_the_tower() -> None:
    model, pixels = small(), torch.randint(0, 256, (3, 20, 30, 3), dtype=torch.uint8)
    views = model.cut(pixels)
    assert views.shape == (1, 3, 3, SIDE, SIDE)
    assert model.encode_video(views).norm().item() == pytest.approx(1, abs=1e-5)


def test_a_tower_that_cannot_pool_is_refused() -> None:
    tower = {"kind": "convnext", "arch": convnext.tiny().cfg.arch}
    with pytest.raises(ConfigError, match="has no `pool`"):
        DualEncoder(small().blueprint.model_copy(update={"tower": tower}))


def test_another_text_model_is_refused() -> None:
    text = Text(arch={"model_type": "llama"})
    with pytest.raises(ConfigError, match="clip_text_model"):
        DualEncoder(small().blueprint.model_copy(update={"text": text}))


@pytest.mark.parametrize("family", [clip_vip, long_clip])
def test_a_dual_encoder_is_no_captioner(family: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="open_dual_encoder"):
        family.blueprint({}, tmp_path)
