"""Chat templates of Qwen3-VL and Qwen3.5 as prompts, with the rules of thoughts, and the released sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import qwen_tools as qwen
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from vidapt.hub import open_checkpoint, qwen2_5_vl, qwen3_5, qwen3_vl
from vidapt.hub._open import parameters_on_meta
from vidapt.models.text import encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.recipe import Blueprint, Prompt

RENDER = """\
{%- macro render(content) %}{%- if content is string %}{{- content }}{%- else %}{%- for part in content %}
{%- if 'image' in part or part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'video' in part or part.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}{%- endmacro %}
"""

PLAIN = (
    RENDER
    + """\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{{- render(message.content) + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
)
"""Writes what the released template of Qwen3-VL's instruct models writes."""

THINKING = (
    RENDER
    + """\
{%- set last = namespace(query=-1) %}
{%- for message in messages[::-1] %}{%- set at = messages|length - 1 - loop.index0 %}
{%- if last.query < 0 and message.role == 'user' %}{%- set last.query = at %}{%- endif %}{%- endfor %}
{%- for message in messages %}{%- set content = render(message.content)|trim %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > last.query %}
{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{{- content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}
{%- else %}{{- '<think>\\n' }}{%- endif %}{%- endif %}
"""
)
"""As those of Qwen3.5: thoughts of answers that were asked about further are left out."""

KEEPING = THINKING.replace("and loop.index0 > last.query ", "")
"""As that of Qwen3.8: they stay."""

ALWAYS = THINKING.replace("enable_thinking is defined and enable_thinking is false", "false")
"""As that of Qwen3-VL's thinking models, which knows no switch."""


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("family", "template", "prompt"),
    [
        ("qwen3_vl", PLAIN, qwen3_vl._qwen.PROMPT_3),
        ("qwen3_vl", ALWAYS, qwen3_5.PROMPT),
        ("qwen3_5", THINKING, qwen3_5.PROMPT),
        ("qwen3_5", KEEPING, qwen3_5.PROMPT),
    ],
    ids=["plain", "always thinking", "thinking", "keeping"],
)
def test_a_released_template_is_read(
    family: str, template: str, prompt: Any, place: str, tmp_path: Path
) -> None:
    folder = qwen.save(family, qwen.oracle_of(family), tmp_path / "model")
    if place.endswith("jinja"):
        (folder / place).write_text(template)
    else:
        told = json.loads((folder / place).read_text())
        (folder / place).write_text(json.dumps({**told, "chat_template": template}))
    model, _, report = open_checkpoint(folder)
    assert report.prompt == f"the chat template in {place}"
    assert read(model.blueprint.prompt) == read(prompt)


def read(prompt: Prompt) -> tuple[str | None, ...]:
    """What it writes; of a template, where a question's turn ends is not told from where an answer begins."""
    return prompt.start, prompt.system, prompt.user + prompt.opening, prompt.end, prompt.media


def rendered(template: str, messages: list[dict[str, Any]]) -> str:
    tokenizer = qwen.tokenizer()
    return str(
        tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
    )


@pytest.mark.parametrize(("module", "template"), [(qwen3_vl, PLAIN), (qwen3_5, THINKING), (qwen3_5, KEEPING)])
def test_a_question_about_a_clip_reads_as_by_the_template(module: Any, template: str) -> None:
    turns = (Turn("user", f"{MEDIA}What is it?"), Turn("assistant", "A ball."))
    sample = Sample("", (Clip("c", Path("c")),), turns)
    prompt = module.habit({}).own["chatml"]
    encoded = encode(sample, prompt, qwen.tokenizer())
    before = qwen.tokenizer().decode(encoded.prefix[0])
    behind = qwen.tokenizer().decode(encoded.ids)
    parts = [{"type": "video"}, {"type": "text", "text": "What is it?"}]
    asked = rendered(template, [{"role": "user", "content": parts}])
    clip = "<|vision_start|><|video_pad|><|vision_end|>"
    assert before + clip + behind == f"{asked}A ball.<|im_end|>\n"


@pytest.mark.parametrize("module", [qwen3_vl, qwen3_5])
def test_an_empty_thought_carries_no_loss(module: Any) -> None:
    sample = Sample("", (), (Turn("user", "What?"), Turn("assistant", "A ball.")))
    encoded = encode(sample, module.habit({}).own["chatml"], qwen.tokenizer())
    pairs = zip(encoded.ids, encoded.answer, strict=True)
    assert qwen.tokenizer().decode([token for token, learned in pairs if learned]) == "A ball.<|im_end|>\n"


# --- released sizes --------------------------------------------------------------------------------------

FOUR_B = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "text_config": {
        "attention_bias": False,
        "dtype": "bfloat16",
        "head_dim": 128,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}
"""Qwen3-VL-4B as released."""

HYBRID = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "text_config": {
        "model_type": "qwen3_5_text",
        "hidden_size": 2560,
        "intermediate_size": 9216,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "linear_num_value_heads": 32,
        "vocab_size": 248320,
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [11, 11, 10],
            "partial_rotary_factor": 0.25,
            "rope_theta": 10000000,
            "rope_type": "default",
        },
    },
    "tie_word_embeddings": True,
    "vision_config": {
        "deepstack_visual_indexes": [],
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "model_type": "qwen3_5",
        "num_heads": 16,
        "out_hidden_size": 2560,
    },
}
"""Qwen3.5 of about four billion parameters."""

WINDOWED = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "max_position_embeddings": 128000,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
    "vision_config": {
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
        "temporal_patch_size": 2,
    },
}
"""Qwen2.5-VL-3B as released: the text model flat."""


@pytest.mark.parametrize(
    ("module", "config"),
    [(qwen3_vl, FOUR_B), (qwen3_5, HYBRID), (qwen2_5_vl, WINDOWED)],
    ids=["qwen3_vl", "qwen3_5", "qwen2_5_vl"],
)
def test_released_sizes_make_the_models_of_transformers(
    module: Any, config: dict[str, Any], tmp_path: Path
) -> None:
    blueprint = module.blueprint(config, tmp_path)
    assert Blueprint.model_validate_json(blueprint.model_dump_json()) == blueprint
    with parameters_on_meta():
        model = VideoLM(blueprint)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        theirs = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(tmp_path))
    ours = {name: p.shape for name, p in model.named_parameters()}
    assert sum(map(torch.Size.numel, ours.values())) == sum(p.numel() for p in theirs.parameters())
    assert 3e9 < sum(p.numel() for p in model.parameters()) < 5e9
    kinds = [type(layer).__name__ for layer in model.language.base_model.layers]
    assert kinds == [type(layer).__name__ for layer in theirs.model.language_model.layers]
    assert model.language.config.rope_parameters == theirs.config.text_config.rope_parameters


def test_qwen3_vl_4b_looks_as_released(tmp_path: Path) -> None:
    (tmp_path / "video_preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"longest_edge": 25165824, "shortest_edge": 4096}, "fps": 2, "temporal_patch_size": 2}
        )
    )
    blueprint = qwen3_vl.blueprint(FOUR_B, tmp_path)
    (tower,) = blueprint.towers
    assert tower["levels"] == [5, 11, 17]
    assert blueprint.connector["depths"] == [0, 1, 2]
    with parameters_on_meta():
        model = VideoLM(blueprint)
    assert model.tower.mean == model.tower.std == (0.5, 0.5, 0.5)
    _, layout = model.plan((1080, 1920), 180)
    grids = [piece[0] for piece in layout if isinstance(piece, tuple)]
    assert len(grids) == 90
    assert grids[0].cells * 90 * 2 * 1024 <= 25165824
