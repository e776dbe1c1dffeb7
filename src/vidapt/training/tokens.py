"""How many tokens visits are read in, by texts and headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.models.packed import reading_length
from vidapt.models.reach import Lengths, text_length
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip
from vidapt.training.batch import shown
from vidapt.training.data import ClipSamples
from vidapt.training.order import Visit


class TokensOf:
    """Tokens that the language model reads of a visit, padding left out.

    A clip's header says how many frames are read of it; where it does not, the most that there can be count.

    Args:
        model: Tells what is read of a clip.
        tokenizer: The model's.
        clips: All clips of the stage.
        lengths: Of the clips.
        shared: Whether the samples of a visit share one copy of their clips.
    """

    def __init__(
        self,
        model: VideoLM,
        tokenizer: Any,
        clips: Sequence[ClipSamples],
        lengths: Lengths,
        *,
        shared: bool,
    ) -> None:
        self._model, self._tokenizer, self._clips = model, tokenizer, clips
        self._lengths, self._shared = lengths, shared
        self._known: dict[tuple[Clip, int, int], int] = {}

    def __call__(self, visit: Visit) -> int:
        """Tokens of a visit."""
        media, encoded = shown(self._clips[visit.clip], visit, self._model, self._tokenizer)
        prefix = sum(self._clip(clip, index, len(media)) for index, clip in enumerate(media))
        prefix += text_length(encoded[0]) - len(encoded[0].ids)
        return prefix * (1 if self._shared else len(encoded)) + sum(len(one.ids) for one in encoded)

    def _clip(self, clip: Clip, index: int, together: int) -> int:
        key = clip, index, together
        if key not in self._known:
            self._known[key] = reading_length(self._lengths.reading(clip, index, together))
        return self._known[key]
