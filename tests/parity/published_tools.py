"""Folders in the layouts that authors publish, with tiny random weights and real tokenizers."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import parity_tools as tools
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor
from transformers import PreTrainedTokenizerFast

VOCABULARY = 400

WORDS = (
    *("USER", "ASSISTANT", "hi", "what", "is", "the", "red", "ball", "doing", "in", "a", "pocket"),
    *("then", "it", "rolls", "红球", "进", "了", "袋", "hello", "world"),
)


def pieces() -> bytes:
    """A small SentencePiece model like Llama's: byte-pair encoding with bytes to fall back on."""
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(2000)]
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=made,
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        bos_id=1,
        eos_id=2,
        unk_id=0,
        pad_id=-1,
        minloglevel=2,
    )
    return made.getvalue()


def add_pieces(folder: Path, model: bytes, **settings: Any) -> None:
    """Write `tokenizer.model` and what stands beside it in the authors' folders."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    as_written = {"__type": "AddedToken", "lstrip": False, "normalized": False, "rstrip": False}
    described = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        **{name: {**as_written, "content": mark, "single_word": False} for name, mark in marks.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**described, **settings}))
    (folder / "special_tokens_map.json").write_text(json.dumps({**marks, "pad_token": "<unk>"}))


def llama_tokenizer(
    model: bytes, scratch: Path, *, first_only: bool, marks: Sequence[str] = ("<image>",)
) -> Any:
    """A fast tokenizer as conversions hold it in `tokenizer.json`.

    Args:
        model: See `pieces`.
        scratch: An empty folder.
        first_only: A space is written in front of the line alone (`legacy: false`), not behind every mark.
        marks: Further marks.
    """
    from vidapt.hub._tokenizer import read_tokenizer

    add_pieces(scratch, model)
    backend = read_tokenizer(scratch).backend_tokenizer
    if first_only:
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    return tokenizer


def byte_tokenizer(bos: str | None, eos: str, marks: Sequence[str]) -> Any:
    """A byte-level tokenizer like Llama 3's and Qwen's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        [" ".join(WORDS)] * 3,
        trainers.BpeTrainer(
            vocab_size=360,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.add_special_tokens([AddedToken(mark, special=True) for mark in dict.fromkeys([*marks, eos])])
    if bos is not None:
        made.add_special_tokens([AddedToken(bos, special=True)])
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=bos, eos_token=eos, pad_token=eos)


AUTHORS: Mapping[str, Any] = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "freeze_mm_mlp_adapter": False,
    "hidden_act": "silu",
    "hidden_size": 32,
    "image_aspect_ratio": "pad",
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "max_length": 4096,
    "max_position_embeddings": 4096,
    "mm_hidden_size": 64,
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None,
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "/mnt/somebody/checkpoints/clip-vit-tiny-patch7-28",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0",
    "tune_mm_mlp_adapter": False,
    "use_cache": True,
    "use_mm_proj": True,
    "vocab_size": VOCABULARY,
}
"""`config.json` as LLaVA's authors write it, with tiny sizes."""

ANYRES: Mapping[str, Any] = {
    "image_aspect_ratio": "anyres",
    "image_crop_resolution": 224,
    "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]],
    "image_split_resolution": 224,
    "mm_patch_merge_type": "spatial_unpad",
    "mm_vision_tower_lr": 2e-06,
    "unfreeze_mm_vision_tower": True,
}


def tower_sizes() -> dict[str, Any]:
    """A CLIP whose head has 64 numbers, as every published one has."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "image_size": tools.SIDE,
        "patch_size": tools.SIDE // tools.CELLS,
        "projection_dim": 16,
    }


def authors_state(config: Mapping[str, Any], tower: Mapping[str, Any], *, newline: bool) -> dict[str, Tensor]:
    """Random weights by the names of the authors' classes."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    torch.manual_seed(0)
    kinds = {"LlavaLlamaForCausalLM": "llama", "LlavaMistralForCausalLM": "mistral"}
    kind = kinds.get(config["architectures"][0], "qwen2")
    names = (
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "vocab_size",
    )
    sizes = {name: config[name] for name in names}
    language = tools.shake(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)))
    vision = tools.shake(AutoModel.from_config(AutoConfig.for_model(**tower)))
    seen, read = tower["hidden_size"], config["hidden_size"]
    state = dict(language.state_dict())
    prefix = "model.vision_tower.vision_tower.vision_model."
    state |= {prefix + key: tensor for key, tensor in vision.state_dict().items()}
    for index, width in (("0", seen), ("2", read)):
        state[f"model.mm_projector.{index}.weight"] = torch.randn(read, width) * 0.1
        state[f"model.mm_projector.{index}.bias"] = torch.randn(read) * 0.1
    if newline:
        state["model.image_newline"] = torch.randn(read)
    return {key: tensor.clone().contiguous() for key, tensor in state.items()}


def write_shards(folder: Path, state: Mapping[str, Tensor], count: int = 2) -> None:
    """`pytorch_model-0000x-of-0000y.bin` and their index, as `save_pretrained` wrote them in 2023."""
    keys = sorted(state)
    size = -(-len(keys) // count)
    names = [f"pytorch_model-{index + 1:05d}-of-{count:05d}.bin" for index in range(count)]
    index: dict[str, str] = {}
    for number, name in enumerate(names):
        part = keys[number * size : (number + 1) * size]
        torch.save({key: state[key] for key in part}, folder / name)
        index |= dict.fromkeys(part, name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(text)


def authors_folder(
    folder: Path,
    model: bytes,
    changes: Mapping[str, Any] | None = None,
    *,
    tower: Mapping[str, Any] | None = None,
    pickled: bool = True,
    newline: bool = False,
) -> dict[str, Tensor]:
    """Write a folder as LLaVA's authors publish them; returns its weights."""
    config = {**AUTHORS, **(changes or {})}
    state = authors_state(config, tower or tower_sizes(), newline=newline)
    add_pieces(folder, model)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(
        json.dumps(
            {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "transformers_version": "4.31.0"}
        )
    )
    if pickled:
        write_shards(folder, state)
    else:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return state
