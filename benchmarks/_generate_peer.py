"""transformers' `generate` for LLaVA-NeXT-Video: the documentation's loop, and static batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlavaNextVideoForConditionalGeneration, PreTrainedTokenizerFast

from _packing_work import PATCH, STRIDE, VIDEO_TOKEN, Work
from vidapt.hub._prompts import VICUNA

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Generate:
    """The model as its documentation asks it.

    Args:
        work: Whose checkpoint and clips.
        moments: Seconds of the frames to be shown of each clip, so that both sides see the same.
    """

    def __init__(self, work: Work, moments: dict[str, Sequence[float]]) -> None:
        self._work, self._moments = work, moments
        self._model = LlavaNextVideoForConditionalGeneration.from_pretrained(
            work.checkpoint, dtype=torch.float32
        ).eval()
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(work.checkpoint)

    @torch.inference_mode()
    def captions(self, clips: Sequence[Path], prompt: str, longest: int, batch: int) -> Iterator[str]:
        """Captions, so many clips at a time."""
        visual = self._work.sizes.frames * (self._work.sizes.side // PATCH // STRIDE) ** 2
        mark = self._tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
        ids = [*self._ids(f"{VICUNA.start}USER: "), *[mark] * visual, *self._ids(f"\n{prompt} ASSISTANT:")]
        for start in range(0, len(clips), batch):
            some = clips[start : start + batch]
            asked = torch.tensor([ids] * len(some))
            written = self._model.generate(
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                pixel_values_videos=torch.stack([self._pixels(clip) for clip in some]),
                max_new_tokens=longest,
                do_sample=False,
                pad_token_id=0,
            )
            for row in written[:, len(ids) :]:
                yield self._tokenizer.decode(self._until_the_end(row), skip_special_tokens=True).strip()

    def _until_the_end(self, row: Tensor) -> Tensor:
        ends = torch.isin(row, torch.tensor(self._model.generation_config.eos_token_id)).nonzero()
        return row[: int(ends[0])] if len(ends) else row

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _pixels(self, clip: Path) -> Tensor:
        """[T, 3, side, side] float: short side resized as the video processor does, cropped, normalised."""
        side = self._work.sizes.side
        pixels = torch.from_numpy(_decode(clip, self._moments[clip.name])).permute(0, 3, 1, 2)
        scale = side / min(pixels.shape[-2:])
        size = (round(pixels.shape[-2] * scale), int(pixels.shape[-1] * scale))
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        cropped = pixels[..., top : top + side, left : left + side].float() / 255
        return (cropped - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _decode(path: Path, moments: Sequence[float]) -> np.ndarray:
    """[T, H, W, 3] uint8: everything up to the last frame is decoded, and the wanted ones become RGB."""
    wanted = [round(moment * 1000) for moment in moments]
    found: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            at = round(frame.time * 1000)
            if at in wanted:
                found[at] = frame.to_ndarray(format="rgb24")
            if len(found) == len(set(wanted)):
                break
    return np.stack([found[at] for at in wanted])
