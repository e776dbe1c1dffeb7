"""Image CLIP as a dual encoder for clips, against transformers' `CLIPModel`; and folders that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip_tools as tools
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from vidapt.errors import CheckpointError
from vidapt.hub import clip, clip_vip, family_of, open_dual_encoder
from vidapt.inference.match import match
from vidapt.inference.matchers import DualMatcher, open_matcher
from vidapt.loading import compares
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.nouns import Clip, Features
from vidapt.training.tokenizer import learn_caption_tokenizer
from vidapt.video import decode, write_mp4

TOLERANCE = 1e-4
WIDTH, TEXT, SHARED, SIDE, WORDS = 32, 24, 12, 8, 40


def image_clip(words: int = WORDS) -> CLIPModel:
    """Heads of 16 and 12 numbers, and an activation that is not CLIP's: only the configuration knows."""
    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu"}
    vision = {"hidden_size": WIDTH, "intermediate_size": 48, "image_size": SIDE, "patch_size": 4, **common}
    marks = {"bos_token_id": 1, "eos_token_id": words - 1, "pad_token_id": 0}
    text = {"hidden_size": TEXT, "intermediate_size": 32, "max_position_embeddings": 24, **common, **marks}
    torch.manual_seed(0)
    config = CLIPConfig(
        vision_config=vision, text_config={**text, "vocab_size": words}, projection_dim=SHARED
    )
    model = CLIPModel(config)
    tools.shake(model, 0.3)
    with torch.no_grad():
        # Vectors of frames then differ in length, and so the order of mean and length matters.
        model.vision_model.post_layernorm.weight.mul_(torch.linspace(0.1, 3.0, WIDTH))
        model.logit_scale.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def original() -> CLIPModel:
    return image_clip()


@pytest.fixture(scope="module")
def folder(original: CLIPModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    original.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> DualEncoder:
    return clip.open_dual_encoder(folder)[0]


def captions() -> Tensor:
    return torch.tensor([[1, 7, 9, WORDS - 1, 0, 0], [1, 3, 30, 12, 8, WORDS - 1]])


@torch.no_grad()
def of_frames(original: CLIPModel, views: Tensor) -> Tensor:
    """[N, T, 3, H, W] uint8 -> [N, T, E]: what transformers makes of each frame."""
    pixels = tools.pixels(views.flatten(0, 1)).float()
    features: Tensor = original.get_image_features(pixels).pooler_output
    return features.unflatten(0, views.shape[:2])


@torch.no_grad()
def of_texts(original: CLIPModel, ids: Tensor) -> Tensor:
    return original.get_text_features(ids).pooler_output


def mean_of_unit_vectors(frames: Tensor) -> Tensor:
    return F.normalize(F.normalize(frames, dim=-1).mean(1), dim=-1)


# Parity


@torch.no_grad()
def test_every_frame_has_its_own_image_features(original: CLIPModel, model: DualEncoder) -> None:
    views = tools.film(2, 5, SIDE)
    ours = model.visual_projection(model.tower.pool(model.tower(views)))
    torch.testing.assert_close(ours, of_frames(original, views), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_texts_have_their_features(original: CLIPModel, model: DualEncoder) -> None:
    theirs = F.normalize(of_texts(original, captions()), dim=-1)
    torch.testing.assert_close(model.encode_text(captions()), theirs, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_logits_of_one_frame_are_those_of_the_image(original: CLIPModel, model: DualEncoder) -> None:
    views = tools.film(3, 1, SIDE)
    theirs = original(input_ids=captions(), pixel_values=tools.pixels(views[:, 0]).float()).logits_per_image
    torch.testing.assert_close(model(views, captions()), theirs, atol=TOLERANCE, rtol=0)
    assert theirs.std() > 100 * TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("frames", [2, 7])
def test_a_clip_is_the_mean_of_its_frames(original: CLIPModel, model: DualEncoder, frames: int) -> None:
    views = tools.film(2, frames, SIDE)
    texts = F.normalize(of_texts(original, captions()), dim=-1)
    videos = mean_of_unit_vectors(of_frames(original, views))
    theirs = original.logit_scale.exp() * videos @ texts.T
    torch.testing.assert_close(model.encode_video(views), videos, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(model(views, captions()), theirs, atol=TOLERANCE, rtol=0)
    # The order of frames is nothing to it.
    torch.testing.assert_close(model(views.flip(1), captions()), theirs, atol=TOLERANCE, rtol=0)


def _mean_of_lengths(frames: Tensor) -> Tensor:
    return F.normalize(frames.mean(1), dim=-1)


def _not_of_unit_length(frames: Tensor) -> Tensor:
    return F.normalize(frames, dim=-1).mean(1)


def _first_frame(frames: Tensor) -> Tensor:
    return F.normalize(frames[:, 0], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("pooling", [_mean_of_lengths, _not_of_unit_length, _first_frame])
def test_another_way_to_join_frames_breaks_the_match(
    original: CLIPModel, model: DualEncoder, pooling: Callable[[Tensor], Tensor]
) -> None:
    views = tools.film(2, 7, SIDE)
    videos, texts = pooling(of_frames(original, views)), F.normalize(of_texts(original, captions()), dim=-1)
    wrong = original.logit_scale.exp() * videos @ texts.T
    assert (model(views, captions()) - wrong).abs().max() > 100 * TOLERANCE


def _last_layer_left_out(original: CLIPModel) -> None:
    del original.vision_model.encoder.layers[-1]


def _layers_swapped(original: CLIPModel) -> None:
    layers = original.vision_model.encoder.layers
    original.vision_model.encoder.layers = torch.nn.ModuleList([layers[1], layers[0]])


def _no_last_norm(original: CLIPModel) -> None:
    original.vision_model.post_layernorm = torch.nn.Identity()


def _other_activation(original: CLIPModel) -> None:
    for layer in original.text_model.encoder.layers:
        layer.mlp.activation_fn = torch.nn.ReLU()


@torch.no_grad()
@pytest.mark.parametrize("mistake", [_last_layer_left_out, _layers_swapped, _no_last_norm, _other_activation])
def test_a_mistake_in_a_tower_breaks_the_match(
    model: DualEncoder, mistake: Callable[[CLIPModel], None]
) -> None:
    wrong, views = image_clip(), tools.film(3, 1, SIDE)
    mistake(wrong)
    theirs = wrong(input_ids=captions(), pixel_values=tools.pixels(views[:, 0]).float()).logits_per_image
    assert (model(views, captions()) - theirs).abs().max() > 100 * TOLERANCE


@torch.no_grad()
def test_patches_are_projected_as_the_class_token_is(original: CLIPModel, model: DualEncoder) -> None:
    views = tools.film(2, 3, SIDE)
    pixels = tools.pixels(views.flatten(0, 1)).float()
    states = original.vision_model(pixels).last_hidden_state
    theirs = original.visual_projection(original.vision_model.post_layernorm(states))[:, 1:]
    seen = model.tower(views)
    ours = model.project_cells(seen.x.flatten(1, 3))
    torch.testing.assert_close(ours, theirs.reshape(2, 3 * 4, SHARED), atol=TOLERANCE, rtol=0)
    class_tokens = model.stand_for(Features(seen.x[:, :1], extra=seen.extra[:, :1]))
    alone = F.normalize(model.project_cells(seen.extra[:, :1])[:, 0], dim=-1)
    torch.testing.assert_close(class_tokens, alone, atol=TOLERANCE, rtol=0)


# How it opens


def test_it_opens_as_what_it_is(folder: Path, original: CLIPModel) -> None:
    model, tokenizer, report = open_dual_encoder(folder)
    assert report.family == "clip"
    assert report.files == ("model.safetensors",)
    assert tokenizer is None
    assert (report.initialised, dict(report.ignored)) == ((), {})
    assert len(report.matched) == len(original.state_dict())
    tower = model.blueprint.tower
    assert (tower["kind"], tower["layer"], tower["drop_class_token"]) == ("frame_vit", -1, False)
    assert model.fixed == frozenset()
    assert all(weight.requires_grad for weight in model.parameters())
    for theirs, ours in report.names.items():
        assert torch.equal(model.state_dict()[ours], original.state_dict()[theirs])


def test_where_it_is_accepted_it_begins_a_clip_vip(folder: Path) -> None:
    model, _, report = open_dual_encoder(folder, accept=["image_clip"], seed=3)
    assert report.family == "clip_vip"
    assert report.initialised == ("tower.added", "tower.temporal")
    same, _ = clip_vip.open_dual_encoder(folder, start_from_image=True, seed=3)
    assert torch.equal(model.tower.added, same.tower.added)


def test_names_are_given_back(model: DualEncoder, original: CLIPModel) -> None:
    written = clip.to_hub(model.state_dict())
    assert written.keys() == original.state_dict().keys()
    assert all(torch.equal(written[key], tensor) for key, tensor in original.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module.", "clipmodel.", "module.clipmodel."])
def test_a_file_without_configuration_is_told_by_shapes(tmp_path: Path, prefix: str) -> None:
    """Then heads have 64 numbers, and the activation is CLIP's."""
    common = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 64, "intermediate_size": 32}
    text = {"vocab_size": WORDS, "max_position_embeddings": 8, **common}
    marks = {"bos_token_id": 1, "eos_token_id": WORDS - 1, "pad_token_id": 0}
    vision = {"image_size": SIDE, "patch_size": 4, **common}
    config = CLIPConfig(vision_config=vision, text_config={**text, **marks}, projection_dim=SHARED)
    torch.manual_seed(0)
    original = CLIPModel(config)
    tools.shake(original, 0.1)
    state = {f"{prefix}{key}": tensor for key, tensor in original.state_dict().items()}
    state[f"{prefix}vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    torch.save(state, tmp_path / "weights.pt")
    model, _, report = open_dual_encoder(tmp_path / "weights.pt")
    assert report.family == "clip"
    assert list(report.ignored) == [f"{prefix}vision_model.embeddings.position_ids"]
    views = tools.film(2, 1, SIDE)
    theirs = original(input_ids=captions(), pixel_values=tools.pixels(views[:, 0]).float()).logits_per_image
    torch.testing.assert_close(model(views, captions()), theirs, atol=TOLERANCE, rtol=0)


def test_frames_are_cut_as_the_processor_says(folder: Path, model: DualEncoder, tmp_path: Path) -> None:
    assert model.blueprint.resolution == {"kind": "whole", "fit": "crop", "filter": "bicubic"}
    said = {
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.1, 0.2, 0.3],
        "resample": 2,
        "do_center_crop": False,
        "size": {"height": SIDE, "width": SIDE},
    }
    other = copied(folder, tmp_path)
    (other / "preprocessor_config.json").write_text(json.dumps(said), encoding="utf-8")
    opened, _ = clip.open_dual_encoder(other)
    assert opened.blueprint.resolution == {"kind": "whole", "fit": "squash", "filter": "bilinear"}
    assert (opened.tower.mean, opened.tower.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


@torch.no_grad()
def test_a_saved_one_opens_as_it_was(model: DualEncoder, tmp_path: Path) -> None:
    save_dual(tmp_path / "kept", model, None, {})
    opened, _, _ = open_dual_encoder(tmp_path / "kept")
    assert opened.blueprint == model.blueprint
    views = tools.film(1, 3, SIDE)
    assert torch.equal(opened(views, captions()), model(views, captions()))


def test_it_is_no_captioner(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert family_of(config, folder) is clip
    with pytest.raises(CheckpointError, match=r"vidapt\.hub\.clip\.open_dual_encoder"):
        clip.blueprint(config, folder)


@torch.no_grad()
def test_match_opens_its_folder(tmp_path: Path) -> None:
    statements = ["the white ball hits the red ball", "there is no green ball"]
    tokenizer = learn_caption_tokenizer(statements * 3, 300)
    original, folder = image_clip(len(tokenizer)), tmp_path / "published"
    original.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        open_matcher(folder)
    tokenizer.save_pretrained(folder)
    assert compares(folder)
    matcher, film = open_matcher(folder), tmp_path / "film.mp4"
    assert isinstance(matcher, DualMatcher)
    noise = np.random.default_rng(0).integers(0, 255, (12, 24, 32, 3), dtype=np.uint8)
    write_mp4(film, noise, 6)
    found = {one.text: one.score for one in match(matcher, film, statements).statements}
    frames = decode(Clip("a", film), matcher.model.blueprint.frames)
    views = matcher.model.cut(torch.from_numpy(frames.pixels))
    video = mean_of_unit_vectors(of_frames(original, views))[0]
    for text in statements:
        ids = torch.tensor([tokenizer(text).input_ids])
        cosine = float(F.normalize(of_texts(original, ids), dim=-1)[0] @ video)
        assert found[text] == pytest.approx(cosine, abs=TOLERANCE)


# Strictness


def copied(folder: Path, to: Path) -> Path:
    """A copy of a published folder that may be changed."""
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def message(folder: Path, opener: Any = open_dual_encoder) -> str:
    with pytest.raises(CheckpointError) as caught:
        opener(folder)
    assert caught.value.remedy
    return str(caught.value)


BIAS = "text_model.final_layer_norm.bias"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({BIAS: None}, f"text.net.final_layer_norm.bias [{TEXT}]"),
        ({"logit_scale": None}, "logit_scale []"),
        ({"visual_projection.weight": None}, "visual_projection.weight"),
        ({"vision_model.post_layernorm.weight": None}, "tower.net.post_layernorm.weight"),
        ({"logit_bias": torch.zeros(1)}, "logit_bias"),
        ({"vision_model.encoder.layers.2.layer_norm1.bias": torch.zeros(WIDTH)}, "layers.2.layer_norm1"),
        ({"text_model.head.weight": torch.zeros(2)}, "text.net.head.weight [2]"),
        ({BIAS: torch.zeros(3)}, f"expected [{TEXT}], found [3]"),
        ({"vision_model.embeddings.class_embedding": torch.zeros(3)}, f"expected [{WIDTH}], found [3]"),
        ({f"clipmodel.{BIAS}": torch.zeros(TEXT)}, "mixes two layouts"),
        ({BIAS: torch.zeros(TEXT, dtype=torch.int8)}, "I8"),
    ],
)
def test_what_does_not_fit_is_named(
    folder: Path, tmp_path: Path, change: dict[str, Tensor | None], found: str
) -> None:
    state = {**load_file(folder / "model.safetensors"), **change}
    kept = {key: tensor for key, tensor in state.items() if tensor is not None}
    save_file(kept, copied(folder, tmp_path) / "model.safetensors")
    assert found in message(tmp_path)


@pytest.mark.parametrize(
    ("section", "change", "found"),
    [
        ("vision_config", {"hidden_size": 64}, "have the wrong shape"),
        ("vision_config", {"num_hidden_layers": 3}, "are missing"),
        ("text_config", {"num_hidden_layers": 1}, "have no place in the model"),
        ("vision_config", {"hidden_act": "gello"}, "describes no dual encoder"),
        ("vision_config", {"num_attention_heads": 3}, "describes no CLIP"),
        ("vision_config", {"hidden_size": "wide"}, "describes no CLIP"),
        ("text_config", {"hidden_act": "gello"}, "describes no dual encoder"),
    ],
)
def test_a_configuration_of_another_model_is_told(
    folder: Path, tmp_path: Path, section: str, change: dict[str, Any], found: str
) -> None:
    path = copied(folder, tmp_path) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config[section] |= change
    path.write_text(json.dumps(config), encoding="utf-8")
    assert found in message(tmp_path)


def test_a_clip_vip_is_no_image_clip(folder: Path, tmp_path: Path) -> None:
    begun, _ = clip_vip.open_dual_encoder(folder, start_from_image=True)
    torch.save(clip_vip.to_hub(begun.state_dict()), tmp_path / "clipvip.pt")
    text = message(tmp_path / "clipvip.pt", clip.open_dual_encoder)
    assert "2 tensor(s) belong to no part of a clip model" in text
    assert "added_cls" in text
    assert "temporal_embedding" in text


def test_a_clip_vip_that_lost_one_of_its_tables_is_no_image_clip(tmp_path: Path) -> None:
    state = image_clip().state_dict() | {"vision_model.embeddings.added_cls": torch.zeros(3, WIDTH)}
    torch.save(state, tmp_path / "clipvip.pt")
    for accept in ((), ("image_clip",)):
        with pytest.raises(CheckpointError):
            open_dual_encoder(tmp_path / "clipvip.pt", accept=accept)
