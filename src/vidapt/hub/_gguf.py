"""A model as llama.cpp reads it: one GGUF file of the language model, and one of what sees.

Source: the names and layouts that llama.cpp's converter writes, by the tables of its own package `gguf`.
Language models of Llama, Qwen2 and Qwen3 are written; what sees (`mmproj`), of LLaVA-1.5 alone, since
llama.cpp reads every other family by code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import write_folder, write_json
from vidapt.hub._export import READING, published_as, reading_of, refuse_existing
from vidapt.hub._gguf_words import add_words
from vidapt.models.adapters import merged_model
from vidapt.models.folder import untied
from vidapt.models.video_lm import VideoLM

Quant = Literal["q8_0"]
LANGUAGE, VISION = "model", "mmproj"
_ARCHS = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Model types of transformers, and llama.cpp's architectures."""
_NAMES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_BLOCK = 32
"""Numbers that share a scale in q8_0."""


def export_gguf(
    folder: Path, model: VideoLM, tokenizer: Any, dtype: torch.dtype, quant: Quant | None = None
) -> list[str]:
    """Write a model's language model, and what sees if llama.cpp takes that from here.

    Args:
        folder: Must not exist.
        model: Opened from a published checkpoint, or adapted from one; adapters are merged.
        tokenizer: Written into the file.
        dtype: Number format of matrices; all other weights are written in float32.
        quant: Round matrices to this instead.

    Returns:
        What whoever serves it has to know.

    Raises:
        CheckpointError: If the folder exists, or llama.cpp has no such language model or tokenizer.
        ConfigError: If `gguf` is not installed.
    """
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--to gguf", "GGUF files are written by `gguf`", "pip install 'vidapt[gguf]'"
        ) from error
    refuse_existing(folder)
    family, _ = published_as(model)
    arch = _arch(model)
    whole = merged_model(model, tokenizer)
    name = quant or _NAMES[dtype]
    with write_folder(folder) as temporary:
        _write_language(temporary / f"{LANGUAGE}-{name}.gguf", whole, tokenizer, arch, dtype, quant)
        sees = _sees(whole)
        if sees is None:
            _write_vision(temporary / f"{VISION}-{_NAMES[dtype]}.gguf", whole, dtype)
        write_json(temporary / READING, reading_of(model, family))
    return [] if sees is None else [sees]


def _arch(model: VideoLM) -> str:
    config = model.language.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    arch = _ARCHS.get(config.model_type)
    if arch is None or kind != "default" or model.depths:
        found = config.model_type if arch is None else f"{config.model_type} with rotary positions {kind!r}"
        raise CheckpointError(
            "export",
            f"the language model is {found}, which is not written as GGUF here",
            "write it with `--to hf`, and convert that with llama.cpp's own convert_hf_to_gguf.py",
        )
    return arch


def _write_language(
    file: Path, model: VideoLM, tokenizer: Any, arch: str, dtype: torch.dtype, quant: Quant | None
) -> None:
    from gguf import MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map

    config = model.language.config.get_text_config()
    writer = GGUFWriter(file, arch)
    _describe(writer, config)
    add_words(writer, tokenizer, model.language.get_input_embeddings().num_embeddings)
    archs = {name: one for one, name in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(archs[arch], config.num_hidden_layers)
    state = untied(model.language)
    for name, tensor in state.items():
        if arch == "llama" and name.endswith(
            ("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")
        ):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            tensor = _neighbours(tensor, heads)
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise CheckpointError("export", f"llama.cpp has no tensor for {name}", "write it with `--to hf`")
        _add(writer, found, tensor, dtype, quant)
    _close(writer)


def _describe(writer: Any, config: Any) -> None:
    """The sizes of a language model."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _neighbours(tensor: Tensor, heads: int) -> Tensor:
    """llama.cpp rotates neighbouring numbers of a head, where transformers rotates its halves."""
    rows = tensor.shape[0]
    return (
        tensor.reshape(heads, 2, rows // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
    )


def _add(writer: Any, name: str, tensor: Tensor, dtype: torch.dtype, quant: Quant | None = None) -> None:
    """Write a tensor: a matrix in few bits or in `dtype`, everything else in float32."""
    from gguf import GGMLQuantizationType, quants

    wide = tensor.detach().float().cpu().numpy()
    if tensor.ndim < 2 or name.endswith(("norm.weight", ".bias")):
        writer.add_tensor(name, wide)
        return
    if quant is not None and tensor.shape[-1] % _BLOCK == 0:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quants.quantize(wide, kind), raw_dtype=kind)
    elif dtype == torch.bfloat16:
        kind = GGMLQuantizationType.BF16
        writer.add_tensor(name, quants.quantize(wide, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, wide.astype(np.float16) if dtype == torch.float16 else wide)


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _sees(model: VideoLM) -> str | None:
    """Why what sees is not written; None if it is."""
    tower, connector = model.blueprint.towers[0], model.blueprint.connector
    clip = tower.get("kind") == "frame_vit" and tower["arch"]["model_type"] == "clip_vision_model"
    plain = connector.get("kind") == "pool_mlp" and len(model.connector.mlp) == 3
    still = not model.blueprint.scenes and model.blueprint.resolution.get("kind") in ("whole", "pad")
    if clip and plain and still and connector.get("pool", "none") == "none" and len(model.towers) == 1:
        return None
    return (
        "what sees is written for LLaVA-1.5 alone: write the model with `--to hf` as well, and let "
        "llama.cpp's own convert_hf_to_gguf.py --mmproj make that part of it, if it knows the family"
    )


def _write_vision(file: Path, model: VideoLM, dtype: torch.dtype) -> None:
    """CLIP up to the layer that is read, and the projector, as LLaVA-1.5's."""
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map

    net, tower, arch = model.tower.net, model.tower, model.blueprint.towers[0]["arch"]
    writer = GGUFWriter(file, "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    config = net.config
    writer.add_vision_image_size(config.image_size)
    writer.add_vision_patch_size(config.patch_size)
    writer.add_vision_embedding_length(config.hidden_size)
    writer.add_vision_feed_forward_length(config.intermediate_size)
    writer.add_vision_projection_dim(int(arch.get("projection_dim", config.projection_dim)))
    writer.add_vision_head_count(config.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(config.layer_norm_eps)
    writer.add_vision_block_count(tower.depth)
    writer.add_vision_image_mean([float(x) for x in tower.cfg.mean])
    writer.add_vision_image_std([float(x) for x in tower.cfg.std])
    writer.add_vision_use_gelu(config.hidden_act == "gelu")
    names = get_tensor_name_map(MODEL_ARCH.MMPROJ, tower.depth)
    for name, tensor in _read_tensors(net, tower.depth).items():
        found = names.get_name(f"vision_tower.vision_model.{name}", try_suffixes=(".weight", ".bias"))
        if found is None:
            raise CheckpointError("export", f"llama.cpp has no tensor for {name}", "write it with `--to hf`")
        exact = torch.float32 if "position" in name or "class" in name else dtype
        _add(writer, found, tensor, exact)
    for index in (0, 2):
        for kind, tensor in model.connector.mlp[index].named_parameters():
            _add(writer, f"mm.{index}.{kind}", tensor, dtype)
    _close(writer)


def _read_tensors(net: Any, depth: int) -> Mapping[str, Tensor]:
    """The tensors of a tower's layers that are read, without what lies behind them."""
    unread = tuple(f"encoder.layers.{index}." for index in range(depth, len(net.encoder.layers)))
    return {
        name: tensor
        for name, tensor in net.state_dict().items()
        if not name.startswith((*unread, "post_layernorm.")) and not name.endswith("position_ids")
    }
