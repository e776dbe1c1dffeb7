"""Tokenizers as authors publish them give the ids that they were trained with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import published_tools as published
import pytest
import sentencepiece

from vidapt.errors import CheckpointError
from vidapt.hub._tokenizer import is_mark, read_tokenizer
from vidapt.models.folder import read_tokenizer as read_own

TEXTS = [
    "USER: hi",
    "  two  spaces",
    " ASSISTANT:",
    "ends with one ",
    "a\n\nb",
    "\n",
    "\t what",
    "红球进了袋",
    "a 🎱 and 🏳️‍🌈",
    "naïve, 12345",
]


@pytest.fixture(scope="module")
def model() -> bytes:
    return published.pieces()


@pytest.fixture(scope="module")
def original(model: bytes) -> Any:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.mark.parametrize("kind", ["llava", "llava_llama", "llava_mistral", "mgm", None])
@pytest.mark.parametrize("named", ["LlamaTokenizer", "LlamaTokenizerFast", None])
def test_pieces_alone_give_sentencepieces_ids(
    kind: str | None, named: str | None, model: bytes, original: Any, tmp_path: Path
) -> None:
    published.add_pieces(tmp_path, model, tokenizer_class=named)
    if kind is not None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    tokenizer = read_tokenizer(tmp_path)
    for text in TEXTS:
        assert tokenizer(text, add_special_tokens=False).input_ids == original.encode(text), text
        assert tokenizer.decode(original.encode(text)) == text
    assert tokenizer("").input_ids == [1]
    assert is_mark(tokenizer, 2)
    assert not is_mark(tokenizer, original.encode("hi")[0])


def test_ids_stay_when_a_model_is_saved_by_us(model: bytes, original: Any, tmp_path: Path) -> None:
    published.add_pieces(tmp_path / "theirs", model)
    read_tokenizer(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    tokenizer = read_own(tmp_path / "ours")
    for text in TEXTS:
        assert tokenizer(text, add_special_tokens=False).input_ids == original.encode(text), text


def test_without_legacy_the_class_alone_decides(model: bytes, tmp_path: Path) -> None:
    from transformers import LlamaTokenizer

    published.add_pieces(tmp_path, model, legacy=False)
    ours, theirs = read_tokenizer(tmp_path), LlamaTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "</s>USER: hi"]:
        assert ours(text).input_ids == theirs(text).input_ids, text


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100])
def test_damaged_pieces_are_refused(content: bytes, model: bytes, tmp_path: Path) -> None:
    published.add_pieces(tmp_path, model)
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        read_tokenizer(tmp_path)


def test_a_class_that_transformers_has_not_is_named(model: bytes, tmp_path: Path) -> None:
    published.add_pieces(tmp_path, model, tokenizer_class="YiTokenizer")
    with pytest.raises(CheckpointError, match="YiTokenizer"):
        read_tokenizer(tmp_path)
