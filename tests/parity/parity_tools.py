"""Tiny random checkpoints, their oracles, and our logits at every position after the last clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vidapt.models.packed import Group, Reading, pack, spell
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

SIDE, CELLS = 28, 4
IMAGE, VIDEO = 60, 61
TOLERANCE = 1e-4

CLOSE = 0.1
"""Of the logits' spread: how far they may be when Pillow resizes the frames. Its bicubic filter and torch's
differ by one level of 255 in up to 2 % of the pixels."""

BEFORE, BETWEEN, AFTER = [1, 5, 6], [7, 8], [9, 10, 11, 12, 13]
"""Token ids of the text in front of the first clip, between two, and behind the last."""

# Weights five times larger than transformers' default, so that a mistake moves the logits by more than noise.
_STD = 0.1


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=SIDE // CELLS,
        projection_dim=16,
        initializer_range=_STD,
    )


def text_config(**changes: Any) -> LlamaConfig:
    fields = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
        "max_position_embeddings": 512,
        "initializer_range": _STD,
    }
    return LlamaConfig(**{**fields, **changes})


def llava(**changes: Any) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    fields = {"vision_config": vision_config(), "text_config": text_config(), "image_token_index": IMAGE}
    return shake(LlavaForConditionalGeneration(LlavaConfig(**{**fields, **changes})))


def next_video(**text: Any) -> LlavaNextVideoForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaNextVideoConfig(
        vision_config=vision_config(),
        text_config=text_config(**text),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE], [3 * SIDE, SIDE]],
    )
    return shake(LlavaNextVideoForConditionalGeneration(config))


def shake(model: Any) -> Any:
    """Give biases and norms values other than 0 and 1, which would hide a swap of two of them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def save(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    add_processors(folder)
    return folder


def add_processors(folder: Path, **changes: Any) -> None:
    """Write an image processor and a tokenizer, which a checkpoint has beside its weights."""
    image_processor(**changes).save_pretrained(folder)
    words = {f"w{index}": index for index in range(64)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0").save_pretrained(folder)


def image_processor(**changes: Any) -> CLIPImageProcessorPil:
    fields = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return CLIPImageProcessorPil(**{**fields, **changes})


def film(frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    """[T, H, W, 3] uint8: a patch of noise moving over a gradient."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.linspace(0, 200, width).expand(height, width)
    column = torch.linspace(0, 200, height)[:, None].expand(height, width)
    still = torch.stack([row, column, (row + column) / 2], dim=-1).to(torch.uint8)
    clip = still.repeat(frames, 1, 1, 1)
    patch = torch.randint(0, 256, (height // 2, width // 3, 3), dtype=torch.uint8, generator=generator)
    for index in range(frames):
        left = index * (width - width // 3) // max(1, frames - 1)
        clip[index, : height // 2, left : left + width // 3] = patch
    return clip


def their_pixels(clip: Tensor, processor: Any = None) -> Tensor:
    """[T, 3, side, side] as transformers' processor prepares frames [T, H, W, 3]."""
    processor = processor or image_processor()
    frames = [frame.numpy() for frame in clip]
    pixels = processor(frames, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    assert isinstance(pixels, Tensor)
    return pixels


def cut(model: VideoLM, clip: Tensor) -> Tensor:
    """The view our resolution cuts, as frames [T, side, side, 3] that need no further resizing."""
    (view,) = model.cut(clip).tensors
    return view[0].permute(0, 2, 3, 1).contiguous()


def visual_tokens(
    model: VideoLM, clips: Sequence[Tensor], tokenizer: Any = None
) -> tuple[list[Reading], Tensor | None]:
    """What is read of clips and their tokens, through the same plan, cut and look as everywhere."""
    together = len(clips)
    layouts = [model.plan((c.shape[1], c.shape[2]), len(c), together)[1] for c in clips]
    seen = [model.see_views(model.cut(clip, together)) for clip in clips]
    return [spell(layout, i, tokenizer) for i, layout in enumerate(layouts)], model.visual(seen)


@torch.no_grad()
def our_logits(model: VideoLM, rows: Sequence[Sequence[Tensor]], tokenizer: Any = None) -> Tensor:
    """[rows, len(AFTER), vocabulary]: logits that predict `AFTER` behind each row's clips."""
    groups, pieces = [], []
    for clips in rows:
        readings, visual = visual_tokens(model, clips, tokenizer)
        prefix: list[Any] = [tuple(BEFORE)]
        for index in range(len(clips)):
            prefix += [index] if index == 0 else [tuple(BETWEEN), index]
        encoded = Encoded(tuple(prefix), tuple(AFTER), (True,) * len(AFTER))
        groups.append(Group((encoded,), tuple(readings)))
        pieces.append(visual)
    logits = model(pack(groups, model.positions), torch.cat([p for p in pieces if p is not None]))
    return logits.reshape(len(rows), len(AFTER), -1)


def their_ids(counts: Sequence[int], slot: int) -> Tensor:
    """[1, L]: the same sequence as `our_logits` builds, with `slot` for every visual token."""
    ids = list(BEFORE)
    for index, count in enumerate(counts):
        ids += ([] if index == 0 else BETWEEN) + [slot] * count
    return torch.tensor([ids + AFTER])


def at_after(logits: Tensor) -> Tensor:
    """The logits that predict `AFTER`, of those of a whole sequence [1, L, vocabulary]."""
    return logits[:, -len(AFTER) - 1 : -1]
