"""Folders of Qwen2.5-VL, Qwen3-VL and Qwen3.5: layouts and spellings, captions of a file, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from safetensors.torch import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint, qwen2_5_vl, qwen3_5, qwen3_vl
from vidapt.video import write_mp4

THREE = list(qwen.MAKERS)
NEW = ["qwen3_vl", "qwen3_5"]


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return {k: x for shard in folder.glob("*.safetensors") for k, x in load_file(shard).items()}


def put(folder: Path, state: dict[str, torch.Tensor]) -> None:
    for old in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        old.unlink()
    save_file(state, folder / "model.safetensors")


# --- layouts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", THREE)
def test_sharded_and_tied_folders_give_the_same_model(family: str, tmp_path: Path) -> None:
    oracle = qwen.oracle_of(family, tie_word_embeddings=True)
    whole = qwen.save(family, oracle, tmp_path / "whole")
    parts = qwen.save(family, oracle, tmp_path / "parts", max_shard_size="40KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    assert "lm_head.weight" not in state_of(whole)
    (one, _, first), (other, _, second) = open_checkpoint(whole), open_checkpoint(parts)
    assert one.language.get_output_embeddings().weight is one.language.get_input_embeddings().weight
    assert first.matched == second.matched
    assert first.fingerprint == second.fingerprint
    assert first.family == family
    rows = [[qwen.CLIP]]
    assert torch.equal(qwen.ours(one, rows), qwen.ours(other, rows))
    assert one.language.config.vocab_size == qwen.ROWS > len(qwen.tokenizer())


def test_both_layouts_of_qwen2_5_vl_give_the_same_model(tmp_path: Path) -> None:
    folder = qwen.save("qwen2_5_vl", qwen.oracle_of("qwen2_5_vl"), tmp_path / "hub")
    state = state_of(folder)
    assert "visual.patch_embed.proj.weight" in state
    memory = shutil.copytree(folder, tmp_path / "memory")
    put(memory, {qwen2_5_in_memory(key): x for key, x in state.items()})
    one, other = open_checkpoint(folder)[0], open_checkpoint(memory)[0]
    assert torch.equal(qwen.ours(one, [[qwen.CLIP]]), qwen.ours(other, [[qwen.CLIP]]))


def qwen2_5_in_memory(key: str) -> str:
    return f"model.{key}" if key.startswith("visual.") else key.replace("model.", "model.language_model.", 1)


@pytest.mark.parametrize("family", NEW)
def test_what_guesses_ahead_is_left_out_by_name_and_nothing_else_is(family: str, tmp_path: Path) -> None:
    folder = qwen.save(family, qwen.oracle_of(family), tmp_path / "model")
    state = state_of(folder)
    put(folder, {**state, "mtp.layers.0.norm.weight": torch.ones(4), "mtp.fc.weight": torch.ones(4, 8)})
    report = open_checkpoint(folder)[2]
    assert set(report.ignored) == {"mtp.layers.0.norm.weight", "mtp.fc.weight"}
    assert "several tokens at once" in report.ignored["mtp.fc.weight"]
    put(folder, {**state, "model.visual.more.weight": torch.ones(4)})
    with pytest.raises(CheckpointError, match=r"model\.visual\.more\.weight"):
        open_checkpoint(folder)
    put(folder, {key: x for key, x in state.items() if key != "model.visual.pos_embed.weight"})
    with pytest.raises(CheckpointError, match=r"towers\.0\.net\.pos_embed\.weight"):
        open_checkpoint(folder)


def test_a_merger_too_few_is_told(tmp_path: Path) -> None:
    folder = qwen.save("qwen3_vl", qwen.oracle_of("qwen3_vl"), tmp_path / "model")
    state = {k: x for k, x in state_of(folder).items() if "deepstack_merger_list.1" not in k}
    put(folder, state)
    with pytest.raises(CheckpointError, match=r"connector\.deep\.1\.mlp\.0\.bias"):
        open_checkpoint(folder)


# --- processors ------------------------------------------------------------------------------------------

SPELLINGS: dict[str, dict[str, dict[str, Any]]] = {
    "2024": {
        "preprocessor_config.json": {"min_pixels": 4096, "max_pixels": 65536},
        "video_preprocessor_config.json": {"min_pixels": 8192, "max_pixels": 131072},
    },
    "2025": {
        "preprocessor_config.json": {"size": {"shortest_edge": 4096, "longest_edge": 65536}},
        "video_preprocessor_config.json": {"size": {"shortest_edge": 8192, "longest_edge": 131072}},
    },
    "2026": {
        "processor_config.json": {
            "image_processor": {"size": {"shortest_edge": 4096, "longest_edge": 65536}},
            "video_processor": {"size": {"shortest_edge": 8192, "longest_edge": 131072}},
        }
    },
}


@pytest.mark.parametrize("year", SPELLINGS)
@pytest.mark.parametrize("family", NEW)
def test_limits_are_read_in_every_spelling(family: str, year: str, tmp_path: Path) -> None:
    for name, fields in SPELLINGS[year].items():
        (tmp_path / name).write_text(json.dumps(fields))
    module = {"qwen3_vl": qwen3_vl, "qwen3_5": qwen3_5}[family]
    blueprint = module.blueprint(qwen.oracle_of(family).config.to_dict(), tmp_path)
    found = blueprint.resolution, blueprint.scenes["video"]
    assert [(one["min_pixels"], one["max_pixels"]) for one in found] == [(4096, 65536), (8192, 131072)]
    assert [one.get("over", "frame") for one in found] == ["frame", "clip"]
    assert "frame_pixels" not in found[1]


def test_a_cap_on_frames_is_taken_from_the_processor(tmp_path: Path) -> None:
    path = tmp_path / "video_preprocessor_config.json"
    config = qwen.oracle_of("qwen3_vl").config.to_dict()
    for told, cap in (({}, 768), ({"max_video_tokens": 100}, 100)):
        path.write_text(json.dumps({"cap_pixels_per_frame": True, **told}))
        assert qwen3_vl.blueprint(config, tmp_path).scenes["video"]["frame_pixels"] == cap * 64


def test_frames_are_taken_as_the_processor_says(tmp_path: Path) -> None:
    path = tmp_path / "video_preprocessor_config.json"
    path.write_text(json.dumps({"fps": 1, "min_frames": 2, "max_frames": 32}))
    config = qwen.oracle_of("qwen3_vl").config.to_dict()
    policy = qwen3_vl.blueprint(config, tmp_path).frames
    assert policy.model_dump() == {
        "policy": "every",
        "rate": 1.0,
        "cap": 32,
        "least": 2,
        "at": "endpoints",
        "compat": "published_evenly",
    }


@pytest.mark.parametrize("family", THREE)
def test_a_still_is_prepared_as_by_the_originals_processor(family: str, tmp_path: Path) -> None:
    oracle = qwen.oracle_of(family)
    model = open_checkpoint(qwen.save(family, oracle, tmp_path / "model"))[0]
    conversation = qwen.Theirs(family, oracle, model, [qwen.OTHER], ())
    made = Qwen2VLImageProcessorPil.from_pretrained(tmp_path / "model")(
        qwen.OTHER[0].numpy(), return_tensors="pt", input_data_format="channels_last"
    )
    assert torch.equal(made["image_grid_thw"], conversation.given["image_grid_thw"])
    torch.testing.assert_close(made["pixel_values"], conversation.given["pixel_values"], atol=1e-5, rtol=0)


# --- a file ----------------------------------------------------------------------------------------------

ROUND = {
    "qwen2_5_vl": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>",
        "<|vision_end|>What happens?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3_vl": ("<|im_start|>user\n", "What happens?<|im_end|>\n<|im_start|>assistant\n"),
    "qwen3_5": (
        "<|im_start|>user\n",
        "What happens?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
}
TAKEN = (0, 2, 3, 5, 6, 8)
"""Frames of a film of nine at three a second, two for each second."""


def spoken(family: str, folder: Path, clip: torch.Tensor, oracle: Any) -> str:
    """What the original answers, by its own greedy `generate`."""
    before, after = (qwen.tokenizer()(text).input_ids for text in ROUND[family])
    model = open_checkpoint(folder)[0]
    numbers = TAKEN if len(clip) > 1 else None
    written = qwen.Theirs(family, oracle, model, [clip], after, before, numbers=numbers).write(24)
    if qwen.tokenizer().eos_token_id in written:
        written = written[: written.index(qwen.tokenizer().eos_token_id)]
    return str(qwen.tokenizer().decode(written, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("frames", [9, 1], ids=["film", "one frame"])
@pytest.mark.parametrize("family", THREE)
def test_captions_a_file_as_the_original_would(family: str, frames: int, tmp_path: Path) -> None:
    """A film of one frame is read as a still: it has no pair, and the original refuses it as a video."""
    oracle = qwen.oracle_of(family)
    folder = qwen.save(family, oracle, tmp_path / "model")
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "a.mp4", tools.film(frames, 48, 80).numpy(), int(qwen.FPS))
    out = tmp_path / "captions.jsonl"
    asked = ["--model", str(folder), "--out", str(out), "--prompt", "What happens?", "--max-tokens", "24"]
    result = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *asked, "--workers", "0"])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    clip = decoded(tmp_path / "clips" / "a.mp4", folder)
    assert len(clip) == (6 if frames == 9 else 1)
    expected = spoken(family, folder, clip, oracle)
    assert len(expected) > 3
    assert row["caption"] == expected


def decoded(path: Path, folder: Path) -> torch.Tensor:
    from vidapt.nouns import Clip
    from vidapt.video import decode

    policy = open_checkpoint(folder)[0].blueprint.frames
    return torch.from_numpy(decode(Clip("a", path), policy).pixels)


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "architecture", "near"),
    [
        ("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", "qwen3_5"),
        ("qwen3_5_moe", "Qwen3_5MoeForCausalLM", "qwen3_5"),
        ("qwen3_vl_text", "Qwen3VLTextModel", "qwen3_vl"),
        ("qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration", "qwen3_5"),
        ("qwen2_5_omni", "Qwen2_5OmniModel", "qwen2_5_vl"),
        ("smolvlm", "Idefics3ForConditionalGeneration", "smolvlm"),
    ],
)
def test_a_checkpoint_near_in_name_is_refused(
    kind: str, architecture: str, near: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [architecture]}))
    told = rf"'{kind}', architectures \['{architecture}'\](?s:.*)the nearest family is '{near}', which opens"
    with pytest.raises(CheckpointError, match=told):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["glm4v", "glm46v", "gemma4", "video_llama_3"])
def test_a_checkpoint_near_to_none_is_told_what_opens(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["Some"]}))
    with pytest.raises(CheckpointError, match=rf"'{kind}'(?s:.*)not known(?s:.*)known: (?s:.*)qwen3_vl, "):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "told"),
    [
        ("qwen3_vl", {"vision_config": {"model_type": "siglip_vision_model"}}, "siglip_vision_model"),
        ("qwen3_vl", {"text_config": {"model_type": "llama"}}, "model_type 'llama'"),
        ("qwen3_vl", {"text_config": None}, "no `text_config`"),
        (
            "qwen3_5",
            {"vision_config": {"deepstack_visual_indexes": [3]}},
            r"deepstack_visual_indexes is \[3\]",
        ),
        ("qwen2_5_vl", {"vision_config": {"model_type": "qwen2_vl"}}, "qwen2_vl"),
    ],
)
def test_another_model_inside_is_refused(
    family: str, changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    module = {"qwen2_5_vl": qwen2_5_vl, "qwen3_vl": qwen3_vl, "qwen3_5": qwen3_5}[family]
    config = {**qwen.oracle_of(family).config.to_dict(), **changes}
    with pytest.raises(CheckpointError, match=told):
        module.blueprint(config, tmp_path)


def _merge(file: Path, changes: dict[str, Any]) -> None:
    content = json.loads(file.read_text())
    for name, value in changes.items():
        content[name] = {**content[name], **value} if name.endswith("_config") else value
    file.write_text(json.dumps(content))


def _shares(*sections: int) -> dict[str, Any]:
    return {"text_config": {"rope_parameters": qwen.rope(*sections, mrope_interleaved=True)}}


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("video_preprocessor_config.json", {"size": 224}, "video_preprocessor_config.json: size is 224"),
        ("preprocessor_config.json", {"size": [1, 2]}, r"size is \[1, 2\]"),
        ("preprocessor_config.json", {"image_std": [0.5, 0, 0.5]}, "image_std is"),
        ("config.json", _shares(4, 2, 1), r"\[4, 2, 1\] does not share out 8 frequencies"),
        ("config.json", _shares(10, -1, -1), "does not share out 8"),
        ("config.json", _shares(4, 4), "does not share out 8"),
    ],
)
def test_odd_files_are_refused_in_words(
    name: str, changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = qwen.save("qwen3_vl", qwen.oracle_of("qwen3_vl"), tmp_path)
    open_checkpoint(folder)
    _merge(folder / name, changes)
    with pytest.raises(CheckpointError, match=told):
        open_checkpoint(folder)


def test_a_tokenizer_of_more_words_than_the_model_has_is_refused(tmp_path: Path) -> None:
    folder = qwen.save("qwen3_vl", qwen.oracle_of("qwen3_vl"), tmp_path)
    short = {k: x[:200].clone() if len(x) == qwen.ROWS else x for k, x in state_of(folder).items()}
    put(folder, short)
    _merge(folder / "config.json", {"text_config": {"vocab_size": 200}})
    with pytest.raises(CheckpointError, match="its tokenizer knows 256 words, its language model 200"):
        open_checkpoint(folder)
