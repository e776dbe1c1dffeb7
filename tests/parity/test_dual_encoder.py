"""CLIP-ViP as a dual encoder: its equations, its files, its beginning from image CLIP, and bad files."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip_tools as clip
import openai_tools as openai
import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import clip_vip, long_clip
from vidapt.models._text_tower import Text
from vidapt.models.dual_encoder import DualBlueprint, DualEncoder
from vidapt.towers import convnext

TOLERANCE = 1e-4
WIDTH, TEXT, SHARED, SIDE, WORDS, FRAMES, ADDED = 128, 64, 24, 8, 40, 5, 3
ADDED_CLS, TEMPORAL = "vision_model.embeddings.added_cls", "vision_model.embeddings.temporal_embedding"


def image_clip() -> CLIPModel:
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 4,
    }
    text = {
        "hidden_size": TEXT,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "vocab_size": WORDS,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": WORDS - 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=SHARED))
    clip.shake(model, 0.1)
    return model


def authors(prefix: str = "clipmodel.") -> dict[str, Tensor]:
    """A CLIP-ViP as its authors store it, with the buffers of their version of transformers."""
    generator = torch.Generator().manual_seed(2)
    state = dict(image_clip().state_dict())
    state[ADDED_CLS] = torch.randn(ADDED, WIDTH, generator=generator)
    state[TEMPORAL] = torch.randn(1, FRAMES, WIDTH, generator=generator)
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(authors(), tmp_path / "clipvip.pt")
    return tmp_path / "clipvip.pt"


def captions() -> Tensor:
    return torch.tensor([[1, 7, 9, WORDS - 1, 0, 0], [1, 3, 30, 12, 8, WORDS - 1]])


@torch.no_grad()
def equations(
    state: dict[str, Tensor], views: Tensor, ids: Tensor, heads: tuple[int, int] = (2, 1)
) -> Tensor:
    """Logits of CLIP-ViP in float64 from its authors' names."""
    weights = {key.removeprefix("clipmodel."): tensor.double() for key, tensor in state.items()}
    tower = {key.replace("vision_model.", "tower.net."): tensor for key, tensor in weights.items()}
    tower |= {"tower.added": weights[ADDED_CLS], "tower.temporal": weights[TEMPORAL]}
    videos = []
    for film in views:
        states = clip.clip_vip_states(film, tower, "tower", heads=heads[0])
        pooled = clip.norm(states[0], weights, "vision_model.post_layernorm")
        videos.append(weights["visual_projection.weight"] @ pooled)
    texts = []
    for text in ids:
        table = weights["text_model.embeddings.position_embedding.weight"]
        states = clip.text_states(text, table, weights, "text_model", heads=heads[1])
        texts.append(weights["text_projection.weight"] @ states[text.tolist().index(WORDS - 1)])
    a, b = (torch.stack([x / x.norm() for x in rows]) for rows in (videos, texts))
    return torch.exp(weights["logit_scale"]) * a @ b.T


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


# Strictness


def respelled(path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    state = authors()
    change(state)
    torch.save(state, path)
    return path


def message(path: Path, opener: Any = clip_vip.open_dual_encoder) -> str:
    with pytest.raises(CheckpointError) as caught:
        opener(path)
    assert caught.value.remedy
    assert path.name in str(caught.value)
    return str(caught.value)


BIAS = "clipmodel.text_model.final_layer_norm.bias"


def test_a_missing_tensor_is_named(published: Path) -> None:
    assert "text.net.final_layer_norm.bias [64]" in message(respelled(published, lambda s: s.pop(BIAS)))


def test_a_tensor_too_many_is_named(published: Path) -> None:
    key = "clipmodel.audio.weight"
    assert key in message(respelled(published, lambda s: s.update({key: torch.zeros(2)})))


def test_a_layer_that_is_not_whole_is_named(published: Path) -> None:
    key = "clipmodel.vision_model.encoder.layers.2.layer_norm1.bias"
    text = message(respelled(published, lambda s: s.update({key: torch.zeros(WIDTH)})))
    assert "are missing" in text


def test_a_wrong_shape_is_named(published: Path) -> None:
    text = message(respelled(published, lambda s: s.update({BIAS: torch.zeros(3)})))
    assert "expected [64], found [3]" in text


def test_two_layouts_at_once_are_refused(published: Path) -> None:
    text = message(respelled(published, lambda s: s.update({f"module.{BIAS}": torch.zeros(TEXT)})))
    assert "mixes two layouts" in text


def test_whole_numbers_for_weights_are_refused(published: Path) -> None:
    quantised = torch.zeros(TEXT, dtype=torch.int8)
    assert "int8" in message(respelled(published, lambda s: s.update({BIAS: quantised})))


@pytest.mark.parametrize(
    "key", ["vision_model.embeddings.class_embedding", "text_projection.weight", TEMPORAL]
)
def test_a_missing_tensor_that_tells_a_size_is_named(published: Path, key: str) -> None:
    message(respelled(published, lambda s: s.pop(f"clipmodel.{key}")))


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("vision_model.embeddings.position_embedding.weight", torch.zeros(4, WIDTH)),
        ("vision_model.encoder.layers.0.layer_norm1.weight", torch.zeros(100)),
        ("vision_model.embeddings.patch_embedding.weight", torch.zeros(3)),
    ],
)
def test_sizes_that_cannot_be_are_refused(published: Path, key: str, tensor: Tensor) -> None:
    message(respelled(published, lambda s: s.update({f"clipmodel.{key}": tensor})))


def test_the_other_family_is_refused(published: Path, tmp_path: Path) -> None:
    torch.save(openai.state(248, long=True), tmp_path / "long.pt")
    assert "belong to no part of a clip_vip model" in message(tmp_path / "long.pt")
    assert "belong to no part of a long_clip model" in message(published, long_clip.open_dual_encoder)


# Files that are no weights


class Harm:
    """Unpickling it would make a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


OPENERS = pytest.mark.parametrize("opener", [clip_vip.open_dual_encoder, long_clip.open_dual_encoder])


@OPENERS
@pytest.mark.parametrize("by", ["torch", "old torch", "pickle"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, opener: Any, by: str) -> None:
    path, harm = tmp_path / "weights.pt", Harm(tmp_path / "harmed")
    if by == "pickle":
        path.write_bytes(pickle.dumps({"weight": harm}))
    else:
        torch.save({"weight": harm}, path, _use_new_zipfile_serialization=by == "torch")
    assert "run code" in message(path, opener)
    assert not harm.place.exists()


@OPENERS
def test_a_whole_pickled_model_is_refused(tmp_path: Path, opener: Any) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    assert "is not opened" in message(tmp_path / "model.pt", opener)


@OPENERS
@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"weight": torch.zeros(1)}, "epoch": 3}, {1: 2}])
def test_other_content_is_refused(tmp_path: Path, opener: Any, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert "state_dict" in message(tmp_path / "weights.pt", opener)


@OPENERS
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_file_is_refused(tmp_path: Path, opener: Any, share: float, new: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save(authors(), path, _use_new_zipfile_serialization=new)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message(path, opener)


@OPENERS
def test_another_archive_is_refused(tmp_path: Path, opener: Any) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    message(tmp_path / "weights.pt", opener)


@OPENERS
def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path, opener: Any) -> None:
    assert "no such file" in message(tmp_path / "absent.pt", opener)
    (tmp_path / "empty").mkdir()
    assert "0 files of pickled weights" in message(tmp_path / "empty", opener)


@torch.no_grad()
def test_an_old_file_that_cannot_be_mapped_opens(published: Path) -> None:
    mapped, _ = clip_vip.open_dual_encoder(published)
    # In a file of its own: what is mapped must not be written over.
    old = published.with_name("old.pt")
    torch.save(authors(), old, _use_new_zipfile_serialization=False)
    read, _ = clip_vip.open_dual_encoder(old)
    assert all(torch.equal(read.state_dict()[key], tensor) for key, tensor in mapped.state_dict().items())


# The model itself


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


@OPENERS
def test_a_torchscript_archive_is_refused(tmp_path: Path, opener: Any) -> None:
    """OpenAI's own files are such archives; they hold code beside the weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "model.pt"))
    assert "TorchScript" in message(tmp_path / "model.pt", opener)
