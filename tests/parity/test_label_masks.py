"""What each family's template supervises in a conversation of two turns, written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from letters import Letters

from vidapt.hub import _prompts, _qwen, hilight, mini_gemini, minicpm_v, qwen2_vl, qwen3_5
from vidapt.models.text import encode
from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.recipe import Prompt

CONVERSATION = Sample(
    "",
    (Clip("c", Path("c")),),
    (
        Turn("user", f"{MEDIA}What is it?"),
        Turn("assistant", "A red ball."),
        Turn("user", "And then?"),
        Turn("assistant", "It rolls."),
    ),
)
EXPECTED = {
    "vicuna": (_prompts.VICUNA, ["A red ball.</s>", "It rolls.</s>"]),
    "pllava": (_prompts.PLLAVA, ["A red ball.</s>", "It rolls.</s>"]),
    "mistral": (_prompts.MISTRAL, ["A red ball.</s>", "It rolls.</s>"]),
    "yi": (_prompts.YI, ["A red ball.<|im_end|>", "It rolls.<|im_end|>"]),
    "chatml": (_prompts.CHATML, ["A red ball.<|im_end|>", "It rolls.<|im_end|>"]),
    "llama 3": (_prompts.LLAMA_3, ["A red ball.<|eot_id|>", "It rolls.<|eot_id|>"]),
    "qwen2_vl": (qwen2_vl.PROMPT, ["A red ball.<|im_end|>", "It rolls.<|im_end|>"]),
    "qwen3_vl": (_qwen.PROMPT_3, ["A red ball.<|im_end|>\n", "It rolls.<|im_end|>\n"]),
    "qwen3_5": (qwen3_5.PROMPT, ["A red ball.<|im_end|>\n", "It rolls.<|im_end|>\n"]),
    "minicpm_v": (minicpm_v.PROMPT, ["A red ball.<|im_end|>", "It rolls.<|im_end|>"]),
    "mini_gemini llama 3": (mini_gemini.LLAMA_3, ["A red ball.<|eot_id|>", "It rolls.<|eot_id|>"]),
    # HiLight supervises the line break and the end of the text behind the turn's own end.
    "hilight": (hilight.GEMMA, ["A red ball.<end_of_turn>\n<eos>", "It rolls.<end_of_turn>\n<eos>"]),
}


def supervised(prompt: Prompt) -> list[str]:
    """The stretches of text that carry labels."""
    encoded = encode(CONVERSATION, prompt, Letters())
    stretches, text = [], ""
    for letter, labelled in zip(encoded.ids, encoded.answer, strict=True):
        if labelled:
            text += chr(letter)
        elif text:
            stretches.append(text)
            text = ""
    return [*stretches, *([text] if text else [])]


@pytest.mark.parametrize("name", EXPECTED)
def test_answers_and_their_end_alone_are_supervised(name: str) -> None:
    prompt, expected = EXPECTED[name]
    assert supervised(prompt) == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_before_the_clip_is_supervised(name: str) -> None:
    assert not encode(CONVERSATION, EXPECTED[name][0], Letters()).early
