"""How the published families write a conversation.

Source: the authors' conversation templates (`vicuna_v1`, `chatml_direct`, `mistral_instruct` of LLaVA;
PLLaVA's benchmark template). An answer has no space in front of it here: SentencePiece tokenizers write
the space themselves when a stretch of text begins, as they do within the authors' whole line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidapt.errors import CheckpointError
from vidapt.recipe import Prompt

VICUNA = Prompt(
    start=(
        "<s>A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    ),
    system="<s>{text} ",
    user="USER: {text}",
    opening=" ASSISTANT:",
    media="{media}\n",
)

YI = Prompt(
    start="<|im_start|>system\nAnswer the questions.<|im_end|>",
    system="<|im_start|>system\n{text}<|im_end|>",
    user="<|im_start|>user\n{text}<|im_end|>",
    opening="<|im_start|>assistant\n",
    end="<|im_end|>",
    media="{media}\n",
)

MISTRAL = Prompt(start="<s>", user="[INST] {text}", opening=" [/INST]", media="{media}\n")

PLLAVA = Prompt(start="<s>", user="USER: {text}", opening=" ASSISTANT:", media="{media}\n")

_YI_VOCABULARY = 64000
"""Yi is a Llama by architecture; its vocabulary, twice as large as Vicuna's, tells the two apart."""


def prompt_for(language: Mapping[str, Any], where: Path, vicuna: Prompt = VICUNA) -> Prompt:
    """Choose the template a language model was trained with.

    Args:
        language: Its transformers configuration.
        where: Folder of the checkpoint, for errors.
        vicuna: The family's own template for Vicuna.

    Raises:
        CheckpointError: If no template is known for this language model.
    """
    kind = language["model_type"]
    if kind == "llama":
        return YI if int(language.get("vocab_size", 0)) >= _YI_VOCABULARY else vicuna
    if kind == "mistral":
        return MISTRAL
    raise CheckpointError(
        where / "config.json",
        f"no prompt template is known for a language model of type {kind!r}",
        "known: llama (Vicuna, Yi) and mistral",
    )
