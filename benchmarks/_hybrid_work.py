"""Questions behind one copy of a clip or one each, for a language model whose layers mostly keep states."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vidapt.models.packed import Group, Packed, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Grid
from vidapt.recipe import Blueprint
from vidapt.training.freeze import adapter_weights

GRID = Grid(16, 6, 6)
QUESTIONS = (2, 8, 16)


@dataclass(frozen=True)
class HybridSizes:
    """A tiny Qwen3.5, and what it reads.

    Attributes:
        width: Of the language model.
        layers: Every fourth attends, the others are Gated DeltaNet.
        vocabulary: Its vocabulary.
        asked: Tokens of a question.
        answered: Tokens of its answer.
        rank: Of the adapters.
    """

    width: int = 256
    layers: int = 4
    vocabulary: int = 2048
    asked: int = 18
    answered: int = 12
    rank: int = 16


def hybrid(sizes: HybridSizes, rounds: int) -> dict[str, Any]:
    """CPU seconds per question by number of questions, and how far the gradients are apart."""
    model = _model(sizes)
    found: dict[str, Any] = {"sizes": asdict(sizes), "visual_tokens": GRID.cells, "questions": {}}
    for count in QUESTIONS:
        encoded = _questions(sizes, count)
        reading = ((GRID, 0),)
        arms = {
            "shared": pack([Group(encoded, (reading,))], model.positions),
            "separate": pack([Group((one,), (reading,)) for one in encoded], model.positions),
        }
        cost = dict.fromkeys(arms, float("inf"))
        for _ in range(rounds):  # arms take turns, so that both meet the same machine
            for name, packed in arms.items():
                begun = time.process_time()
                _gradients(model, packed, sizes)
                cost[name] = min(cost[name], (time.process_time() - begun) / count)
        shared, separate = (_gradients(model, packed, sizes) for packed in arms.values())
        found["questions"][str(count)] = {
            **{f"{name}_cpu_s": value for name, value in cost.items()},
            "speedup": cost["separate"] / cost["shared"],
            "rel_grad_diff": _apart(shared, separate, list(shared)),
            "rel_grad_diff_of_visual_tokens": _apart(shared, separate, ["visual"]),
            "max_rel_grad_diff": max(
                float((shared[k] - separate[k]).abs().max() / separate[k].abs().max()) for k in shared
            ),
        }
    return found


def _model(sizes: HybridSizes) -> VideoLM:
    torch.manual_seed(0)
    tower = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 12,
        "patch_size": 2,
        "projection_dim": 16,
    }
    language = {
        "model_type": "qwen3_5_text",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.width * 11 // 4,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.width // 64,
        "num_key_value_heads": sizes.width // 128,
        "head_dim": 64,
        "linear_num_key_heads": sizes.width // 64,
        "linear_num_value_heads": sizes.width // 32,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
    }
    blueprint = Blueprint.model_validate(
        {
            "towers": [{"kind": "frame_vit", "arch": tower}],
            "connector": {"kind": "pool_mlp"},
            "resolution": {"kind": "framed", "pool": "average", "order": "pool_first"},
            "language": language,
            "adapters": {"rank": sizes.rank, "alpha": 2 * sizes.rank},
        }
    )
    model = VideoLM(blueprint)
    model.language.requires_grad_(False)
    with torch.no_grad():
        for weight in adapter_weights(model.language):
            weight.requires_grad_()
            weight.copy_(torch.randn(weight.shape) * 0.02)
    return model.train()


def _questions(sizes: HybridSizes, count: int) -> tuple[Encoded, ...]:
    generator = torch.Generator().manual_seed(1)
    length = sizes.asked + sizes.answered
    labelled = (False,) * sizes.asked + (True,) * sizes.answered
    ids = torch.randint(3, sizes.vocabulary, (count, length), generator=generator).tolist()
    return tuple(Encoded(((1, 2), 0), tuple(one), labelled) for one in ids)


def _gradients(model: VideoLM, packed: Packed, sizes: HybridSizes) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    clip = torch.randn(GRID.cells, sizes.width, generator=torch.Generator().manual_seed(2)) * 0.1
    clip.requires_grad_()
    logits = model(packed, clip.repeat(len(packed.ids), 1))
    F.cross_entropy(logits, packed.labels).backward()
    assert clip.grad is not None
    weights = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"visual": clip.grad, **weights}


def _apart(left: dict[str, Tensor], right: dict[str, Tensor], names: list[str]) -> float:
    gap = sum(float((left[name] - right[name]).double().square().sum()) for name in names)
    return float((gap / sum(float(right[name].double().square().sum()) for name in names)) ** 0.5)
