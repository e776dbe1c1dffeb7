"""Small random CLIP models in OpenAI's layout, which Long-CLIP keeps."""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH, TEXT, SHARED, SIDE, PATCH, WORDS = 128, 64, 24, 8, 4, 40
"""Two heads of 64 in the vision tower, one in the text tower."""


def state(positions: int = 77, *, long: bool = False, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, by: float = 0.2, around: float = 0.0) -> Tensor:
        return around + torch.randn(*shape, generator=generator) * by

    found: dict[str, Tensor] = {
        "visual.conv1.weight": draw(WIDTH, 3, PATCH, PATCH),
        "visual.class_embedding": draw(WIDTH),
        "visual.positional_embedding": draw((SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": draw(WIDTH, SHARED),
        "token_embedding.weight": draw(WORDS, TEXT),
        "positional_embedding": draw(positions, TEXT),
        "text_projection": draw(TEXT, SHARED),
        "logit_scale": torch.tensor(3.0),
    }
    if long:
        found["positional_embedding_res"] = draw(positions, TEXT)
    for name, width in (("visual.ln_pre", WIDTH), ("visual.ln_post", WIDTH), ("ln_final", TEXT)):
        found |= {f"{name}.weight": draw(width, around=1.0), f"{name}.bias": draw(width)}
    for place, width in (("visual.", WIDTH), ("", TEXT)):
        for index in range(2):
            name = f"{place}transformer.resblocks.{index}"
            for part, rows, columns in (
                ("attn.in_proj_", 3 * width, width),
                ("attn.out_proj.", width, width),
                ("mlp.c_fc.", 4 * width, width),
                ("mlp.c_proj.", width, 4 * width),
            ):
                found[f"{name}.{part}weight"] = draw(rows, columns, by=columns**-0.5)
                found[f"{name}.{part}bias"] = draw(rows)
            for part in ("ln_1", "ln_2"):
                found |= {
                    f"{name}.{part}.weight": draw(width, around=1.0),
                    f"{name}.{part}.bias": draw(width),
                }
    return found


def as_transformers(openai: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in float64 under the names that `clip_tools` reads: `vision.…`, `text.…`."""
    pairs = {
        "visual.conv1.weight": "vision.embeddings.patch_embedding.weight",
        "visual.class_embedding": "vision.embeddings.class_embedding",
        "visual.positional_embedding": "vision.embeddings.position_embedding.weight",
        "visual.ln_pre": "vision.pre_layrnorm",
        "visual.ln_post": "vision.post_layernorm",
        "token_embedding.weight": "text.embeddings.token_embedding.weight",
        "ln_final": "text.final_layer_norm",
        "visual.transformer.resblocks": "vision.encoder.layers",
        "transformer.resblocks": "text.encoder.layers",
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    named: dict[str, Tensor] = {}
    for key, tensor in openai.items():
        new = key
        for old, ours in pairs.items():
            if new.startswith(old) or (
                old in new and not old.startswith(("visual", "transformer", "ln_f", "tok"))
            ):
                new = new.replace(old, ours, 1)
        if "in_proj_" in new:
            stem, kind = new.split("attn.in_proj_")
            for letter, piece in zip("qkv", tensor.split(len(tensor) // 3), strict=True):
                named[f"{stem}self_attn.{letter}_proj.{kind}"] = piece.double()
        else:
            named[new] = tensor.double()
    return named
