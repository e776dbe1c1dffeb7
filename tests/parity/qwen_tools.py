"""Qwen2.5-VL, Qwen3-VL and Qwen3.5 as transformers has them, tiny and random, and what they make of clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import parity_tools as tools
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from vidapt.models.packed import Group, Reading, pack, spell
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Moments

P, FPS = 4, 3.0
LIMITS = {"shortest_edge": 4 * 64, "longest_edge": 24 * 64}
VIDEO_LIMITS = {"shortest_edge": 8 * 64, "longest_edge": 60 * 64}

START, END, IMAGE, VIDEO = range(258, 262)
ROWS = 272
"""Of the vocabulary; ten more than the tokenizer has."""

STILL, OTHER, TALL = tools.film(1, 30, 50), tools.film(1, 70, 20, seed=1), tools.film(1, 90, 9, seed=4)
CLIP, LONG = tools.film(5, 40, 24, seed=2), tools.film(14, 21, 30, seed=3)

CONVERSATIONS = {
    "image": [STILL],
    "several images": [STILL, OTHER, TALL],
    "video": [CLIP],
    "long video": [LONG],
    "image and videos": [LONG, STILL, CLIP],
}

_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": ROWS,
    "initializer_range": 0.3,
    "max_position_embeddings": 2048,
    "bos_token_id": None,
    "eos_token_id": 257,
}
_VISION = {
    "depth": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 32,
    "num_heads": 2,
    "patch_size": P,
    "initializer_range": 0.1,
}
_SPECIAL = {"image_token_id": IMAGE, "video_token_id": VIDEO}
_SPECIAL |= {"vision_start_token_id": START, "vision_end_token_id": END}


def rope(*sections: int, **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 100.0, "mrope_section": list(sections), **more}


def _interleaved(*sections: int, **more: Any) -> dict[str, Any]:
    return {**_TEXT, "head_dim": 16, "rope_parameters": rope(*sections, mrope_interleaved=True, **more)}


def _qwen2_5_vl(**changes: Any) -> Any:
    text = {**_TEXT, "rope_parameters": rope(1, 1, 2)}
    vision = {**_VISION, "window_size": 16, "fullatt_block_indexes": [1], "tokens_per_second": 2}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **{**_SPECIAL, **changes})
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(**changes: Any) -> Any:
    vision = {**_VISION, "num_position_embeddings": 25, "deepstack_visual_indexes": [0, 2]}
    config = Qwen3VLConfig(text_config=_interleaved(4, 2, 2), vision_config=vision, **{**_SPECIAL, **changes})
    return Qwen3VLForConditionalGeneration(config)


def _qwen3_5(**changes: Any) -> Any:
    text = _interleaved(2, 1, 1, partial_rotary_factor=0.5)
    # Small weights: where keys are short before they are brought to length one, rounding alone makes 1e-4.
    text |= {"initializer_range": 0.1, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    text |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
    vision = {**_VISION, "num_position_embeddings": 25}
    config = Qwen3_5Config(text_config=text, vision_config=vision, **{**_SPECIAL, **changes})
    return Qwen3_5ForConditionalGeneration(config)


MAKERS = {"qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl, "qwen3_5": _qwen3_5}

_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def mixture_of(family: str) -> Any:
    """The same family with experts in every layer."""
    torch.manual_seed(0)
    plain = MAKERS[family]().config
    text = {**plain.text_config.to_dict(), **_EXPERTS}
    for name in ("model_type", "intermediate_size"):
        text.pop(name)
    vision = {k: v for k, v in plain.vision_config.to_dict().items() if k != "model_type"}
    given = {"text_config": text, "vision_config": vision, **_SPECIAL}
    if family == "qwen3_vl":
        return tools.shake(Qwen3VLMoeForConditionalGeneration(Qwen3VLMoeConfig(**given)))
    text["shared_expert_intermediate_size"] = 16
    return tools.shake(Qwen3_5MoeForConditionalGeneration(Qwen3_5MoeConfig(**given)))


def oracle_of(family: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return tools.shake(MAKERS[family](**changes))


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte, and one for each of the special marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(
        ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")


def mean_of(family: str) -> tuple[list[float], list[float]]:
    if family == "qwen2_5_vl":
        return [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return [0.5] * 3, [0.5] * 3


def save(family: str, oracle: Any, folder: Path, **options: Any) -> Path:
    oracle.save_pretrained(folder, **options)
    mean, std = mean_of(family)
    Qwen2VLImageProcessorPil(patch_size=P, size=LIMITS, image_mean=mean, image_std=std).save_pretrained(
        folder
    )
    limits = LIMITS if family == "qwen2_5_vl" else VIDEO_LIMITS
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": limits}))
    tokenizer().save_pretrained(folder)
    return folder


def moments_of(clip: Tensor) -> Moments:
    return Moments(tuple(index / FPS for index in range(len(clip))), len(clip) / FPS)


def patches(family: str, clip: Tensor) -> Tensor:
    """[T, 3, H, W] uint8 pixels of the right size as the original's rows of patches."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in mean_of(family))
    pixels = (clip.float() / 255 - mean) / std
    if len(pixels) % 2:
        pixels = torch.cat([pixels, pixels[-1:]])
    t, h, w = len(pixels) // 2, pixels.shape[-2] // P, pixels.shape[-1] // P
    split = pixels.reshape(t, 2, 3, h // 2, 2, P, w // 2, 2, P)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1)


def times(numbers: Sequence[int]) -> list[str]:
    """What the original's processor writes before each pair of frames of these numbers."""
    found = Qwen3VLProcessor._calculate_timestamps(None, list(numbers), FPS)
    return [f"<{moment:.1f} seconds>" for moment in found]


@dataclass
class Theirs:
    """One conversation as the original takes it.

    Attributes:
        family: Which.
        oracle: The original.
        model: Ours; its resolution cuts the frames, which the processor's tests compare.
        clips: [T, H, W, 3] each.
        words: Ids behind the last clip.
        before: Ids in front of the first.
        marks: Whether videos have outer marks.
        numbers: Of the frames of the only video in its file; None where all are taken.
    """

    family: str
    oracle: Any
    model: VideoLM
    clips: Sequence[Tensor]
    words: Sequence[int]
    before: Sequence[int] = tuple(tools.BEFORE)
    marks: bool = True
    numbers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self.ids: list[int] = list(self.before)
        given: dict[str, list[Any]] = {}
        for index, clip in enumerate(self.clips):
            self.ids += tools.BETWEEN if index else []
            (view,) = self.model.cut(clip, len(self.clips)).tensors
            t, h, w = (len(clip) + 1) // 2, view.shape[-2] // P, view.shape[-1] // P
            name, suffix = ("image", "") if len(clip) == 1 else ("video", "_videos")
            given.setdefault(f"pixel_values{suffix}", []).append(patches(self.family, view[0]))
            given.setdefault(f"{name}_grid_thw", []).append(torch.tensor([[t, h, w]]))
            self.ids += self._read(len(clip), t, h * w // 4)
        self.ids += self.words
        self.given = {name: torch.cat(tensors) for name, tensors in given.items()}
        if self.family == "qwen2_5_vl" and "video_grid_thw" in self.given:
            every = 1 if self.numbers is None else (self.numbers[-1] + 1) / len(self.numbers)
            count = len(self.given["video_grid_thw"])
            self.given["second_per_grid_ts"] = torch.full((count,), 2 * every / FPS)

    def _read(self, frames: int, slices: int, cells: int) -> list[int]:
        pads = [IMAGE if frames == 1 else VIDEO] * cells
        if self.family == "qwen2_5_vl":
            return pads * slices
        if frames == 1:
            return [START, *pads, END]
        spelled = [tokenizer()(text).input_ids for text in times(self.numbers or range(frames))]
        inner = [token for text in spelled for token in (*text, START, *pads, END)]
        return [START, *inner, END] if self.marks else inner

    @property
    def kinds(self) -> list[int]:
        return [{IMAGE: 1, VIDEO: 2}.get(token, 0) for token in self.ids]

    def arguments(self) -> dict[str, Any]:
        return {
            "input_ids": torch.tensor([self.ids]),
            "mm_token_type_ids": torch.tensor([self.kinds]),
            **self.given,
        }

    @torch.no_grad()
    def logits(self) -> Tensor:
        logits = self.oracle(**self.arguments()).logits
        assert isinstance(logits, Tensor)
        return logits

    @torch.no_grad()
    def positions(self) -> Tensor:
        """[3, L], as the original numbers them by itself."""
        named = {k: v for k, v in self.arguments().items() if not k.startswith("pixel")}
        return self.oracle.model.get_rope_index(**named)[0][:, 0]

    @torch.no_grad()
    def write(self, count: int) -> list[int]:
        """Greedy words of the original's own `generate`."""
        how = GenerationConfig(max_new_tokens=count, do_sample=False, pad_token_id=0)
        self.oracle.generation_config = how  # else what it leaves open is taken from there
        made = self.oracle.generate(**self.arguments(), generation_config=how)
        return made[0, len(self.ids) :].tolist()


def expected(family: str, oracle: Any, model: VideoLM, rows: Sequence[Sequence[Tensor]]) -> Tensor:
    each = [Theirs(family, oracle, model, clips, tools.AFTER).logits() for clips in rows]
    return torch.cat([tools.at_after(logits) for logits in each])


def read(model: VideoLM, clips: Sequence[Tensor]) -> tuple[list[Reading], Tensor | None]:
    """What is read of clips and their tokens, through the same plan, cut and look as everywhere."""
    together = len(clips)
    moments = [moments_of(clip) for clip in clips]
    layouts = [model.plan((c.shape[1], c.shape[2]), len(c), together)[1] for c in clips]
    seen = [model.see_views(model.cut(c, together, m)) for c, m in zip(clips, moments, strict=True)]
    readings = [spell(*row, tokenizer(), m) for row, m in zip(_numbered(layouts), moments, strict=True)]
    return readings, model.visual(seen)


def _numbered(layouts: Sequence[Any]) -> list[tuple[Any, int]]:
    return [(layout, index) for index, layout in enumerate(layouts)]


def group(readings: Sequence[Reading], words: Sequence[int], learned: bool) -> Group:
    prefix: list[Any] = [tuple(tools.BEFORE)]
    for index in range(len(readings)):
        prefix += [index] if index == 0 else [tuple(tools.BETWEEN), index]
    return Group((Encoded(tuple(prefix), tuple(words), (learned,) * len(words)),), tuple(readings))


@torch.no_grad()
def ours(model: VideoLM, rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """[rows, len(AFTER), vocabulary]: logits that predict `AFTER` behind each row's clips, in one batch."""
    groups, pieces = [], []
    for clips in rows:
        readings, visual = read(model, clips)
        groups.append(group(readings, tools.AFTER, True))
        pieces.append(visual)
    logits = model(pack(groups, model.positions), torch.cat([p for p in pieces if p is not None]))
    return logits.reshape(len(rows), len(tools.AFTER), -1)
