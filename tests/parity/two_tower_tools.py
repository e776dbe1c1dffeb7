"""What the tests of families with two towers share: equations in float64, and sequences for the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import parity_tools as tools
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from vidapt.models.decoding import Answer, Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

GREEDY = Decoding(max_new_tokens=32)
QUESTION = [9, 10, 11]

Weights = Mapping[str, Tensor]


def text_config() -> LlamaConfig:
    """A language model that does not say one word again and again."""
    return tools.text_config(initializer_range=0.3)


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def norm(x: Tensor, weights: Weights, name: str, eps: float = 1e-5) -> Tensor:
    """Over the last axis."""
    spread = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / (spread + eps).sqrt() * weights[f"{name}.weight"] + weights[
        f"{name}.bias"
    ]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def mlp(x: Tensor, weights: Weights, name: str) -> Tensor:
    return linear(gelu(linear(x, weights, f"{name}.0")), weights, f"{name}.2")


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """[H, W, C] -> [height, width, C]: each new point between its four neighbours, not antialiased."""
    down, across = _between(x.shape[0], height), _between(x.shape[1], width)
    return torch.einsum("ai,ijc,bj->abc", down, x, across)


def _between(old: int, new: int) -> Tensor:
    weights = torch.zeros(new, old, dtype=torch.float64)
    for index in range(new):
        place = max(0.0, (index + 0.5) * old / new - 0.5)
        first = int(place)
        weights[index, first] += 1 - (place - first)
        weights[index, min(first + 1, old - 1)] += place - first
    return weights


def convnext(picture: Tensor, weights: Weights, name: str = "") -> Tensor:
    """[H, W, 3] normalised -> [H/4, W/4, channels of all stages], from weights by timm's names."""
    x = _conv(picture, weights, f"{name}vision_stem.0", stride=4)
    x = norm(x, weights, f"{name}vision_stem.1", eps=1e-6)
    maps: list[Tensor] = []
    stage = 0
    while f"{name}vision_stages.{stage}.blocks.0.gamma" in weights:
        place = f"{name}vision_stages.{stage}"
        if stage:
            x = norm(x, weights, f"{place}.downsample.0", eps=1e-6)
            x = _conv(x, weights, f"{place}.downsample.1", stride=2)
        block = 0
        while f"{place}.blocks.{block}.gamma" in weights:
            x = x + _block(x, weights, f"{place}.blocks.{block}")
            block += 1
        maps.append(x)
        stage += 1
    return torch.cat([bilinear(m, maps[0].shape[0], maps[0].shape[1]) for m in maps], dim=-1)


def _block(x: Tensor, weights: Weights, name: str) -> Tensor:
    y = _conv(x, weights, f"{name}.conv_dw", padding=3, groups=x.shape[-1])
    y = norm(y, weights, f"{name}.norm", eps=1e-6)
    y = linear(gelu(linear(y, weights, f"{name}.mlp.fc1")), weights, f"{name}.mlp.fc2")
    return weights[f"{name}.gamma"] * y


def _conv(x: Tensor, weights: Weights, name: str, **options: int) -> Tensor:
    image = x.permute(2, 0, 1)[None]
    out = torch.nn.functional.conv2d(image, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)
    return out[0].permute(1, 2, 0)


def timm_convnext(widths: Sequence[int], depths: Sequence[int], name: str = "") -> dict[str, Tensor]:
    """Random weights of a ConvNeXt by the names they have in the authors' files."""
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int, around: float = 0.0) -> Tensor:
        return around + torch.randn(*shape, generator=generator) * 0.2

    def pair(place: str, *shape: int, around: float = 0.0) -> dict[str, Tensor]:
        return {f"{name}{place}.weight": draw(*shape, around=around), f"{name}{place}.bias": draw(shape[0])}

    state = pair("vision_stem.0", widths[0], 3, 4, 4) | pair("vision_stem.1", widths[0], around=1.0)
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        place = f"vision_stages.{stage}"
        if stage:
            before = widths[stage - 1]
            state |= pair(f"{place}.downsample.0", before, around=1.0)
            state |= pair(f"{place}.downsample.1", width, before, 2, 2)
        for block in range(depth):
            inside = f"{place}.blocks.{block}"
            state |= pair(f"{inside}.conv_dw", width, 1, 7, 7) | pair(f"{inside}.norm", width, around=1.0)
            state |= pair(f"{inside}.mlp.fc1", 4 * width, width) | pair(f"{inside}.mlp.fc2", width, 4 * width)
            state[f"{name}{inside}.gamma"] = draw(width, around=0.5)
    return state


def doubled(state: Weights) -> dict[str, Tensor]:
    return {key: tensor.double() for key, tensor in state.items()}


@torch.no_grad()
def their_logits(language: LlamaForCausalLM, clips: Sequence[Tensor]) -> Tensor:
    """Logits that predict `AFTER`, from each clip's tokens [n, D] among the words as in `our_logits`."""
    words = language.get_input_embeddings()
    pieces = [words(torch.tensor(tools.BEFORE))]
    for index, tokens in enumerate(clips):
        pieces += ([words(torch.tensor(tools.BETWEEN))] if index else []) + [tokens]
    pieces.append(words(torch.tensor(tools.AFTER)))
    return tools.at_after(language(inputs_embeds=torch.cat(pieces)[None]).logits)


@torch.no_grad()
def their_answer(language: LlamaForCausalLM, tokens: Tensor) -> tuple[int, ...]:
    """32 tokens that transformers generates greedily behind one clip's tokens and a question."""
    words = language.get_input_embeddings()
    pieces = [words(torch.tensor(tools.BEFORE)), tokens, words(torch.tensor(QUESTION))]
    embedded = torch.cat(pieces)[None]
    ids: Any = language.generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long),
        max_new_tokens=GREEDY.max_new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return tuple(ids[0].tolist())


def our_answers(model: VideoLM, clips: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """The same of several clips in one batch."""
    encoded = Encoded((tuple(tools.BEFORE), 0), tuple(QUESTION), (False,) * len(QUESTION))
    groups, visual = [], []
    for clip in clips:
        readings, tokens = tools.visual_tokens(model, [clip])
        groups.append(Group((encoded,), tuple(readings)))
        visual.append(tokens)
    answers: list[list[Answer]] = generate(model, groups, visual, (), GREEDY)
    return [answer.ids for (answer,) in answers]


def compare(
    model: VideoLM,
    language: LlamaForCausalLM,
    rows: Sequence[Sequence[Tensor]],
    tokens: Callable[..., Tensor],
) -> float:
    """Largest difference of the logits of rows of clips; `tokens` makes one clip's, in float64."""
    ours = tools.our_logits(model, rows).double()
    theirs = torch.cat([their_logits(language, [tokens(clip, len(row)) for clip in row]) for row in rows])
    return float((ours - theirs).abs().max())
