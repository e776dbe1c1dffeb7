"""What became of every tensor of a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor.

    Attributes:
        family: Whose key table was used.
        folder: The checkpoint.
        files: Weight files read.
        names: The checkpoint's keys that were read, and the model's keys they filled.
        missing: The model's keys that stayed empty; never any, since that is an error.
        unexpected: Tensors without a place; never any, since that is an error.
        initialised: Keys that were asked to start from random values.
        ignored: Tensors of the checkpoint that are not used, and why.
        dtype: Number format of the weights in memory.
        prompt: Where the prompt comes from, in words; empty for what reads no conversation.
        read: Gives the tensors that were matched, under the checkpoint's keys.
    """

    family: str
    folder: str
    files: tuple[str, ...]
    names: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    initialised: tuple[str, ...]
    ignored: dict[str, str]
    dtype: str
    prompt: str = field(default="", kw_only=True)
    read: Callable[[], Iterable[tuple[str, Tensor]]] = field(repr=False, compare=False)

    @property
    def matched(self) -> tuple[str, ...]:
        """The model's keys that were filled."""
        return tuple(sorted(self.names.values()))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, formats, shapes and bytes of what was matched.

        It does not depend on how the checkpoint is sharded or which layout its names follow. All files are
        read for it, when it is first asked for: opening a model only maps them.
        """
        # Hashing lets go of the interpreter, so one thread reads ahead of another.
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda item: (self.names[item[0]], _digest(item[1])), self.read())
            lines = sorted(f"{key} {digest}\n" for key, digest in found)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def line(self) -> str:
        """The report in one line, for people."""
        prompt = f"; prompt: {self.prompt}" if self.prompt else ""
        return (
            f"{self.family}: {len(self.names)} tensors matched, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.initialised)} initialised, "
            f"{len(self.ignored)} not needed ({self.dtype}){prompt}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, with the fingerprint."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("names", "read")}
        return {**told, "matched": self.matched, "fingerprint": self.fingerprint}


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
