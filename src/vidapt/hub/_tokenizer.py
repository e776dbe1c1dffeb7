"""The tokenizer of a checkpoint's folder.

Source: `tokenizer.json`, which transformers reads; or SentencePiece's `tokenizer.model` alone, as authors
publish it, from which the class that `tokenizer_config.json` names is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from tokenizers import normalizers
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.models.llama.tokenization_llama import LlamaTokenizer

from vidapt.errors import CheckpointError
from vidapt.hub._files import read_json_if_there
from vidapt.hub._quiet import quiet
from vidapt.models.tokenizer_file import refuse_growth

JSON, PIECES, SETTINGS = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"

_SPACE = "▁"
"""How SentencePiece writes a space."""


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        CheckpointError: If there is none, it is damaged, or it makes too much of a text.
        ConfigError: If the configuration beside it describes more layers than any model has.
    """
    refuse_growth(folder)
    settings = read_json_if_there(folder / SETTINGS) or {}
    try:
        # About model types that it has no class for.
        with quiet("transformers.configuration_utils"):
            if not (folder / JSON).is_file() and (folder / PIECES).is_file():
                return _of_pieces(folder, settings)
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except StrictDataclassError as error:  # which class it is, is looked up in the model's configuration
        reason = " ".join(str(error).split())
        raise CheckpointError(
            folder / "config.json", f"cannot be used: {reason}", "fetch it again, or check what was edited"
        ) from error
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        # The text of an error of encoding does not hold the whole file, as its other form does.
        reason = f"{type(error).__name__}: {error}" if isinstance(error, UnicodeError) else repr(error)
        raise CheckpointError(
            folder,
            f"its tokenizer cannot be read: {reason}",
            f"the folder needs {JSON} or {PIECES}, and {SETTINGS}",
        ) from error


def is_mark(tokenizer: Any, token: int) -> bool:
    """Whether an id stands for a mark, such as `</s>`, that no text is written with."""
    return token in tokenizer.added_tokens_decoder or token in tokenizer.all_special_ids


def _of_pieces(folder: Path, settings: Mapping[str, Any]) -> Any:
    """The class that is named, where transformers would go by the model's type and write no first space."""
    named = str(settings.get("tokenizer_class") or "LlamaTokenizer").removesuffix("Fast")
    kind = tokenizer_class_from_name(named)
    if kind is None:
        raise ValueError(f"transformers has no tokenizer class {named!r}")
    # A folder that does not say is of a time when `legacy` was the rule.
    legacy = settings.get("legacy") is not False
    tokenizer = kind.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, legacy=legacy
    )
    if tokenizer.vocab_size <= len(tokenizer.all_special_ids):
        raise ValueError(f"{PIECES} holds no pieces of words")
    if isinstance(tokenizer, LlamaTokenizer) and legacy:
        # SentencePiece writes a space in front of every stretch between marks, also of one that begins with a
        # space; transformers' class leaves that one out.
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
        )
        backend.pre_tokenizer = None
    return tokenizer
