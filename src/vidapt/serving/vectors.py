"""Vectors of texts and clips, by a dual encoder with a thread of its own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vidapt.errors import BrokenClip
from vidapt.inference.matchers import DualMatcher
from vidapt.models.dual_text import text_ids
from vidapt.models.reach import most_frames
from vidapt.nouns import Clip, Frames
from vidapt.serving.media import Sight
from vidapt.serving.refused import wrong
from vidapt.serving.table import as_refusal

One = str | tuple[Clip, Frames]
"""A text, or a decoded clip."""


class Vectors:
    """A dual encoder at work.

    Args:
        matcher: The model, which nobody else uses.
    """

    def __init__(self, matcher: DualMatcher) -> None:
        self._matcher = matcher
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="vidapt-serve-vectors")
        policy = matcher.model.blueprint.frames
        self.sight = Sight(policy, matcher.decode_size, most_frames(policy))

    def close(self) -> None:
        """Answer nobody any more."""
        self._hand.shutdown(wait=False, cancel_futures=True)

    async def of(self, given: Sequence[One]) -> tuple[list[np.ndarray], int]:
        """Vectors of texts and clips, [E] each, of length 1; and how many tokens were read.

        Raises:
            RefusedError: If a text is too long, or a clip cannot be seen.
        """
        return await asyncio.get_running_loop().run_in_executor(self._hand, self._all, given)

    def _all(self, given: Sequence[One]) -> tuple[list[np.ndarray], int]:
        try:
            tokens = self._tokens([one for one in given if isinstance(one, str)])
            return [self._vector(one) for one in given], tokens
        except Exception as error:  # noqa: BLE001 - told to whoever asked; the next one may be answered
            raise as_refusal(error) from None

    def _tokens(self, texts: Sequence[str]) -> int:
        for text, reason in self._matcher.unreadable(texts).items():
            raise wrong(f"a text of {len(text)} letters {reason}", "input", "too_long")
        return sum(len(text_ids(self._matcher.tokenizer, text)) for text in texts)

    def _vector(self, one: One) -> np.ndarray:
        found = self._matcher.encode(one) if isinstance(one, str) else self._matcher.see(*one)
        if isinstance(found, BrokenClip):
            raise found
        vector = found.detach().float().cpu().numpy()
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def coded(vector: np.ndarray, *, packed: bool) -> list[float] | str:
    """A vector as JSON holds it: numbers, or float32 in base64, which OpenAI's clients ask for."""
    if packed:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(number) for number in vector]


def listed(name: str, vectors: Sequence[np.ndarray], tokens: int, *, packed: bool) -> dict[str, Any]:
    """Vectors as clients expect them."""
    rows = [
        {"object": "embedding", "index": index, "embedding": coded(vector, packed=packed)}
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "model": name,
        "data": rows,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
