"""Folders of LLaVA's authors open as published: flat configurations, pickled shards, named towers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import parity_tools as tools
import published_tools as published
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
)

from vidapt.errors import CheckpointError
from vidapt.hub import family_of, open_checkpoint
from vidapt.loading import export_model
from vidapt.models.video_lm import VideoLM
from vidapt.video.choose import Every, Uniform

CLIP = tools.film(1, 40, 60)
TOWER = "model.vision_tower.vision_tower.vision_model."
QWEN = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava_qwen",
    "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
    "use_sliding_window": False,
    "vision_tower_pretrained": None,
}
MISTRAL = {
    "architectures": ["LlavaMistralForCausalLM"],
    "model_type": "llava_mistral",
    "max_position_embeddings": 32768,
    "mm_spatial_pool_mode": "average",
    "mm_spatial_pool_out_channels": 1024,
    "mm_spatial_pool_stride": 2,
    "mm_resampler_type": "spatial_pool",
    "sliding_window": None,
}


@pytest.fixture(scope="module")
def model() -> bytes:
    return published.pieces()


def oracle(state: Mapping[str, Tensor]) -> LlavaForConditionalGeneration:
    """Transformers' class with the authors' weights."""
    sizes = {name: published.AUTHORS[name] for name in ("hidden_size", "intermediate_size", "vocab_size")}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    made = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config={**published.tower_sizes(), "hidden_act": "quick_gelu"},
            text_config={"model_type": "llama", "rms_norm_eps": 1e-5, **sizes},
            image_token_index=tools.IMAGE,
        )
    )
    names = {TOWER: "model.vision_tower.", "model.mm_projector.0.": "model.multi_modal_projector.linear_1."}
    names |= {"model.mm_projector.2.": "model.multi_modal_projector.linear_2."}
    named: dict[str, Tensor] = {}
    for key, tensor in state.items():
        prefix = next((p for p in names if key.startswith(p)), None)
        if prefix is not None:
            named[names[prefix] + key.removeprefix(prefix)] = tensor
        else:
            named[key.replace("model.", "model.language_model.", 1)] = tensor
    made.load_state_dict(named, strict=True)
    return made.eval()


def logits(opened: VideoLM) -> Tensor:
    return tools.our_logits(opened, [[CLIP]])


@pytest.mark.parametrize("pickled", [True, False])
def test_llava_as_its_authors_publish_it(pickled: bool, model: bytes, tmp_path: Path) -> None:
    state = published.authors_folder(tmp_path / "llava", model, pickled=pickled)
    opened, tokenizer, report = open_checkpoint(tmp_path / "llava")
    assert report.family == "llava"
    assert len(report.names) == len(state)
    assert report.files == (
        ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
        if pickled
        else ("model.safetensors",)
    )
    assert opened.blueprint.resolution["kind"] == "pad"
    assert tokenizer("USER: hi", add_special_tokens=False).input_ids
    view = tools.cut(opened, CLIP)
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        expected = oracle(state)(input_ids=ids, pixel_values=tools.their_pixels(view)).logits
    torch.testing.assert_close(logits(opened), tools.at_after(expected), atol=tools.TOLERANCE, rtol=0)


def test_one_pickle_without_an_index(model: bytes, tmp_path: Path) -> None:
    state = published.authors_folder(tmp_path, model, pickled=False)
    expected = logits(open_checkpoint(tmp_path)[0])
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert torch.equal(logits(open_checkpoint(tmp_path)[0]), expected)
    torch.save(
        state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )  # before torch 1.6
    assert torch.equal(logits(open_checkpoint(tmp_path)[0]), expected)


def test_safetensors_go_before_pickles(model: bytes, tmp_path: Path) -> None:
    state = published.authors_folder(tmp_path, model)
    save_file({key: tensor * 0 for key, tensor in state.items()}, tmp_path / "model.safetensors")
    opened, _, report = open_checkpoint(tmp_path)
    assert report.files == ("model.safetensors",)
    assert not opened.language.lm_head.weight.any()


@pytest.mark.parametrize("name", ["../outside.bin", "absent.bin", "pytorch_model.safetensors", 7])
def test_an_index_that_names_what_is_no_shard_is_refused(name: Any, model: bytes, tmp_path: Path) -> None:
    published.authors_folder(tmp_path / "llava", model)
    index = tmp_path / "llava" / "pytorch_model.bin.index.json"
    (tmp_path / "outside.bin").write_bytes(b"")
    changed = json.loads(index.read_text())
    changed["weight_map"]["lm_head.weight"] = name
    index.write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="absent" if name == "absent.bin" else "shards are"):
        open_checkpoint(tmp_path / "llava")


def test_quantised_pickles_are_refused(model: bytes, tmp_path: Path) -> None:
    state = published.authors_folder(tmp_path, model, pickled=False)
    (tmp_path / "model.safetensors").unlink()
    state["lm_head.weight"] = state["lm_head.weight"].to(torch.int8)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight(.|\n)*int8"):
        open_checkpoint(tmp_path)


def clip_folder(place: Path, state: Mapping[str, Tensor]) -> None:
    """A copy of CLIP as the hub has it, both towers in it, with the vision tower's weights."""
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPModel(
        CLIPConfig(
            vision_config=published.tower_sizes(), text_config={**text, "vocab_size": 99}, projection_dim=16
        )
    )
    vision = {k.removeprefix(TOWER): v for k, v in state.items() if k.startswith(TOWER)}
    clip.vision_model.load_state_dict(vision, strict=True)
    clip.save_pretrained(place)


@pytest.mark.parametrize("within", [True, False])
def test_a_tower_that_is_only_named_is_taken_from_its_folder(
    within: bool, model: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "llava"
    state = published.authors_folder(folder, model, pickled=False)
    expected = logits(open_checkpoint(folder)[0])
    save_file({k: v for k, v in state.items() if not k.startswith(TOWER)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"vision tower(.|\n)*clip-vit-tiny-patch7-28"):
        open_checkpoint(folder)
    place = (folder if within else tmp_path) / "clip-vit-tiny-patch7-28"
    clip_folder(place, state)
    opened, _, report = open_checkpoint(folder)
    assert torch.equal(logits(opened), expected)
    assert "clip-vit-tiny-patch7-28/model.safetensors" in report.files
    assert report.ignored["mm_vision_tower:logit_scale"] == "only the tower sees"
    assert any(key.startswith("mm_vision_tower:text_model.") for key in report.ignored)
    assert all(key.startswith(("mm_vision_tower:", "model.image_newline")) for key in report.ignored)


def test_siglip_loses_its_last_layer_as_in_the_authors_code(model: bytes, tmp_path: Path) -> None:
    folder, name = tmp_path / "onevision", "siglip-so400m-patch14-384"
    siglip = SiglipModel(
        SiglipConfig(
            vision_config={**published.tower_sizes(), "model_type": "siglip_vision_model"},
            text_config={
                "hidden_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "vocab_size": 9,
            },
        )
    )
    siglip.save_pretrained(folder / name)
    changes = {**QWEN, **published.ANYRES, "mm_vision_tower": f"google/{name}"}
    changes |= {"image_aspect_ratio": "anyres_max_9", "image_grid_pinpoints": "(1x1),...,(6x6)"}
    state = published.authors_folder(folder, model, changes, pickled=False, newline=True)
    save_file({k: v for k, v in state.items() if not k.startswith(TOWER)}, folder / "model.safetensors")
    opened, _, report = open_checkpoint(folder)
    assert report.family == "llava_onevision"
    assert opened.tower.cfg.arch["num_hidden_layers"] == 2
    assert opened.tower.cfg.layer == -1
    cut = [key for key, why in report.ignored.items() if why.startswith("the authors cut")]
    assert {key.split(":cut:")[1].split(".")[1] for key in cut} == {"encoder", "head"}
    assert all(".head." in key or ".layers.2." in key for key in cut)
    held = load_file(folder / name / "model.safetensors")
    bias = "encoder.layers.1.mlp.fc2.bias"
    assert torch.equal(opened.towers[0].net.get_parameter(bias), held[f"vision_model.{bias}"])


def test_an_unknown_tower_without_its_weights_is_refused(model: bytes, tmp_path: Path) -> None:
    changes = {"mm_vision_tower": "somebody/eva-clip"}
    state = published.authors_folder(tmp_path, model, changes, pickled=False)
    save_file({k: v for k, v in state.items() if not k.startswith(TOWER)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"somebody/eva-clip(.|\n)*'eva-clip'"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["..", "../..", ".", "/", ""])
def test_a_name_that_is_no_folders_reaches_nowhere(name: str, model: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "llava"
    state = published.authors_folder(folder, model, {"mm_vision_tower": name}, pickled=False)
    clip_folder(tmp_path, state)
    clip_folder(tmp_path / "models", state)
    export_model(folder, tmp_path / "out", to="hf", dtype="float32")  # its own weights tell what it is
    save_file({k: v for k, v in state.items() if not k.startswith(TOWER)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="vision tower"):
        open_checkpoint(folder)


def test_llava_next_video_on_mistral_pools_its_frames(model: bytes, tmp_path: Path) -> None:
    """It was once read as LLaVA-NeXT: one frame, unpooled."""
    published.authors_folder(tmp_path, model, {**published.ANYRES, **MISTRAL}, newline=True)
    opened, _, report = open_checkpoint(tmp_path)
    assert report.family == "llava_next_video"
    assert opened.blueprint.frames == Uniform(count=16, at="endpoints", pad=False)
    assert [grid.cells for grid, _ in opened.plan((40, 60), 8)[1]] == [8 * 2 * 2]
    assert opened.blueprint.prompt.user == "[INST] {text}"
    still = {**published.ANYRES, **MISTRAL}
    del still["mm_spatial_pool_mode"]
    assert family_of(still | {"architectures": ["LlavaMistralForCausalLM"]}, tmp_path).FAMILY == "llava_next"


ONEVISION = {**QWEN, **published.ANYRES, "image_aspect_ratio": "anyres_max_9"}


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("llava_onevision", "add_faster_video"),
        ("llava_next_video", "add_faster_video"),
        ("llava_next_video", "add_time_instruction"),
    ],
)
def test_what_llava_video_does_beyond_is_refused_and_not_ignored(
    field: str, family: str, model: bytes, tmp_path: Path
) -> None:
    changes = ONEVISION if family == "llava_onevision" else {**published.ANYRES, **MISTRAL}
    published.authors_folder(tmp_path, model, {**changes, field: True}, newline=True)
    with pytest.raises(CheckpointError, match=field):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("forced", "policy"),
    [
        (None, Uniform(count=32, at="endpoints", pad=False)),
        (True, Uniform(count=32, at="endpoints", pad=False)),
        (False, Every(rate=1.0, cap=32, at="endpoints")),
    ],
)
def test_whether_frames_are_forced_to_be_even_is_honoured(
    forced: bool | None, policy: Any, model: bytes, tmp_path: Path
) -> None:
    told = {} if forced is None else {"force_sample": forced}
    published.authors_folder(tmp_path, model, {**ONEVISION, **told}, newline=True)
    assert open_checkpoint(tmp_path)[0].blueprint.frames == policy


def test_interleave_of_the_authors_is_padded(model: bytes, tmp_path: Path) -> None:
    changes = {**QWEN, **published.ANYRES, "image_aspect_ratio": "pad", "mm_patch_merge_type": "flat"}
    published.authors_folder(tmp_path, model, changes, newline=True)
    opened, _, report = open_checkpoint(tmp_path)
    assert report.family == "llava_interleave"
    assert opened.blueprint.resolution == {"kind": "pad", "colour": [127, 127, 127], "filter": "pillow"}
    assert [grid.cells for grid, _ in opened.plan((40, 60), 4)[1]] == [4 * tools.CELLS**2]
    assert report.ignored == {"model.image_newline": "only tiled still images use it"}
    config = json.loads((tmp_path / "config.json").read_text()) | {"mm_patch_merge_type": "spatial_unpad"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="mm_patch_merge_type"):
        open_checkpoint(tmp_path)
