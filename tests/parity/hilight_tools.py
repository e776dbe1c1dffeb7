"""HiLight's equations written plainly in float64, and a folder in the authors' layout."""

from __future__ import annotations

import json
from pathlib import Path

import clip_tools as clip
import openai_tools as openai
import parity_tools as tools
import torch
import two_tower_tools as two
from safetensors.torch import save_file
from torch import Tensor
from transformers import GemmaConfig, GemmaForCausalLM

WIDTH, SHARED, WORDS, ROWS, FRAMES, ADDED = 128, openai.SHARED, 32, 3, 5, 3
"""Widths of CLIP-ViP, Long-CLIP and Gemma, tokens for each feature, rows of the temporal table, proxies."""


MAIN, AUX = "clipvip_base.pt", "longclip-B.pt"


CONFIG = {
    "model_type": "hilight_gemma",
    "architectures": ["HiLightGemmaForCausalLM"],
    "mm_vision_tower": f"model_zoo/CLIP-ViP/{MAIN}",
    "mm_vision_tower_aux": f"model_zoo/Long-CLIP/{AUX}",
    "hidden_act": "gelu",
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
    "transformers_version": "4.38.2",
    "use_cache": True,
    "tokenizer_model_max_length": 512,
}


MINING = "model.token_mining."


LAYERS = {
    "released": ("query", "key", "val", "LongCLIP", "CLIP_VIP", "out.1", "out.3"),
    "v2": ("query", "key", "val", "out.1", "out.3"),
    "v1": ("query", "key", "val", "out.1"),
}


def gemma(hidden_act: str = "gelu_python") -> GemmaForCausalLM:
    """`gelu` is the exact one in the version HiLight was trained under; 5.x calls that `gelu_python`."""
    torch.manual_seed(0)
    fields = tools.text_config(initializer_range=0.3).to_dict()
    kept = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "max_position_embeddings",
        "initializer_range",
    )
    config = GemmaConfig(**{key: fields[key] for key in kept}, head_dim=8, hidden_act=hidden_act)
    return GemmaForCausalLM(config).eval()


class Original:
    """Weights by the authors' names, and the equations."""

    def __init__(self, variant: str = "released") -> None:
        self.variant = variant
        self.language = tools.shake(gemma())
        self.main = clip_vip_state()
        self.aux = openai.state(248, long=True)
        self.mining = mining_state(variant)
        self.language64 = gemma().double()
        self.language64.load_state_dict(self.language.state_dict())
        weights = {key.removeprefix("clipmodel."): tensor for key, tensor in two.doubled(self.main).items()}
        self.tower = {key.replace("vision_model.", "tower.net."): tensor for key, tensor in weights.items()}
        self.tower["tower.added"] = weights["vision_model.embeddings.added_cls"]
        self.tower["tower.temporal"] = weights["vision_model.embeddings.temporal_embedding"]
        self.frames = openai.as_transformers(self.aux)
        self.exact = {key.removeprefix(MINING): tensor for key, tensor in two.doubled(self.mining).items()}

    def write(self, folder: Path) -> Path:
        language = {key: t for key, t in self.language.state_dict().items() if key != "lm_head.weight"}
        state = {**language, **self.mining}
        save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, folder / WEIGHTS)
        config = self.language.config.to_dict()
        sizes = {key: value for key, value in config.items() if isinstance(value, int | float | bool)}
        (folder / "config.json").write_text(json.dumps({**sizes, **CONFIG}))
        torch.save(self.main, folder / MAIN)
        torch.save(self.aux, folder / AUX)
        tools.add_processors(folder)
        return folder

    @torch.no_grad()
    def tokens(self, view: Tensor, variant: str = "", *, scaled: bool = True, proxies: bool = True) -> Tensor:
        """[n, D] of one clip, from its view [T, 3, h, w] uint8."""
        variant = variant or self.variant
        sources = clip.clip_vip_states(view, self.tower, "tower", heads=2)
        sources = sources if proxies else sources[1 + ADDED :]
        features = torch.stack([self.feature(frame) for frame in view])
        if variant in ("released", "transposed"):
            sources = two.linear(sources, self.exact, "CLIP_VIP_projector.0").clamp_min(0)
            features = torch.cat([self.rows(feature, variant) for feature in features])
        q, k, v = (
            two.linear(two.norm(x, self.exact, f"{name}_projector.0"), self.exact, f"{name}_projector.1")
            for x, name in ((features, "query"), (sources, "key"), (sources, "val"))
        )
        mined = torch.softmax(q @ k.T / SHARED**0.5, dim=1) @ v
        out = "tokenizer_projector"
        tokens = two.linear(two.norm(mined, self.exact, f"{out}.0"), self.exact, f"{out}.1")
        if variant != "v1":
            tokens = two.linear(tokens.clamp_min(0), self.exact, f"{out}.3").clamp_min(0)
        return tokens * (WORDS**0.5 if scaled else 1.0)

    def feature(self, frame: Tensor) -> Tensor:
        """Long-CLIP's projected class token of one frame, not of unit length."""
        states = clip.image_states(frame, self.frames, "vision", heads=2)
        return clip.norm(states[0], self.frames, "vision.post_layernorm") @ self.frames["visual.proj"]

    def rows(self, feature: Tensor, variant: str) -> Tensor:
        weight, bias = (self.exact[f"LongCLIP_projector.0.{kind}"] for kind in ("weight", "bias"))
        wide = (feature[:, None] * weight[:, 0] + bias).clamp_min(0)  # [A, E]
        if variant == "transposed":
            return torch.stack([wide[:, j] for j in range(ROWS)])
        flat = wide.flatten()
        return torch.stack([flat[j * SHARED : (j + 1) * SHARED] for j in range(ROWS)])


WEIGHTS = "model.safetensors"


def clip_vip_state() -> dict[str, Tensor]:
    from dual_tools import authors

    return authors()


def mining_state(variant: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(6)

    def pair(name: str, rows: int, columns: int | None = None) -> dict[str, Tensor]:
        shape = (rows,) if columns is None else (rows, columns)
        weight = torch.randn(*shape, generator=generator) * (0.3 if columns is None else columns**-0.5)
        bias = torch.randn(rows, generator=generator) * 0.2
        around = 2.0 if columns is None else 0.0
        return {f"{MINING}{name}.weight": weight + around, f"{MINING}{name}.bias": bias}

    state: dict[str, Tensor] = {}
    for layer in LAYERS[variant]:
        if layer == "LongCLIP":
            state |= pair("LongCLIP_projector.0", ROWS, 1)
        elif layer == "CLIP_VIP":
            state |= pair("CLIP_VIP_projector.0", WIDTH, WIDTH)
        elif layer == "out.1":
            state |= pair("tokenizer_projector.0", SHARED) | pair("tokenizer_projector.1", WORDS, SHARED)
        elif layer == "out.3":
            state |= pair("tokenizer_projector.3", WORDS, WORDS)
        else:
            width = SHARED if layer == "query" else WIDTH
            state |= pair(f"{layer}_projector.0", width) | pair(f"{layer}_projector.1", SHARED, width)
    return state


STILL, VIDEO = tools.film(1, 61, 47), tools.film(6, 90, 160)


def authors(*said: str) -> str:
    """The same by the authors' `preprocess_multimodal` and their template."""
    text = "<bos>"
    for index, words in enumerate(said):
        if "<video>" in words:
            words = ("<video>\n" + words.replace("<video>", "").strip()).strip()
        role, after = (("user", ""), ("model", "<eos>"))[index % 2]
        text += f"<start_of_turn>{role}\n{words}<end_of_turn>\n{after}"
    return text
