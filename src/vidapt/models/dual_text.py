"""Texts as a dual encoder reads them: token ids that end with the mark whose vector stands for the text.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020), which finds the end of a text by its largest id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.spelling import Run, marks_of, spelled

PADDING = 0
"""Behind the end mark nothing is read, so any id will do that is not larger than the mark's."""


def text_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Ids of a text between the marks that a tokenizer puts around every text. Within it there are none.

    Args:
        tokenizer: A transformers tokenizer that adds marks by itself, as CLIP's does.
        text: Anything.

    Raises:
        FormatError: If a mark in the text cannot be written in words.
        ConfigError: If the tokenizer does not end a text with its largest id, which marks the end.
    """
    whole = tokenizer(text, add_special_tokens=True, truncation=False, verbose=False).input_ids
    plain = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    words = spelled([Run(text, said=True)], tokenizer, marks_of(tokenizer), "text")
    front = next(at for at in range(len(whole) + 1) if whole[at : at + len(plain)] == plain)
    ids = (*whole[:front], *words, *whole[front + len(plain) :])
    end = tokenizer.eos_token_id
    if end != len(tokenizer) - 1 or ids[-1:] != (end,):
        raise ConfigError(
            "tokenizer",
            f"it does not end a text with its largest id, {len(tokenizer) - 1}: {ids[-3:]}",
            "give CLIP's tokenizer, or leave `tokenizer` out to learn one",
        )
    return ids


def shortened(ids: Sequence[int], length: int) -> tuple[int, ...]:
    """The first tokens of a text and its end mark, `length` in all."""
    return tuple(ids) if len(ids) <= length else (*ids[: length - 1], ids[-1])


def padded(rows: Sequence[Sequence[int]], length: int | None = None) -> tuple[Tensor, Tensor]:
    """Texts as one tensor.

    Args:
        rows: N texts, one at least.
        length: L; None takes the longest text's.

    Returns:
        [N, L] long, and [N, L] bool where a token is no padding.
    """
    longest = max(map(len, rows)) if length is None else length
    ids = torch.tensor([[*row, *[PADDING] * (longest - len(row))] for row in rows])
    counts = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < counts[:, None]
