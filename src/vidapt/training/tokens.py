"""How many tokens visits are read in, by texts and headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.models.packed import reading_length, spell
from vidapt.models.reach import shape_of
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
        shared: Whether the samples of a visit share one copy of their clips.
    """

    def __init__(self, model: VideoLM, tokenizer: Any, clips: Sequence[ClipSamples], *, shared: bool) -> None:
        self._model, self._tokenizer, self._clips, self._shared = model, tokenizer, clips, shared
        self._known: dict[tuple[Clip, int, int], int] = {}

    def __call__(self, visit: Visit) -> int:
        """Tokens of a visit."""
        media, encoded = shown(self._clips[visit.clip], visit, self._model, self._tokenizer)
        prefix = sum(self._clip(clip, index, len(media)) for index, clip in enumerate(media))
        prefix += sum(len(piece) for piece in encoded[0].prefix if not isinstance(piece, int))
        return prefix * (1 if self._shared else len(encoded)) + sum(len(one.ids) for one in encoded)

    def _clip(self, clip: Clip, index: int, together: int) -> int:
        key = clip, index, together
        if key not in self._known:
            shape = shape_of(clip, self._model.blueprint.frames)
            self._known[key] = 0  # of one that cannot be used, which is told elsewhere
            if shape is not None:
                size, moments = shape
                layout = self._model.plan(size, len(moments.seconds), together)[1]
                self._known[key] = reading_length(spell(layout, index, self._tokenizer, moments))
        return self._known[key]
