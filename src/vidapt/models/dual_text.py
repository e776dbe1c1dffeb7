"""Texts as a dual encoder reads them: token ids that end with the mark whose vector stands for the text.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020), which finds the end of a text by its largest id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import ConfigError

PADDING = 0
"""Behind the end mark nothing is read, so any id will do that is not larger than the mark's."""


def text_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Ids of a text with its marks. An end mark written out inside the text ends it for the tower, too.

    Args:
        tokenizer: A transformers tokenizer that adds marks by itself, as CLIP's does.
        text: Anything.

    Raises:
        ConfigError: If the tokenizer does not end a text with its largest id, which marks the end.
    """
    ids = tuple(tokenizer(text, add_special_tokens=True, truncation=False, verbose=False).input_ids)
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
