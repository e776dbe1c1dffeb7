"""Causal language models in folders of their own: transformers' layout, or one GGUF file.

Source: transformers' `AutoModelForCausalLM`; for GGUF, the classes whose files it translates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from vidapt.errors import ConfigError
from vidapt.hub._chat import prompt_of
from vidapt.hub._composed import cleaned
from vidapt.hub._parts_read import Held, first_line, quiet, read_module
from vidapt.recipe import Prompt, Spec

_CLASSES = ("id2label", "label2id")


@dataclass(frozen=True)
class LanguagePart:
    """A causal language model that is published alone.

    Attributes:
        folder: Where it lies.
        config: Its transformers configuration.
        gguf: Name of its file, if it is one GGUF file.
    """

    folder: Path
    config: Any
    gguf: str | None = None

    @property
    def family(self) -> str:
        """Its model type."""
        return str(self.config.model_type)

    @property
    def spec(self) -> Spec:
        """Its configuration as data."""
        fields = cleaned(self.config.to_dict())
        return {key: value for key, value in fields.items() if key not in _CLASSES and key[0] != "_"}

    def read(self, dtype: torch.dtype) -> Held:
        """Read its tensors, by transformers' names.

        Raises:
            CheckpointError: As `read_module`.
        """
        _, held = read_module(AutoModelForCausalLM, self.folder, self.config, dtype=dtype, gguf=self.gguf)
        return held

    def tokenizer(self) -> Any:
        """The tokenizer beside it.

        Raises:
            ConfigError: If there is none, or it cannot be read.
        """
        return tokenizer_of(self.folder, self.gguf)


def tokenizer_of(folder: Path, gguf: str | None = None) -> Any:
    """The tokenizer of a language model's folder.

    Args:
        folder: Where it lies.
        gguf: Name of the GGUF file it lies in, if it does.

    Raises:
        ConfigError: If there is none, or it cannot be read.
    """
    options: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
        return tokenizer if gguf is None else _as_in_the_file(tokenizer)
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        raise ConfigError(
            folder,
            f"is a language model without a tokenizer that can be read: {first_line(error)}",
            "put its tokenizer.json and tokenizer_config.json there, or give the recipe a `tokenizer`",
        ) from error


def _as_in_the_file(tokenizer: Any) -> Any:
    """Without the marks that transformers adds to any GGUF vocabulary, for which there are no rows."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    known = len(whole["model"]["vocab"])
    if len(tokenizer) <= known:
        return tokenizer
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < known]
    kept = {token["content"] for token in whole["added_tokens"]}
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    marks = {name: mark for name in names if (mark := getattr(tokenizer, name)) in kept}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)),
        chat_template=tokenizer.chat_template,
        **marks,
    )


def prompt_of_tokenizer(tokenizer: Any) -> Prompt | None:
    """The prompt that a tokenizer's chat template writes; None if there is none, or none made of turns."""
    default = Prompt(end=tokenizer.eos_token or Prompt().end)
    with TemporaryDirectory() as place:
        tokenizer.save_pretrained(place)
        found = prompt_of(Path(place), default)
    return None if found is default else found
