"""Qwen2-VL as transformers has it, with tiny random weights, and what it makes of conversations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import parity_tools as tools
import torch
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vidapt.models.video_lm import VideoLM

P = 4


LIMITS = {"shortest_edge": 4 * 64, "longest_edge": 24 * 64}


STILL, OTHER, TALL = tools.film(1, 30, 50), tools.film(1, 70, 20, seed=1), tools.film(1, 90, 9, seed=4)
VIDEO, LONG = tools.film(5, 40, 24, seed=2), tools.film(14, 21, 30, seed=3)


def oracle_of(vocabulary: int = 64, **changes: Any) -> Qwen2VLForConditionalGeneration:
    torch.manual_seed(0)
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]},
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": P,
        "initializer_range": 0.1,
    }
    special = {"image_token_id": tools.IMAGE, "video_token_id": tools.VIDEO}
    special |= {"vision_start_token_id": 58, "vision_end_token_id": 59}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **{**special, **changes})
    return tools.shake(Qwen2VLForConditionalGeneration(config))


def save(oracle: Qwen2VLForConditionalGeneration, folder: Path) -> Path:
    tools.save(oracle, folder)
    processor = Qwen2VLImageProcessorPil(patch_size=P, size=LIMITS)
    processor.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": LIMITS}))
    return folder


def patches(clip: Tensor) -> Tensor:
    """[T, 3, H, W] uint8 pixels of the right size as the original's rows of patches."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    pixels = (clip.float() / 255 - mean) / std
    if len(pixels) % 2:
        pixels = torch.cat([pixels, pixels[-1:]])
    t, h, w = len(pixels) // 2, pixels.shape[-2] // P, pixels.shape[-1] // P
    split = pixels.reshape(t, 2, 3, h // 2, 2, P, w // 2, 2, P)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1)


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def positions(pieces: Sequence[int | tuple[int, int, int]]) -> Tensor:
    """[3, 1, L], from the facts: a word counts one on all axes; a clip starts at s, the next at the most."""
    rows: list[tuple[int, int, int]] = []
    s = 0
    for piece in pieces:
        if isinstance(piece, int):
            rows += [(s + i, s + i, s + i) for i in range(piece)]
        else:
            t, h, w = piece
            rows += [(s + i, s + j, s + k) for i in range(t) for j in range(h) for k in range(w)]
        s = max(max(row) for row in rows) + 1
    return torch.tensor(rows).T.unsqueeze(1)


class Theirs:
    """One conversation as the original takes it.

    Args:
        oracle: The original.
        model: Ours; its resolution cuts the frames, which the processor's tests compare.
        clips: [T, H, W, 3] each.
        words: Ids behind the last clip.
        before: Ids in front of the first.
    """

    def __init__(
        self,
        oracle: Any,
        model: VideoLM,
        clips: Sequence[Tensor],
        words: Sequence[int],
        before: Sequence[int] = tools.BEFORE,
    ) -> None:
        self.oracle = oracle
        self.ids: list[int] = []
        self.kinds: list[int] = []
        self.pieces: list[Any] = []
        self._text(before)
        given: dict[str, list[Any]] = {}
        for index, clip in enumerate(clips):
            if index:
                self._text(tools.BETWEEN)
            (view,) = model.cut(clip, len(clips)).tensors
            name = "image" if len(clip) == 1 else "video"
            t, h, w = (len(clip) + 1) // 2, view.shape[-2] // P, view.shape[-1] // P
            suffix = "" if name == "image" else "_videos"
            given.setdefault(f"pixel_values{suffix}", []).append(patches(view[0]))
            given.setdefault(f"{name}_grid_thw", []).append(torch.tensor([[t, h, w]]))
            count = t * h * w // 4
            self.ids += [getattr(oracle.config, f"{name}_token_id")] * count
            self.kinds += [1 if name == "image" else 2] * count
            self.pieces.append((t, h // 2, w // 2))
        self._text(words)
        self.given = {name: torch.cat(tensors) for name, tensors in given.items()}

    def _text(self, words: Sequence[int]) -> None:
        self.ids += words
        self.kinds += [0] * len(words)
        self.pieces.append(len(words))

    @torch.no_grad()
    def read(self) -> Any:
        return self.oracle(
            input_ids=torch.tensor([self.ids]),
            mm_token_type_ids=torch.tensor([self.kinds]),
            position_ids=positions(self.pieces),
            use_cache=True,
            **self.given,
        )

    def logits(self) -> Tensor:
        logits = self.read().logits
        assert isinstance(logits, Tensor)
        return logits

    @torch.no_grad()
    def write(self, count: int) -> list[int]:
        """Greedy words, step by step with explicit positions."""
        out, written = self.read(), []
        place = positions(self.pieces).max()
        for step in range(1, count + 1):
            written.append(int(out.logits[0, -1].argmax()))
            out = self.oracle(
                input_ids=torch.tensor([written[-1:]]),
                position_ids=(place + step).expand(3, 1, 1),
                past_key_values=out.past_key_values,
            )
        return written


def expected(oracle: Any, model: VideoLM, rows: Sequence[Sequence[Tensor]]) -> Tensor:
    each = [Theirs(oracle, model, clips, tools.AFTER).logits() for clips in rows]
    return torch.cat([tools.at_after(logits) for logits in each])
