"""A tokenizer whose ids are code points, for tests of what is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Letters:
    """Every letter is a token.

    Args:
        space: What is written in front of a stretch of text, as by SentencePiece (but not behind a control
            token).
    """

    bos_token = eos_token = unk_token = unk_token_id = None
    all_special_ids: tuple[int, ...] = ()

    def __init__(self, space: str = "") -> None:
        self.space = space
        self.added_tokens_decoder: dict[int, Any] = {}

    def __call__(self, text: str, *, add_special_tokens: bool = False, **_: Any) -> SimpleNamespace:
        assert not add_special_tokens
        space = self.space if text[:1].isalpha() else ""
        ids = [ord(letter) for letter in space + text]
        offsets = [(at, at + 1) for at in range(-len(space), len(text))]
        return SimpleNamespace(input_ids=ids, encodings=[SimpleNamespace(ids=ids, offsets=offsets)])
