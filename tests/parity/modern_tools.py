"""Whole conversations: what is read, down to the ids, and the logits at the question behind the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack, prefix_layout, spell
from vidapt.models.text import Encoded, encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import MEDIA, Clip, Moments, Sample, Turn

QUESTION = "what is the red ball doing"
RATE = 2.0
"""Frames a second of the films."""


def moments_of(clip: Tensor) -> Moments:
    """When frames of a film were that begins at 0 and shows `RATE` of them a second."""
    return Moments(tuple(index / RATE for index in range(len(clip))), len(clip) / RATE)


@dataclass(frozen=True)
class Ours:
    """A conversation about some clips as our model reads it.

    Attributes:
        ids: Of everything, with `slot` in the place of visual tokens.
        group: What is packed.
        visual: Its visual tokens.
    """

    ids: list[int]
    group: Group
    visual: Tensor | None


def ours(
    model: VideoLM, tokenizer: Any, clips: Sequence[Tensor], slot: int, question: str = QUESTION
) -> Ours:
    """Read a question about clips, which stand in front of it."""
    media = tuple(Clip(str(index), Path(str(index))) for index in range(len(clips)))
    sample = Sample("0", media, (Turn("user", MEDIA * len(clips) + question),))
    encoded = encode(sample, model.blueprint.prompt, tokenizer, open_answer=True)
    cuts = [model.cut(clip, len(clips), moments_of(clip)) for clip in clips]
    readings = tuple(
        spell(model.layout(cut.plan, len(clips)), index, tokenizer, moments_of(clip))
        for index, (cut, clip) in enumerate(zip(cuts, clips, strict=True))
    )
    ids, slots, _ = prefix_layout(encoded.prefix, readings)
    read = [slot if hidden else token for token, hidden in zip(ids, slots, strict=True)]
    whole = Encoded(encoded.prefix, encoded.ids, (True,) * len(encoded.ids))
    with torch.no_grad():
        visual = model.visual(model.see_each(cuts)) if cuts else None
    return Ours([*read, *encoded.ids], Group((whole,), readings), visual)


@torch.no_grad()
def our_logits(model: VideoLM, rows: Sequence[Ours]) -> list[Tensor]:
    """Logits that predict the words behind the clips, row by row, all of one batch."""
    visual = [row.visual for row in rows if row.visual is not None]
    packed = pack([row.group for row in rows], model.positions)
    logits = model(packed, torch.cat(visual) if visual else None)
    return list(torch.split(logits, [len(row.group.encoded[0].ids) for row in rows]))


def our_words(model: VideoLM, rows: Sequence[Ours], count: int = 32) -> list[list[int]]:
    """Greedily written words of conversations in one batch."""
    answers = generate(
        model, [row.group for row in rows], [row.visual for row in rows], (), Decoding(max_new_tokens=count)
    )
    return [list(answer.ids) for (answer,) in answers]


@dataclass(frozen=True)
class Theirs:
    """The same conversation as the original's processor and class read it.

    Attributes:
        ids: Of everything, with the original's ids in the place of visual tokens.
        given: What else the original's `forward` takes; embeddings go in place of ids.
    """

    ids: list[int]
    given: dict[str, Any]

    @torch.no_grad()
    def logits(self, oracle: Any, count: int) -> Tensor:
        """Those that predict the last `count` of the ids."""
        return oracle(**self._read()).logits[0, -count - 1 : -1]

    @torch.no_grad()
    def write(self, oracle: Any, count: int = 32) -> list[int]:
        """Greedily."""
        read = self._read()
        written = oracle.generate(
            attention_mask=torch.ones(1, len(self.ids), dtype=torch.long),
            **read,
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            pad_token_id=0,
        )
        return written[0, len(self.ids) if "input_ids" in read else 0 :].tolist()

    def _read(self) -> dict[str, Any]:
        if "inputs_embeds" in self.given:
            return self.given
        return {"input_ids": torch.tensor([self.ids]), **self.given}


Read = Callable[[VideoLM, Any, Sequence[Tensor]], Theirs]


def difference(
    oracle: Any, model: VideoLM, tokenizer: Any, rows: Sequence[Sequence[Tensor]], read: Read, slot: int
) -> float:
    """Largest difference of the logits, ours in one batch and theirs one by one; the ids have to be equal."""
    mine = [ours(model, tokenizer, clips, slot) for clips in rows]
    worst = 0.0
    for row, found, clips in zip(mine, our_logits(model, mine), rows, strict=True):
        theirs = read(model, tokenizer, clips)
        assert row.ids == theirs.ids
        expected = theirs.logits(oracle, len(found))
        assert expected.std() > 0.1
        worst = max(worst, float((found - expected).abs().max()))
    return worst
