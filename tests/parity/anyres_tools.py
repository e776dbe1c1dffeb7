"""Tiny random checkpoints of the AnyRes families, and what transformers' classes make of the same clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parity_tools as tools
import torch
from torch import Tensor
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, reading_length
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

SIDE, CELLS = tools.SIDE, tools.CELLS
SQUARE = {"height": SIDE, "width": SIDE}
HALF = [0.5, 0.5, 0.5]
NEXT = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE], [3 * SIDE, SIDE], [SIDE, 3 * SIDE]]
UP_TO_6 = [[rows * SIDE, columns * SIDE] for rows in range(1, 7) for columns in range(1, 7)]

WIDE, TALL, SMALL, STRIP = (
    tools.film(1, 90, 160),
    tools.film(1, 71, 45, seed=1),
    tools.film(1, 28, 28, seed=2),
    tools.film(1, 30, 150, seed=3),
)
VIDEO, OTHER = tools.film(5, 90, 160, seed=4), tools.film(5, 40, 33, seed=5)

Given = dict[str, Tensor]


_STD = 0.4
"""Of the language models' weights: large enough that they do not write one word again and again."""


def siglip_config(patch: int = 4) -> SiglipVisionConfig:
    """7 x 7 cells: an odd number, as the published 27 x 27."""
    return SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=patch,
        vision_use_head=False,
        initializer_range=0.1,
    )


def qwen_config() -> Qwen2Config:
    return Qwen2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=2048,
        initializer_range=_STD,
        bos_token_id=None,
        eos_token_id=None,
    )


def next_model(**changes: Any) -> LlavaNextForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaNextConfig(
        vision_config=tools.vision_config(),
        text_config=tools.text_config(**{"initializer_range": _STD, **changes}),
        image_token_index=tools.IMAGE,
        image_grid_pinpoints=NEXT,
    )
    return tools.shake(LlavaNextForConditionalGeneration(config))


def next_video_model() -> LlavaNextVideoForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaNextVideoConfig(
        vision_config=tools.vision_config(),
        text_config=tools.text_config(initializer_range=_STD),
        image_token_index=tools.IMAGE,
        video_token_index=tools.VIDEO,
        image_grid_pinpoints=NEXT,
    )
    return tools.shake(LlavaNextVideoForConditionalGeneration(config))


def onevision_model(limit: int = 1) -> LlavaOnevisionForConditionalGeneration:
    """With a limit of few tiles, so that small pictures are shrunk."""
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config=siglip_config(),
        text_config=qwen_config(),
        image_token_index=tools.IMAGE,
        video_token_index=tools.VIDEO,
        image_grid_pinpoints=UP_TO_6,
        vision_aspect_ratio=f"anyres_max_{limit}",
    )
    return tools.shake(LlavaOnevisionForConditionalGeneration(config))


def interleave_model() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=siglip_config(),
        text_config=qwen_config(),
        image_token_index=tools.IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return tools.shake(LlavaForConditionalGeneration(config))


def next_processor() -> Any:
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size=SQUARE, image_grid_pinpoints=NEXT
    )


def onevision_processor() -> Any:
    return LlavaOnevisionImageProcessorPil(
        size=SQUARE, image_mean=HALF, image_std=HALF, image_grid_pinpoints=UP_TO_6
    )


def siglip_processor() -> Any:
    return SiglipImageProcessorPil(size=SQUARE)


def save(oracle: Any, processor: Any, folder: Path) -> Path:
    tools.save(oracle, folder)
    processor.save_pretrained(folder)
    return folder


def pictures(clips: Sequence[Tensor]) -> list[Any]:
    return [frame.numpy() for clip in clips for frame in clip]


def videos(model: VideoLM, clips: Sequence[Tensor]) -> Tensor:
    """[clips, T, 3, side, side] in the tower's numbers: their video processors cannot be built here."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.tower.mean, model.tower.std))
    views = [model.cut(clip, len(clips)).tensors[0][0] for clip in clips]
    return (torch.stack(views).float() / 255 - mean) / std


def next_given(model: VideoLM, clips: Sequence[Tensor]) -> Given:
    given: Given = {}
    if stills := [clip for clip in clips if len(clip) == 1]:
        given |= next_processor()(pictures(stills), return_tensors="pt", input_data_format="channels_last")
    if films := [clip for clip in clips if len(clip) > 1]:
        given["pixel_values_videos"] = videos(model, films)
    return given


def onevision_given(model: VideoLM, clips: Sequence[Tensor]) -> Given:
    given: Given = {}
    if stills := pictures([clip for clip in clips if len(clip) == 1]):
        given |= onevision_processor()([stills], return_tensors="pt", input_data_format="channels_last")
    if films := [clip for clip in clips if len(clip) > 1]:
        given["pixel_values_videos"] = videos(model, films)
    return given


def interleave_given(model: VideoLM, clips: Sequence[Tensor]) -> Given:
    del model
    return dict(siglip_processor()(pictures(clips), return_tensors="pt", input_data_format="channels_last"))


Prepare = Callable[[VideoLM, Sequence[Tensor]], Given]


class Theirs:
    """One conversation as transformers' class reads it; it refuses a wrong number of slots by itself."""

    def __init__(
        self, oracle: Any, model: VideoLM, clips: Sequence[Tensor], prepare: Prepare, words: Sequence[int]
    ) -> None:
        self.oracle, self.given = oracle, prepare(model, clips)
        ids = list(tools.BEFORE)
        readings, _ = tools.visual_tokens(model, clips)
        for index, (clip, reading) in enumerate(zip(clips, readings, strict=True)):
            film = len(clip) > 1 and "pixel_values_videos" in self.given
            slot = tools.VIDEO if film else tools.IMAGE
            ids += (tools.BETWEEN if index else []) + [slot] * reading_length(reading)
        self.ids = torch.tensor([ids + list(words)])

    @torch.no_grad()
    def logits(self) -> Tensor:
        return tools.at_after(self.oracle(input_ids=self.ids, **self.given).logits)

    @torch.no_grad()
    def write(self, count: int) -> list[int]:
        """Greedily."""
        written = self.oracle.generate(
            input_ids=self.ids,
            attention_mask=torch.ones_like(self.ids),
            **self.given,
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            pad_token_id=0,
        )
        return written[0, self.ids.shape[1] :].tolist()


def difference(oracle: Any, model: VideoLM, clips: Sequence[Tensor], prepare: Prepare) -> float:
    """Largest difference between our logits and theirs behind the clips."""
    expected = Theirs(oracle, model, clips, prepare, tools.AFTER).logits()
    return float((tools.our_logits(model, [clips]) - expected).abs().max())


def our_words(model: VideoLM, rows: Sequence[tuple[Sequence[Tensor], Sequence[int]]]) -> list[list[int]]:
    """32 greedy words for each conversation, all in one batch."""
    groups, visual = [], []
    for clips, words in rows:
        readings, tokens = tools.visual_tokens(model, clips)
        prefix: list[Any] = [tuple(tools.BEFORE), 0]
        for index in range(1, len(clips)):
            prefix += [tuple(tools.BETWEEN), index]
        groups.append(Group((Encoded(tuple(prefix), tuple(words), (False,) * len(words)),), tuple(readings)))
        visual.append(tokens)
    return [
        list(answer.ids) for (answer,) in generate(model, groups, visual, (), Decoding(max_new_tokens=32))
    ]
