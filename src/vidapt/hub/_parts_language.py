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

from vidapt.errors import CheckpointError
from vidapt.hub._composed import cleaned
from vidapt.hub._parts_read import Held, read_module
from vidapt.hub._prompts import prompt_for
from vidapt.hub._quiet import first_line, quiet
from vidapt.hub._tokenizer import read_tokenizer
from vidapt.recipe import Prompt, Spec


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
        return {key: value for key, value in fields.items() if key[0] != "_"}

    def read(self, dtype: torch.dtype) -> Held:
        """Read its tensors, by transformers' names.

        Raises:
            CheckpointError: As `read_module`.
        """
        _, held = read_module(AutoModelForCausalLM, self.folder, self.config, dtype=dtype, gguf=self.gguf)
        return held

    def tokenizer(self) -> Any:
        """The tokenizer beside it, or in its file.

        Raises:
            CheckpointError: If there is none, or it cannot be read.
        """
        if self.gguf is None:
            return read_tokenizer(self.folder)
        try:
            with quiet():
                found = AutoTokenizer.from_pretrained(
                    str(self.folder), gguf_file=self.gguf, local_files_only=True, trust_remote_code=False
                )
            return _as_in_the_file(found)
        except Exception as error:  # what damaged files raise is not documented, and of every kind
            raise CheckpointError(
                self.folder / self.gguf,
                f"its tokenizer cannot be read: {first_line(error)}",
                "fetch it again",
            ) from error

    def prompt(self, tokenizer: Any) -> tuple[Prompt, str]:
        """How it is spoken to, and in words where that comes from.

        Args:
            tokenizer: Its own, or another one.

        Raises:
            CheckpointError: If it has no chat template, and no way of writing is known for it.
        """
        if self.gguf is None:
            found = prompt_for(self.spec, self.folder, tokenizer)
            return found.prompt, found.source
        with TemporaryDirectory() as place:
            tokenizer.save_pretrained(place)
            found = prompt_for(self.spec, Path(place), tokenizer)
        return found.prompt, found.source


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
