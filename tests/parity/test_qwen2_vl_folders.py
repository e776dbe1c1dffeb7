"""Qwen2-VL's folders: every layout, the released configuration, and the way back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import parity_tools as tools
import pytest
import torch
from qwen2_vl_tools import (
    MEAN,
    STD,
    VIDEO,
    Theirs,
    expected,
    oracle_of,
    save,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint, qwen2_vl
from vidapt.hub._open import parameters_on_meta
from vidapt.inference.load import load
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip
from vidapt.recipe import Blueprint
from vidapt.video import decode, write_mp4


@pytest.fixture(scope="module")
def oracle() -> Qwen2VLForConditionalGeneration:
    return oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Qwen2VLForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(oracle, tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte, and one for each of the special marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def test_captions_a_clip_as_the_original_would(tmp_path: Path) -> None:
    tokenizer = bytes_tokenizer()
    pads = dict(zip(("image_token_id", "video_token_id"), (260, 261), strict=True))
    oracle = oracle_of(vocabulary=len(tokenizer), **pads)
    folder = save(oracle, tmp_path / "model")
    tokenizer.save_pretrained(folder)
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    engine = load(folder)
    frames = decode(Clip("a", tmp_path / "clips" / "a.mp4"), engine.model.blueprint.frames)
    assert len(frames) == 6  # two for each of three seconds
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    after = "<|vision_end|>What happens?<|im_end|>\n<|im_start|>assistant\n"
    theirs = Theirs(
        oracle,
        engine.model,
        [torch.from_numpy(frames.pixels)],
        tokenizer(after).input_ids,
        tokenizer(before).input_ids,
    )
    written = theirs.write(24)
    if tokenizer.eos_token_id in written:
        written = written[: written.index(tokenizer.eos_token_id)]
    expected = tokenizer.decode(written, skip_special_tokens=True).strip()
    assert len(expected) > 3
    out = tmp_path / "captions.jsonl"
    asked = ["--model", str(folder), "--out", str(out), "--prompt", "What happens?", "--max-tokens", "24"]
    result = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *asked, "--workers", "0"])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"] == expected


def in_memory(key: str) -> str:
    if key.startswith("visual."):
        return f"model.{key}"
    return key.replace("model.", "model.language_model.", 1)


@pytest.mark.parametrize("tied", [False, True])
def test_every_layout_gives_the_same_model(tmp_path: Path, tied: bool) -> None:
    folder = save(oracle_of(tie_word_embeddings=tied), tmp_path / "hub")
    state = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in state) != tied
    first, _, report = open_checkpoint(folder)
    embedding = first.language.get_input_embeddings().weight
    assert (first.language.get_output_embeddings().weight is embedding) == tied
    other = shutil.copytree(folder, tmp_path / "memory")
    (other / "model.safetensors").unlink()
    save_file({in_memory(key): x for key, x in state.items()}, other / "model.safetensors")
    second, _, again = open_checkpoint(other)
    assert again.matched == report.matched
    assert again.fingerprint == report.fingerprint
    assert torch.equal(tools.our_logits(first, [[VIDEO]]), tools.our_logits(second, [[VIDEO]]))


def test_a_trained_model_goes_back_to_transformers(model: VideoLM, folder: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        model.connector.mlp[0].bias += 0.5
        model.tower.net.blocks[0].mlp.fc1.bias += 0.5
    save_file(qwen2_vl.to_hub(model.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    back, info = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs = expected(back.eval(), model, [[VIDEO]])
    torch.testing.assert_close(tools.our_logits(model, [[VIDEO]]), theirs, atol=tools.TOLERANCE, rtol=0)


RELEASED = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_vl",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}
"""The configuration of the 2B model as released in 2024: the text model flat, no types, no processors."""


def test_the_released_configuration_is_understood(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"min_pixels": 3136, "max_pixels": 12845056, "image_mean": MEAN, "image_std": STD})
    )
    blueprint = qwen2_vl.blueprint(RELEASED, tmp_path)
    assert Blueprint.model_validate_json(blueprint.model_dump_json())
    with parameters_on_meta():
        model = VideoLM(blueprint)
    assert model.language.config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert model.language.config.rope_parameters["rope_theta"] == 1e6
    assert sum(p.numel() for p in model.parameters()) == 2_208_985_600
    assert model.plan((1080, 1920), 1)[1][0][0].cells == 39 * 69
    grid, _ = model.plan((1080, 1920), 61)[1][0]
    assert (grid.t, grid.h * grid.w <= 768) == (31, True)


def test_another_vision_model_is_refused(tmp_path: Path) -> None:
    wrong = {**RELEASED, "vision_config": {"model_type": "siglip_vision_model"}}
    with pytest.raises(CheckpointError, match="siglip_vision_model"):
        qwen2_vl.blueprint(wrong, tmp_path)
