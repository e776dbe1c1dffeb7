"""CLIP-ViP's equations written plainly in float64, and a file in the authors' layout."""

from __future__ import annotations

import clip_tools as clip
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

WIDTH, TEXT, SHARED, SIDE, WORDS, FRAMES, ADDED = 128, 64, 24, 8, 40, 5, 3


TOLERANCE = 1e-4
ADDED_CLS, TEMPORAL = "vision_model.embeddings.added_cls", "vision_model.embeddings.temporal_embedding"


def image_clip() -> CLIPModel:
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 4,
    }
    text = {
        "hidden_size": TEXT,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "vocab_size": WORDS,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": WORDS - 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=SHARED))
    clip.shake(model, 0.1)
    return model


def authors(prefix: str = "clipmodel.") -> dict[str, Tensor]:
    """A CLIP-ViP as its authors store it, with the buffers of their version of transformers."""
    generator = torch.Generator().manual_seed(2)
    state = dict(image_clip().state_dict())
    state[ADDED_CLS] = torch.randn(ADDED, WIDTH, generator=generator)
    state[TEMPORAL] = torch.randn(1, FRAMES, WIDTH, generator=generator)
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def captions() -> Tensor:
    return torch.tensor([[1, 7, 9, WORDS - 1, 0, 0], [1, 3, 30, 12, 8, WORDS - 1]])


@torch.no_grad()
def equations(
    state: dict[str, Tensor], views: Tensor, ids: Tensor, heads: tuple[int, int] = (2, 1)
) -> Tensor:
    """Logits of CLIP-ViP in float64 from its authors' names."""
    weights = {key.removeprefix("clipmodel."): tensor.double() for key, tensor in state.items()}
    tower = {key.replace("vision_model.", "tower.net."): tensor for key, tensor in weights.items()}
    tower |= {"tower.added": weights[ADDED_CLS], "tower.temporal": weights[TEMPORAL]}
    videos = []
    for film in views:
        states = clip.clip_vip_states(film, tower, "tower", heads=heads[0])
        pooled = clip.norm(states[0], weights, "vision_model.post_layernorm")
        videos.append(weights["visual_projection.weight"] @ pooled)
    texts = []
    for text in ids:
        table = weights["text_model.embeddings.position_embedding.weight"]
        states = clip.text_states(text, table, weights, "text_model", heads=heads[1])
        texts.append(weights["text_projection.weight"] @ states[text.tolist().index(WORDS - 1)])
    a, b = (torch.stack([x / x.norm() for x in rows]) for rows in (videos, texts))
    return torch.exp(weights["logit_scale"]) * a @ b.T
