"""Clips in which little moves, and what a language model makes of visual tokens that it must not see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidapt.models.packed import prefix_layout, spell
from vidapt.nouns import Moments


def moving(frames: int = 5, side: int = 16, seed: int = 0) -> Tensor:
    """[T, H, W, 3] uint8: noise that stays, but for one cell of 4 x 4 pixels that changes in each frame."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=generator)
    clip = still.repeat(frames, 1, 1, 1)
    for index in range(1, frames):
        at = 4 * (index % (side // 4))
        clip[index, at : at + 4, at : at + 4] = torch.randint(
            0, 256, (4, 4, 3), dtype=torch.uint8, generator=generator
        )
    return clip


@torch.no_grad()
def hidden(
    model: Any,
    clip: Tensor,
    kept: tuple[int, ...],
    sample: Any,
    words: Any = None,
    when: Moments | None = None,
) -> Tensor:
    """Logits of a sample's labels by a model that reads all, while some visual tokens are hidden from it.

    Args:
        model: Without pruning.
        clip: [T, H, W, 3] uint8.
        kept: Which of its visual tokens may be seen.
        sample: Encoded, about this clip.
        words: The tokenizer, where text stands between tokens.
        when: Moments of the frames.
    """
    views = model.cut(clip, moments=when)
    reading = spell(model.layouts(views)[0], 0, words, when)
    ids, slots, spans = prefix_layout(sample.prefix, (reading,))
    places, after = model.positions.ids(spans)
    tail, _ = model.positions.ids([len(sample.ids)], start=after)
    row = torch.tensor([[*ids, *sample.ids]])
    marks = torch.tensor([[*slots, *[False] * len(sample.ids)]])
    visual = marks[0].nonzero().flatten()
    seen = torch.ones_like(row)
    seen[0, [int(at) for index, at in enumerate(visual) if index not in kept]] = 0
    numbers = torch.cat([places, tail], dim=1)
    states = model.language.base_model(
        **model.entering(row, marks, model.visual([model.see_views(views)])),
        attention_mask=seen,
        position_ids=numbers if len(numbers) == 1 else numbers.unsqueeze(1),
        use_cache=False,
    ).last_hidden_state[0]
    at = [len(ids) + i - 1 for i, labelled in enumerate(sample.answer) if labelled]
    logits: Tensor = model.head(states[at])
    return logits
