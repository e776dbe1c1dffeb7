"""A tokenizer as a GGUF file holds it.

Source: llama.cpp's converter. It knows how a tokenizer splits a text into words by a name of its own
(`tokenizer.ggml.pre`), which is found here by the expression that the tokenizer splits by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vidapt.errors import CheckpointError

_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_BY_EXPRESSION = {rf"{_SHORT}\p{{N}}{_TAIL}": "qwen2", rf"{_SHORT}\p{{N}}{{1,3}}{_TAIL}": "llama-bpe"}
"""Expressions of published tokenizers, and llama.cpp's names for them."""


def add_words(writer: Any, tokenizer: Any, rows: int) -> None:
    """Write a tokenizer into a GGUF file.

    Args:
        writer: A `gguf.GGUFWriter`.
        tokenizer: A fast one of transformers.
        rows: Of the language model's embeddings; those beyond the tokenizer's words are told as unused.

    Raises:
        CheckpointError: If llama.cpp would split texts otherwise.
    """
    from gguf import TokenType

    told = json.loads(tokenizer.backend_tokenizer.to_str())
    model = told["model"]
    if model.get("type") != "BPE":
        raise _unknown(f"its model is {model.get('type')!r}")
    pieces = bool(model.get("byte_fallback"))  # of SentencePiece
    words, kinds = [], []
    added = {int(one["id"]): bool(one["special"]) for one in told["added_tokens"]}
    known = tokenizer.convert_ids_to_tokens(list(range(min(rows, len(tokenizer)))))
    for index in range(rows):
        word = known[index] if index < len(known) else None
        words.append(f"[PAD{index}]" if word is None else word)
        kinds.append(TokenType.UNUSED if word is None else _kind(index, word, added, pieces=pieces))
    writer.add_token_list(words)
    if pieces:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores([-float(index) for index in range(rows)])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_split(told))
        writer.add_token_merges(
            [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        )
    writer.add_token_types(kinds)
    _add_marks(writer, tokenizer)


def _kind(index: int, word: str, added: Mapping[int, bool], *, pieces: bool) -> Any:
    from gguf import TokenType

    if index in added:
        return TokenType.CONTROL if added[index] else TokenType.USER_DEFINED
    if pieces and len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
        return TokenType.BYTE
    return TokenType.NORMAL


def _split(told: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer splits texts."""
    steps = list(_steps(told.get("pre_tokenizer") or {}))
    found = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    if len(found) == 1 and found[0] in _BY_EXPRESSION:
        return _BY_EXPRESSION[found[0]]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    raise _unknown(f"it splits texts by {found or kinds}")


def _steps(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if told.get("type") == "Sequence":
        for step in told["pretokenizers"]:
            yield from _steps(step)
    elif told:
        yield told


def _add_marks(writer: Any, tokenizer: Any) -> None:
    marks = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    for name, token in marks.items():
        if token is not None:
            getattr(writer, f"add_{name}_token_id")(token)
    writer.add_add_bos_token(bool(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]))
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _unknown(found: str) -> CheckpointError:
    return CheckpointError(
        "tokenizer",
        f"llama.cpp may split texts otherwise: {found}",
        "write the model with `--to hf`, and convert it with llama.cpp's own convert_hf_to_gguf.py",
    )
