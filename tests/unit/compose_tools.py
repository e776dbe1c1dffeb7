"""Tiny random sources in the layouts that parts are published in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import openai_tools as openai
import parity_tools as parity
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from training_tools import tokenizer
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from two_tower_tools import timm_convnext

SIDE, PATCH, WIDTH, WORDS = 16, 4, 16, 24
"""Pixels of a tower's side and patch, its width, and the language model's."""

ROWS = 320
"""Of the language model's embedding: more than the tokenizer has entries, as published ones have."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_LAYERS = {"intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
_VISION = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH, **_LAYERS}
STD = [0.2, 0.25, 0.3]
"""Of processors, so that a tower's own default is not taken for what its folder says."""


def clip(folder: Path, **vision: Any) -> Path:
    """Both of CLIP's towers in one folder, as OpenAI's are on the hub, with `position_ids` as of old."""
    torch.manual_seed(1)
    text = {"hidden_size": 12, "vocab_size": 30, **_LAYERS}
    config = CLIPConfig(text_config=text, vision_config={**_VISION, **vision}, projection_dim=8)
    parity.shake(CLIPModel(config)).save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    sides = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    CLIPImageProcessorPil(**sides, image_std=STD).save_pretrained(folder)
    return folder


def clip_pickled(folder: Path) -> Path:
    """The same as `pytorch_model.bin` alone, as openai/clip-vit-large-patch14-336 has it."""
    clip(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def clip_tower(folder: Path) -> Path:
    """CLIP's vision tower alone, by the names of transformers before 5."""
    torch.manual_seed(1)
    model = parity.shake(CLIPVisionModel(CLIPConfig(vision_config=_VISION).vision_config))
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    old = {f"vision_model.{key.removeprefix('vision_model.')}": tensor for key, tensor in state.items()}
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    return folder


def siglip(folder: Path) -> Path:
    """SigLIP, and SigLIP 2 of a fixed resolution, with a processor that squashes."""
    torch.manual_seed(2)
    text = {"hidden_size": 12, "vocab_size": 30, **_LAYERS}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=_VISION))
    parity.shake(model).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def dinov2(folder: Path, *, registers: bool = False, **changes: Any) -> Path:
    """DINOv2, whose processor prepares other sizes than its position table has."""
    torch.manual_seed(3)
    sizes = {key: value for key, value in _VISION.items() if key != "intermediate_size"} | changes
    if registers:
        model: Any = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes))
    else:
        model = Dinov2Model(Dinov2Config(**sizes))
    parity.shake(model).save_pretrained(folder)
    sides = {
        "size": {"shortest_edge": 2 * SIDE},
        "crop_size": {"height": SIDE - PATCH, "width": SIDE - PATCH},
    }
    BitImageProcessorPil(**sides, image_std=STD).save_pretrained(folder)
    return folder


def convnext(folder: Path) -> Path:
    """A ConvNeXt that names classes, as Facebook's are on the hub."""
    torch.manual_seed(4)
    config = ConvNextConfig(hidden_sizes=[2, 4, 4, 6], depths=[1, 1, 2, 1], image_size=64)
    parity.shake(ConvNextForImageClassification(config)).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 64}, image_std=STD).save_pretrained(folder)
    return folder


def llama(folder: Path, *, template: str | None = CHATML, speaks: bool = True, **changes: Any) -> Path:
    """A language model in bfloat16 and several shards, its tokenizer, and its chat template."""
    torch.manual_seed(5)
    sizes = {"hidden_size": WORDS, "vocab_size": ROWS, "num_key_value_heads": 2, "initializer_range": 0.2}
    model = LlamaForCausalLM(LlamaConfig(**{**_LAYERS, **sizes, **changes})).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="20KB")
    if speaks:
        spoken = tokenizer()
        spoken.chat_template = template
        spoken.save_pretrained(folder)
    return folder


def gemma(folder: Path) -> Path:
    """A language model whose output embedding is its input embedding."""
    torch.manual_seed(6)
    sizes = {"hidden_size": WORDS, "vocab_size": ROWS, "num_key_value_heads": 1, "head_dim": 8}
    GemmaForCausalLM(GemmaConfig(**_LAYERS, **sizes)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    """A language model whose positions are learned, and for which no way of writing is known."""
    torch.manual_seed(7)
    config = GPT2Config(n_embd=WORDS, n_layer=2, n_head=2, vocab_size=ROWS, n_positions=256)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return words(folder)


def words(folder: Path) -> Path:
    """A tokenizer alone, or beside what is in the folder."""
    tokenizer().save_pretrained(folder)
    return folder


def clip_vip(file: Path) -> Path:
    """CLIP-ViP as its authors store it."""
    from dual_tools import authors

    torch.save(authors(), file)
    return file


def long_clip(file: Path) -> Path:
    """Long-CLIP as its authors store it, with a vocabulary that a learned tokenizer fits into."""
    state = openai.state(248, long=True)
    state["token_embedding.weight"] = torch.randn(
        300, openai.TEXT, generator=torch.Generator().manual_seed(7)
    )
    torch.save(state, file)
    return file


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT in the hub's layout."""
    anyres.save(anyres.next_model(vocab_size=ROWS), anyres.next_processor(), folder)
    tokenizer().save_pretrained(folder)
    return folder


def mini_gemini(folder: Path) -> Path:
    """Mini-Gemini by its authors' names."""
    from test_mini_gemini import Original, write

    folder.mkdir()
    return write(Original(), folder, "plain")


def open_clip(folder: Path) -> Path:
    """A ConvNeXt beside its text tower, as OpenCLIP publishes them: pickled, by timm's names."""
    folder.mkdir(parents=True)
    trunk = timm_convnext((2, 4, 4, 6), (1, 1, 2, 1), "")
    state = {f"visual.trunk.{key.removeprefix('vision_')}": tensor for key, tensor in trunk.items()}
    others = ("visual.head.mlp.fc1.weight", "visual.trunk.head.norm.weight", "text_projection", "logit_scale")
    others += ("token_embedding.weight", "transformer.resblocks.0.ln_1.weight", "positional_embedding")
    state |= {name: torch.ones(2) for name in others}
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    config = {
        "model_cfg": {"embed_dim": 8, "vision_cfg": {"timm_model_name": "convnext_large", "image_size": 64}},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": STD},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def timm(folder: Path) -> Path:
    """The same by itself, as timm publishes it."""
    folder.mkdir(parents=True)
    trunk = timm_convnext((2, 4, 4, 6), (1, 1, 2, 1), "")
    state = {key.removeprefix("vision_"): tensor for key, tensor in trunk.items()}
    save_file({**state, "head.fc.bias": torch.ones(3)}, folder / "model.safetensors")
    config = {
        "architecture": "convnext_large_mlp",
        "pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": STD},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


MAKERS: Mapping[str, Callable[[Path], Path]] = {
    "clip": clip,
    "clip_pickled": clip_pickled,
    "clip_tower": clip_tower,
    "siglip": siglip,
    "dinov2": dinov2,
    "convnext": convnext,
    "open_clip": open_clip,
    "timm": timm,
    "llama": llama,
    "gemma": gemma,
    "llava_next": llava_next,
    "clip_vip.pt": clip_vip,
    "long_clip.pt": long_clip,
}


def make(folder: Path, *names: str) -> list[str]:
    """Sources by name, made once each."""
    places = [folder / name for name in names]
    return [str(place if place.exists() else MAKERS[place.name](place)) for place in places]


def stored(place: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors."""
    return {k: t for file in sorted(place.glob("*.safetensors")) for k, t in load_file(file).items()}


def report(run: Path) -> dict[str, Any]:
    """A run's load report."""
    told: dict[str, Any] = json.loads((run / "load_report.json").read_text(encoding="utf-8"))
    return told


def blueprint(run: Path) -> dict[str, Any]:
    """What a run's last stage saved."""
    file = sorted(run.glob("*-*/model/blueprint.json"))[-1]
    saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return saved
