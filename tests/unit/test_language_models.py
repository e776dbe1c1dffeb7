"""Which language models can be trained behind a shared prefix, and that the others are told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_tools import blueprint, recipe, stage, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.hub._open import parameters_on_meta
from vidapt.models import _language
from vidapt.models._language import language_model
from vidapt.models.attention import PrefixLayout
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.training.run import train

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOWED = {"sliding_window": 6}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DELTA = {
    "head_dim": 16,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
USABLE: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, dynamic": {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "llama, a field of others": WINDOWED,
    "mistral": {},
    "mistral, window": WINDOWED,
    "mixtral": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2, window": {"use_sliding_window": True, "max_window_layers": 1, **WINDOWED},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen2_vl_text": {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
    "qwen2_5_vl_text": {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
    "qwen3": {"head_dim": 8},
    "qwen3_vl_text": {"head_dim": 8},
    "qwen3_vl_moe_text": {"head_dim": 8, **EXPERTS},
    "qwen3_5_text": DELTA,
    "qwen3_5_text, two layers": {**DELTA, "num_hidden_layers": 2},
    "qwen3_5_moe_text": {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 16},
    "gemma": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8},
    "phi3, long": {
        "original_max_position_embeddings": 16,
        "max_position_embeddings": 64,
        "rope_scaling": LONG,
    },
    "gpt2": {},
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 48},
    "olmo2": {},
    "cohere2": {},
    "glm4": {"head_dim": 8},
    "starcoder2": {},
    "bert": {"is_decoder": True},
}
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nemotron": ({}, "0 of its 2 layers are told who sees whom"),
    "bert": ({}, "sees later tokens"),
    "roberta": ({}, "sees later tokens"),
    "doge": ({}, "a mask of its own"),
    "gemma2": ({"head_dim": 8}, "uses softcap"),
    "gpt_oss": ({"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}, "uses s_aux"),
    "gptj": ({"rotary_dim": 4}, "does not let its attention be replaced"),
    "falcon": ({}, "does not let its attention be replaced"),
    "bloom": ({}, "does not let its attention be replaced"),
    "phimoe": (WINDOWED, "not told of its sliding_window of 6 tokens"),
    "qwen2_moe": ({"use_sliding_window": True, **WINDOWED}, "not told of its sliding_window of 6 tokens"),
    "qwen3_next": ({**DELTA, **EXPERTS}, "layer 0 is of kind 'linear_attention'; layers of this make keep"),
    "mamba": ({}, "layer 0 is of kind 'linear_attention'"),
    "minimax": ({"head_dim": 8, "num_local_experts": 4}, "layer 1 is of kind 'linear_attention'"),
    "lfm2": ({"layer_types": ["full_attention", "conv"]}, "layer 1 is of kind 'conv'; layers keep a state"),
    "xmod": ({}, "a trial run failed: ValueError"),
    "dbrx": ({}, "cannot build"),
}


def spec(name: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": name.partition(",")[0], **SIZES, **more}


def states(model: Any, embedded: Tensor, positions: Tensor, layout: PrefixLayout) -> Tensor:
    length = embedded.shape[1]
    found = model.base_model(
        inputs_embeds=embedded.clone(),
        position_ids=positions,
        attention_mask=torch.ones(length, length, dtype=torch.bool).tril()[None, None],
        use_cache=False,
        layout=layout,
    ).last_hidden_state
    assert isinstance(found, Tensor)
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", USABLE)
def test_a_usable_model_reads_two_questions_as_it_reads_the_second_alone(name: str) -> None:
    torch.manual_seed(0)
    model = language_model(spec(name, USABLE[name])).eval()
    # Windows of 6 tokens are refused where a sequence is longer.
    p, s = (2, 2) if "window" in name else (6, 4)
    embedded = model.get_input_embeddings()(torch.arange(3, 3 + p + 2 * s)[None])
    prefix = torch.ones(1, p, dtype=torch.bool)
    places = torch.arange(p + s)[None]
    owner = torch.tensor([[0] * s + [1] * s])
    both = states(model, embedded, torch.cat([places, places[:, p:]], dim=1), PrefixLayout(prefix, owner))[
        :, p + s :
    ]
    second = torch.cat([embedded[:, :p], embedded[:, p + s :]], dim=1)
    model.set_attn_implementation("eager")
    alone = model.base_model(
        inputs_embeds=second,
        position_ids=places,
        attention_mask=torch.ones(1, p + s, dtype=torch.long),
        use_cache=False,
    ).last_hidden_state[:, p:]
    assert (both - alone).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_model_is_told_when_it_is_made(name: str) -> None:
    more, reason = UNUSABLE[name]
    with pytest.raises(ConfigError, match=reason) as told:
        language_model(spec(name, more))
    assert f"model_type '{name}'" in told.value.found
    assert told.value.remedy


def test_the_check_takes_no_random_numbers_and_leaves_the_model_as_it_was() -> None:
    model = language_model(spec("opt", {"word_embed_proj_dim": 32, "ffn_dim": 48, "layerdrop": 0.5}))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    drawn = torch.get_rng_state()
    assert _language.problem(model) is None
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["nemotron", "llama"])
def test_a_model_without_memory_for_its_weights_is_checked_as_well(name: str) -> None:
    with parameters_on_meta():
        if name == "nemotron":
            with pytest.raises(ConfigError, match="who sees whom"):
                language_model(spec(name, {}))
        else:
            assert language_model(spec(name, {})).device.type == "meta"


def test_training_refuses_before_it_looks_at_a_clip(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1)
    told: list[Any] = []
    asked = recipe(
        stage(labels, steps=1), blueprint=blueprint(language={"model_type": "gemma2", "head_dim": 8})
    )
    with pytest.raises(ConfigError, match="softcap"):
        train(asked, tmp_path / "run", lambda *event: told.append(event), workers=0)
    assert told == []
    assert not list((tmp_path / "run").rglob("*.safetensors"))


@contextmanager
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(_language, "problem", lambda model: None)
        yield


@torch.no_grad()
def test_a_layer_that_misses_the_layout_sees_no_later_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with unchecked(monkeypatch):
        model = video_lm(language={"model_type": "nemotron", "head_dim": 4})
    written = []
    for last in (8, 9):
        encoded = Encoded(((3,),), (5, 6, 7, last), (False, True, True, True))
        written.append(model(pack([Group((encoded,), ())], model.positions), None))
    assert torch.equal(*written)
