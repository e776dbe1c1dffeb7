"""Frozen matrices in sixteen bits, where that changes no number and a stage computes in sixteen bits anyway.

Weights are read in float32, in which they can be trained. Those of published language models are almost
always stored in bfloat16 or float16, so that their frozen matrices can go back to it without losing a bit; a
stage with `precision: bfloat16` rounds each to bfloat16 when it is used, whatever it is kept in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Stage

SMALL = (torch.bfloat16, torch.float16)


@torch.no_grad()
def settle_formats(model: Any, stages: Sequence[Stage]) -> None:
    """Keep the language model's matrices small if none of some stages needs them otherwise, in place.

    Word embeddings and vectors stay in float32, so that what flows between the layers does, and so does
    whatever learns.

    Args:
        model: Of any kind; only a video-language model has such matrices.
        stages: Those it is to be ready for.
    """
    small = _may_be_small(model, stages)
    for weight in model.parameters():
        kept = _small(weight) if id(weight) in small else _trainable(weight)
        if kept is not weight:
            weight.data = kept


def planned_formats(model: Any, stages: Sequence[Stage]) -> dict[int, torch.dtype]:
    """Number formats of weights under `settle_formats` by their `id`; the weights need not be there.

    Matrices that may be small are, where they are stored so.
    """
    small = _may_be_small(model, stages)
    return {
        id(weight): torch.float32
        for weight in model.parameters()
        if weight.dtype in SMALL and id(weight) not in small
    }


def _may_be_small(model: Any, stages: Sequence[Stage]) -> set[int]:
    """The `id` of every weight that may be kept in sixteen bits."""
    if isinstance(model, VideoLM) and all(map(_leaves_language, stages)):
        return {id(weight) for weight in _matrices(model)}
    return set()


def _leaves_language(stage: Stage) -> bool:
    return stage.precision == "bfloat16" and stage.train.language != "full"


def _matrices(model: VideoLM) -> Iterator[Tensor]:
    """Weights of the language model's linear layers, without its output layer and its adapters."""
    head = model.language.get_output_embeddings()
    for name, layer in model.language.named_modules():
        if isinstance(layer, nn.Linear) and layer is not head and ".lora_" not in name:
            yield layer.weight


def _small(weight: Tensor) -> Tensor:
    """In the first of the small formats that holds every number exactly; else as it is."""
    if weight.dtype != torch.float32:
        return weight
    for dtype in SMALL:
        kept = weight.to(dtype)
        if torch.equal(kept.float(), weight):
            return kept
    return weight


def _trainable(weight: Tensor) -> Tensor:
    return weight.float() if weight.dtype in SMALL else weight
