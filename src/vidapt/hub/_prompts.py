"""How published models write a conversation: the checkpoint's own chat template, or its language model's way.

Source: the authors' conversation templates (`vicuna_v1`, `chatml_direct`, `qwen_1_5`, `mistral_instruct`,
`llava_llama_3` of LLaVA; PLLaVA's benchmark template); the chat templates of Phi-3 and Gemma. An answer has
no space in front of it here: SentencePiece tokenizers write the space themselves when a stretch of text
begins, as they do within the authors' whole line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidapt.errors import CheckpointError
from vidapt.hub._chat import Marks, own_template, prompt_of
from vidapt.recipe import Prompt

Speech = Literal["vicuna", "llama_3", "yi", "chatml", "mistral", "phi_3", "gemma"]
"""A way of writing conversations that language models are trained with."""

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
"""The authors' `chatml_direct`, which breaks no line between turns."""

CHATML = Prompt(
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>",
    system="<|im_start|>system\n{text}<|im_end|>",
    user="\n<|im_start|>user\n{text}<|im_end|>",
    opening="\n<|im_start|>assistant\n",
    end="<|im_end|>",
    media="{media}\n",
)
"""The authors' `qwen_1_5`; line breaks stand in front of turns here, so that none belongs to an answer."""

LLAMA_3 = Prompt(
    start=(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "You are a helpful language and vision assistant. You are able to understand the visual content that "
        "the user provides, and assist the user with a variety of tasks using natural language.<|eot_id|>"
    ),
    user="<|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>",
    opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
    end="<|eot_id|>",
    media="{media}\n",
)
"""The authors' `llava_llama_3`."""

MISTRAL = Prompt(start="<s>", user="[INST] {text}", opening=" [/INST]", media="{media}\n")

PHI_3 = Prompt(
    start="<s>",
    system="<s><|system|>\n{text}<|end|>\n",
    user="<|user|>\n{text}<|end|>\n",
    opening="<|assistant|>\n",
    end="<|end|>",
    media="{media}\n",
)

GEMMA = Prompt(
    start="<bos>",
    user="<start_of_turn>user\n{text}<end_of_turn>\n",
    opening="<start_of_turn>model\n",
    end="<end_of_turn>",
    media="{media}\n",
)

PLLAVA = Prompt(start="<s>", user="USER: {text}", opening=" ASSISTANT:", media="{media}\n")

WRITTEN: Mapping[Speech, Prompt] = {
    "vicuna": VICUNA,
    "llama_3": LLAMA_3,
    "yi": YI,
    "chatml": CHATML,
    "mistral": MISTRAL,
    "phi_3": PHI_3,
    "gemma": GEMMA,
}

_BY_MARK: tuple[tuple[str, Speech], ...] = (
    ("<|start_header_id|>", "llama_3"),
    ("<|im_start|>", "chatml"),
    ("<start_of_turn>", "gemma"),
)
"""Marks of a tokenizer that only one way of writing uses."""

_BY_TYPE: Mapping[str, Speech] = {
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3_text": "gemma",
    "llama": "vicuna",
    "mistral": "mistral",
    "phi3": "phi_3",
    "qwen2": "chatml",
    "qwen2_vl_text": "chatml",
    "qwen2_5_vl_text": "chatml",
    "qwen3": "chatml",
    "qwen3_vl_text": "chatml",
    "qwen3_vl_moe_text": "chatml",
    "qwen3_5_text": "chatml",
    "qwen3_5_moe_text": "chatml",
}
"""The way of writing of a language model whose tokenizer has none of those marks."""


@dataclass(frozen=True)
class Habit:
    """How the checkpoints of a family write conversations.

    Attributes:
        template: Whether a checkpoint's own chat template goes first, is taken only where nothing else is
            known of the language model, or never.
        own: What the family was trained with in place of what its language models were.
        only: What all its checkpoints were trained with, whatever the language model.
        bare: Whether what stands around media is no matter of the prompt, but of the blueprint's `times`.
    """

    template: Literal["first", "last", "never"] = "first"
    own: Mapping[Speech, Prompt] = field(default_factory=dict)
    only: Prompt | None = None
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A prompt, and in words where it comes from."""

    prompt: Prompt
    source: str


def prompt_for(
    language: Mapping[str, Any],
    folder: Path,
    tokenizer: Any,
    habit: Habit | None = None,
    media: int | None = None,
) -> Found:
    """The prompt that a language model, or a model around it, was trained with.

    Args:
        language: The language model's transformers configuration.
        folder: The checkpoint, which may hold a chat template.
        tokenizer: Its tokenizer.
        habit: Of the family; None is that of a language model by itself.
        media: Id of the checkpoint's mark for an image, if it has one.

    Raises:
        CheckpointError: If there is no template, and none is known for this language model.
    """
    habit = habit or Habit()
    found = _found(language, folder, tokenizer, habit, media)
    if not habit.bare:
        return found
    return Found(found.prompt.model_copy(update={"media": "{media}"}), found.source)


def _found(
    language: Mapping[str, Any], folder: Path, tokenizer: Any, habit: Habit, media: int | None
) -> Found:
    template = own_template(folder) if habit.template != "never" else None
    marks = _marks(tokenizer, media)
    default, name = _default(language, marks, habit)
    if default is not None and (template is None or habit.template == "last"):
        return Found(default, name)
    prompt = None if template is None else prompt_of(template.text, default or Prompt(), marks)
    if template is not None and prompt is not None:
        return Found(_begun(prompt, tokenizer), f"the chat template in {template.file}")
    if default is None:
        raise CheckpointError(
            folder / "config.json",
            f"no prompt template is known for a language model of type {language.get('model_type')!r}",
            f"put its chat template beside it as chat_template.jinja; known: {', '.join(WRITTEN)}",
        )
    assert template is not None
    return Found(default, f"{name}; the chat template in {template.file} is not made of turns")


def _default(language: Mapping[str, Any], marks: Marks, habit: Habit) -> tuple[Prompt | None, str]:
    if habit.only is not None:
        return habit.only, "the family's own way of writing"
    speech = _speech(language, marks)
    if speech is None:
        return None, ""
    if speech in habit.own:
        return habit.own[speech], f"the family's own way of writing ({speech})"
    return WRITTEN[speech], f"the way of writing known for such language models ({speech})"


def _speech(language: Mapping[str, Any], marks: Marks) -> Speech | None:
    kind = str(language.get("model_type"))
    found = next((speech for mark, speech in _BY_MARK if mark in marks.known), _BY_TYPE.get(kind))
    # Yi is a Llama by architecture.
    return "yi" if found == "chatml" and kind == "llama" else found


def _marks(tokenizer: Any, media: int | None) -> Marks:
    added = {token: str(text) for token, text in tokenizer.added_tokens_decoder.items()}
    return Marks(
        bos=tokenizer.bos_token or "",
        eos=tokenizer.eos_token or "",
        media=None if media is None else added.get(media),
        known=frozenset({*added.values(), *tokenizer.all_special_tokens}),
    )


def _begun(prompt: Prompt, tokenizer: Any) -> Prompt:
    """With what the tokenizer writes in front of every text, such as <s>, where a template leaves it out."""
    first = "".join(tokenizer.convert_ids_to_tokens(tokenizer("").input_ids)[:1])
    if prompt.start.startswith(first):
        return prompt
    return prompt.model_copy(update={"start": first + prompt.start})
