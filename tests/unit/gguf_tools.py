"""A tiny Llama as one GGUF file, as llama.cpp's converter writes one; needs `gguf`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter, TokenType
from torch import Tensor
from training_tools import tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 256,
}

# Pairs of names: llama.cpp's, transformers'.
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def model() -> LlamaForCausalLM:
    torch.manual_seed(8)
    return LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.2)).eval()


def write(folder: Path, template: str) -> Path:
    """Write the file into a folder of its own; returns the folder."""
    folder.mkdir(parents=True)
    writer = GGUFWriter(folder / "tiny-f32.gguf", "llama")
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_context_length(SIZES["max_position_embeddings"])
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_rope_dimension_count(SIZES["hidden_size"] // SIZES["num_attention_heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(SIZES["vocab_size"])
    _add_words(writer, template)
    for name, tensor in _tensors(model()).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _add_words(writer: GGUFWriter, template: str) -> None:
    spoken = tokenizer()
    words = spoken.convert_ids_to_tokens(range(len(spoken)))
    words += [f"<unused{index}>" for index in range(SIZES["vocab_size"] - len(words))]
    special = set(spoken.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word in words])
    merges = json.loads(spoken.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(spoken.bos_token_id)
    writer.add_eos_token_id(spoken.eos_token_id)
    writer.add_pad_token_id(spoken.pad_token_id)
    writer.add_unk_token_id(spoken.eos_token_id)  # as SmolLM2's is; else transformers would add one
    writer.add_chat_template(template)


def _tensors(llama: LlamaForCausalLM) -> dict[str, Tensor]:
    state = llama.state_dict()
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    heads = SIZES["num_attention_heads"]
    for layer in range(SIZES["num_hidden_layers"]):
        for theirs, ours in _NAMES.items():
            tensor = state[f"model.layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):  # llama.cpp rotates neighbours, transformers halves
                rows, columns = tensor.shape
                tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
                tensor = tensor.reshape(rows, columns)
            found[f"blk.{layer}.{theirs}.weight"] = tensor
    return found
