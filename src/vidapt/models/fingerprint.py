"""What tells two sets of weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from vidapt.models.folder import untied
from vidapt.models.video_lm import VideoLM


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """First 24 hex digits of a hash of names, shapes, number formats and values of weights."""
    seen = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        seen.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        seen.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return seen.hexdigest()[:24]


class WeightsAnywhere(Mapping[str, Tensor]):
    """A model's weights by name, those that share memory once.

    Layers that `placement.spread` keeps in main memory or on disk are fetched when they are asked for, one
    at a time, so that a model too large for its devices can be read.

    Args:
        model: On one device, or spread over several.
    """

    def __init__(self, model: VideoLM) -> None:
        tied = {f"language.{name}" for name in model.language.all_tied_weights_keys}
        self._model = model
        # Where a weight is elsewhere, its memory cannot tell that it is shared.
        self._tensors = {name: tensor for name, tensor in untied(model).items() if name not in tied}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        return self._fetched(name) if tensor.is_meta else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _fetched(self, name: str) -> Tensor:
        from accelerate.utils import align_module_device

        place, _, own = name.rpartition(".")
        module = self._model.get_submodule(place)
        with align_module_device(module, torch.device("cpu")):
            tensor = getattr(module, own)
        assert isinstance(tensor, Tensor)
        return tensor.detach()
