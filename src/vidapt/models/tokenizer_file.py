"""What a tokenizer may do with a text, looked at before it is used: none makes a book of a letter.

`tokenizer.json` of the `tokenizers` library is a program in data: replacements one behind the other, and a
template of what is put around a text. Sixteen that double every letter make 65,536 of one, and the library
aborts the whole process where memory ends. The growth of each step is known from the file.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidapt.errors import CheckpointError
from vidapt.parts import refuse_endless

_MOST_BYTES = 256 << 20
_MOST_GROWTH = 1024
"""Letters made of one. Unicode's longest compatibility form has 18; published tokenizers stay below 200."""

_MOST_AROUND = 256
"""Letters or tokens put around a text."""

_MOST_EXTRA = 10_000
"""Marks that a tokenizer of T5's kind is told to add by itself."""

_STEPS: Mapping[str, int] = {
    "BertNormalizer": 8,
    "ByteLevel": 4,
    "Lowercase": 3,
    "NFC": 3,
    "NFD": 4,
    "NFKC": 18,
    "NFKD": 18,
}
"""Growth of the steps that have no settings for it."""


def refuse_growth(folder: Path) -> None:
    """Look at the files of a tokenizer.

    Args:
        folder: Holds them; those that are absent or no JSON are told when they are read.

    Raises:
        CheckpointError: If it makes too much of a text.
        ConfigError: If the model's configuration beside it, which transformers reads too, has no end.
    """
    file = folder / "tokenizer.json"
    told = _read(file)
    for what in ("normalizer", "decoder"):
        growth, added = _growth(told.get(what))
        if growth > _MOST_GROWTH or added > _MOST_AROUND:
            raise _refused(file, f"its {what} makes {growth:,} letters of one, and adds {added:,}")
    texts, marks = _around(told.get("post_processor"))
    if texts > 1 or marks > _MOST_AROUND:
        raise _refused(file, f"its post_processor writes a text {texts:,} times, and {marks:,} tokens around")
    extra = _read(folder / "tokenizer_config.json").get("extra_ids")
    if isinstance(extra, int) and extra > _MOST_EXTRA:
        raise _refused(folder / "tokenizer_config.json", f"extra_ids is {extra:,}")
    refuse_endless(_read(folder / "config.json"), str(folder / "config.json"))


def _refused(file: Path, found: str) -> CheckpointError:
    return CheckpointError(file, f"{found}, which no published tokenizer does", "fetch the file again")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        size = file.stat().st_size
        if size > _MOST_BYTES:
            raise CheckpointError(file, f"has {size} bytes, too many for such a file", "fetch the file again")
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _growth(step: Any) -> tuple[int, int]:
    """How many letters a step makes of one at most, and how many it adds to a text."""
    if not isinstance(step, dict):
        return 1, 0
    kind = step.get("type")
    inner = step.get("normalizers") or step.get("decoders")
    if kind == "Sequence" and isinstance(inner, list):
        growth, added = 1, 0
        for one in inner:
            times, more = _growth(one)
            growth, added = growth * times, added * times + more
            if growth > _MOST_GROWTH or added > _MOST_AROUND:
                break  # of a million steps the numbers themselves would not end
        return growth, added
    if kind == "Replace":
        return _replacement(step), 0
    if kind == "Prepend":
        return 1, len(str(step.get("prepend", "")))
    if kind == "Precompiled":
        return _charsmap(step.get("precompiled_charsmap")), 0
    return _STEPS.get(str(kind), 1), 0


def _replacement(step: Mapping[str, Any]) -> int:
    content, pattern = len(str(step.get("content", ""))), step.get("pattern")
    plain = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(plain, str) and plain:
        return max(1, -(-content // len(plain)))
    return 1 + content  # an expression may match between any two letters


def _charsmap(encoded: Any) -> int:
    """The longest of SentencePiece's replacements, which stand behind a table and its length."""
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return 1
    texts = raw[4 + int.from_bytes(raw[:4], "little") :]
    return max(1, max(map(len, texts.split(b"\0")), default=1))


def _around(step: Any) -> tuple[int, int]:
    """How often a post-processor writes a text, and how many tokens beside it."""
    if not isinstance(step, dict):
        return 1, 0
    inner = step.get("processors")
    if step.get("type") == "Sequence" and isinstance(inner, list):
        texts, marks = 1, 0
        for one in inner:
            times, more = _around(one)
            texts, marks = min(texts * times, 1 << 30), min(marks * times + more, 1 << 30)
        return texts, marks
    single = step.get("single")
    if step.get("type") != "TemplateProcessing" or not isinstance(single, list):
        return 1, 0
    pieces = [piece for piece in single if isinstance(piece, dict)]
    known = step.get("special_tokens")
    known = known if isinstance(known, dict) else {}
    named = [piece["SpecialToken"] for piece in pieces if isinstance(piece.get("SpecialToken"), dict)]
    marks = sum(_count(known.get(str(mark.get("id")))) for mark in named)
    return sum("Sequence" in piece for piece in pieces), marks


def _count(mark: Any) -> int:
    ids = mark.get("ids") if isinstance(mark, dict) else None
    return len(ids) if isinstance(ids, list) else 1
