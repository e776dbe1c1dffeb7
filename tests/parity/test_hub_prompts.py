"""The families' templates read like the authors' own conversations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vidapt.errors import CheckpointError
from vidapt.hub._prompts import MISTRAL, PLLAVA, VICUNA, YI, prompt_for
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Prompt

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


class Letters:
    """A tokenizer whose ids are code points.

    Like SentencePiece it writes a space in front of a stretch of text (but not behind a control token).
    """

    def __init__(self, space: str = "") -> None:
        self.space = space

    def __call__(self, text: str, *, add_special_tokens: bool) -> SimpleNamespace:
        assert not add_special_tokens
        space = self.space if text[0].isalpha() else ""
        return SimpleNamespace(input_ids=[ord(letter) for letter in space + text])


def written(prompt: Prompt, space: str = "") -> str:
    """What a model reads of two rounds about one clip, with `[clip]` for its tokens."""
    turns = (
        Turn("user", "Who?"),
        Turn("assistant", "Anna."),
        Turn("user", "Where?"),
        Turn("assistant", "Here."),
    )
    sample = Sample(id="1", media=(Clip("c", Path("c.mp4")),), turns=turns)
    encoded = encode(sample, prompt, Letters(space))
    prefix = ["[clip]" if isinstance(p, int) else "".join(map(chr, p)) for p in encoded.prefix]
    return "".join(prefix) + "".join(map(chr, encoded.ids))


def test_vicuna_reads_as_the_authors_vicuna_v1() -> None:
    assert written(VICUNA, space=" ") == (
        f"<s>{SYSTEM}USER: [clip]\nWho? ASSISTANT: Anna.</s> USER: Where? ASSISTANT: Here.</s>"
    )


def test_pllava_reads_like_its_benchmarks() -> None:
    assert written(PLLAVA, space=" ") == (
        "<s>USER: [clip]\nWho? ASSISTANT: Anna.</s> USER: Where? ASSISTANT: Here.</s>"
    )


def test_yi_reads_as_the_authors_chatml() -> None:
    assert written(YI) == (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n[clip]\nWho?<|im_end|>"
        "<|im_start|>assistant\nAnna.<|im_end|><|im_start|>user\nWhere?<|im_end|>"
        "<|im_start|>assistant\nHere.<|im_end|>"
    )


def test_mistral_reads_as_its_instruct_format() -> None:
    assert written(MISTRAL, space=" ") == (
        "<s>[INST] [clip]\nWho? [/INST] Anna.</s>[INST] Where? [/INST] Here.</s>"
    )


def test_the_template_follows_the_language_model() -> None:
    here = Path("somewhere")
    assert prompt_for({"model_type": "llama", "vocab_size": 32064}, here) is VICUNA
    assert prompt_for({"model_type": "llama", "vocab_size": 64064}, here) is YI
    assert prompt_for({"model_type": "mistral"}, here) is MISTRAL
    assert prompt_for({"model_type": "llama", "vocab_size": 32064}, here, vicuna=PLLAVA) is PLLAVA
    with pytest.raises(CheckpointError, match="falcon"):
        prompt_for({"model_type": "falcon"}, here)
