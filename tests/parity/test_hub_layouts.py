"""The same weights open from every published layout, and go back to the hub's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import parity_tools as tools
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaNextVideoForConditionalGeneration

from vidapt.errors import CheckpointError
from vidapt.hub import llava, llava_next_video, open_checkpoint


@pytest.fixture(scope="module")
def oracle() -> LlavaForConditionalGeneration:
    return tools.llava()


@pytest.fixture(scope="module")
def fresh(oracle: LlavaForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers 5 saves a model made in memory."""
    return tools.save(oracle, tmp_path_factory.mktemp("fresh"))


def hub_2024(key: str) -> str:
    return key.replace("vision_tower.", "vision_tower.vision_model.", 1)


def in_memory(key: str) -> str:
    if key.startswith("language_model.lm_head."):
        return key.removeprefix("language_model.")
    return f"model.{key.replace('language_model.model.', 'language_model.', 1)}"


def authors(key: str) -> str:
    if key.startswith("vision_tower."):
        return key.replace("vision_tower.", "model.vision_tower.vision_tower.vision_model.", 1)
    for ours, number in (("linear_1", 0), ("linear_2", 2)):
        key = key.replace(f"multi_modal_projector.{ours}", f"model.mm_projector.{number}")
    return key.removeprefix("language_model.")


def rewrite(source: Path, target: Path, name: Callable[[str], str], extra: dict[str, Tensor]) -> Path:
    """A copy of a checkpoint with other names."""
    target.mkdir()
    for file in source.glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    state = {name(key): tensor for key, tensor in load_file(source / "model.safetensors").items()}
    save_file({**state, **extra}, target / "model.safetensors")
    return target


LEFTOVERS = {
    "vision_tower.vision_model.embeddings.position_ids": torch.arange(17)[None],
    "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    "image_newline": torch.zeros(32),
}


@pytest.mark.parametrize("name", [hub_2024, in_memory, authors])
def test_every_layout_gives_the_same_model(fresh: Path, tmp_path: Path, name: Callable[[str], str]) -> None:
    first, _, expected = open_checkpoint(fresh)
    second, _, report = open_checkpoint(rewrite(fresh, tmp_path / "other", name, {}))
    assert report.matched == expected.matched
    assert report.fingerprint == expected.fingerprint
    clips = [tools.film(2, 40, 50)]
    assert torch.equal(tools.our_logits(first, [clips]), tools.our_logits(second, [clips]))


def test_what_older_files_hold_beyond_weights_is_left_out_and_said(fresh: Path, tmp_path: Path) -> None:
    _, _, report = open_checkpoint(rewrite(fresh, tmp_path / "old", hub_2024, LEFTOVERS))
    assert report.ignored.keys() == LEFTOVERS.keys()
    assert all(report.ignored.values())


def test_shards_are_joined(oracle: LlavaForConditionalGeneration, fresh: Path, tmp_path: Path) -> None:
    tools.save(oracle, tmp_path, max_shard_size="30KB")
    _, _, report = open_checkpoint(tmp_path)
    assert len(report.files) > 1
    assert report.fingerprint == open_checkpoint(fresh)[2].fingerprint


def test_another_weight_gives_another_fingerprint(fresh: Path, tmp_path: Path) -> None:
    target = rewrite(fresh, tmp_path / "other", hub_2024, {})
    state = load_file(target / "model.safetensors")
    state["multi_modal_projector.linear_1.bias"][0] += 1
    save_file(state, target / "model.safetensors")
    assert open_checkpoint(target)[2].fingerprint != open_checkpoint(fresh)[2].fingerprint


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    tied = tools.llava(text_config=tools.text_config(tie_word_embeddings=True), tie_word_embeddings=True)
    tools.save(tied, tmp_path)
    model, _, _ = open_checkpoint(tmp_path)
    assert model.language.get_output_embeddings().weight is model.language.get_input_embeddings().weight
    assert torch.equal(model.language.get_input_embeddings().weight, tied.get_input_embeddings().weight)


def test_a_trained_llava_goes_back_to_transformers(fresh: Path, tmp_path: Path) -> None:
    model, _, _ = open_checkpoint(fresh)
    with torch.no_grad():
        model.connector.mlp[0].bias += 0.5
    save_file(llava.to_hub(model.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((fresh / "config.json").read_text())
    back, info = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    clip = tools.film(1, 28, 28)
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        logits = back.eval()(input_ids=ids, pixel_values=tools.their_pixels(clip)).logits
    torch.testing.assert_close(
        tools.our_logits(model, [[clip]]), tools.at_after(logits), atol=tools.TOLERANCE, rtol=0
    )


def test_a_trained_next_video_goes_back_with_its_newline(tmp_path: Path) -> None:
    oracle = tools.next_video()
    start, target = tools.save(oracle, tmp_path / "start"), tmp_path / "target"
    target.mkdir()
    model, _, _ = open_checkpoint(start)
    save_file(llava_next_video.to_hub(model.state_dict()), target / "model.safetensors")
    (target / "config.json").write_text((start / "config.json").read_text())
    back, info = LlavaNextVideoForConditionalGeneration.from_pretrained(target, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    expected = oracle.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in back.state_dict().items())


def test_adapters_must_be_merged_before_going_back(fresh: Path) -> None:
    model, _, _ = open_checkpoint(fresh)
    key = "language.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    with pytest.raises(CheckpointError, match=key):
        llava.to_hub({**model.state_dict(), key: torch.zeros(2, 2)})


def test_the_authors_configuration_is_understood(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "vocab_size": 32000,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "image_aspect_ratio": "pad",
        "torch_dtype": "float16",
        "use_mm_proj": True,
        "rope_theta": 5_000_000.0,
    }
    blueprint = llava.blueprint(config, tmp_path)
    assert blueprint.language["rope_theta"] == 5_000_000.0
    assert blueprint.resolution["kind"] == "pad"
    assert blueprint.towers[0]["arch"]["image_size"] == 336
    assert blueprint.language["hidden_size"] == 4096
    assert "use_mm_proj" not in blueprint.language
    assert "torch_dtype" not in blueprint.language
    for change in (
        {"mm_vision_tower": "openai/clip-vit-large-patch14-337"},
        {"mm_projector_type": "linear"},
        {"image_aspect_ratio": "anyres"},
    ):
        with pytest.raises(CheckpointError, match=next(iter(change))):
            llava.blueprint({**config, **change}, tmp_path)


def test_a_2024_hub_configuration_is_understood(tmp_path: Path) -> None:
    """The fields of the first conversions: no sizes of the language model, file names, an old dtype key."""
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "ignore_index": -100,
        "image_token_index": 32000,
        "pad_token_id": 32001,
        "projector_hidden_act": "gelu",
        "text_config": {
            "_name_or_path": "lmsys/vicuna-7b-v1.5",
            "architectures": ["LlamaForCausalLM"],
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "rms_norm_eps": 1e-05,
            "torch_dtype": "float16",
            "vocab_size": 32064,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "vision_config": {
            "hidden_size": 1024,
            "image_size": 336,
            "intermediate_size": 4096,
            "model_type": "clip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
            "projection_dim": 768,
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": 32064,
    }
    blueprint = llava.blueprint(config, tmp_path)
    assert blueprint.language == {
        "model_type": "llama",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
        "tie_word_embeddings": False,
    }
    assert blueprint.resolution == {"kind": "whole", "fit": "crop", "filter": "bicubic"}
    json.dumps(blueprint.model_dump(mode="json"))

    from vidapt.hub._open import parameters_on_meta
    from vidapt.models.video_lm import VideoLM

    with parameters_on_meta():
        model = VideoLM(blueprint)
    assert [grid.cells for grid, _ in model.plan((720, 1280), 1)[1]] == [576]
    assert sum(p.numel() for p in model.parameters()) == 7_063_427_072
