"""Vision towers in folders of their own, or beside the text tower that they were trained with.

Source: transformers' `CLIPVisionModel`, `SiglipModel` and `SiglipVisionModel` (SigLIP 2 of fixed resolutions
is the same class), `Dinov2Model` with and without registers, `ConvNextModel`. `CLIPModel` is a dual encoder,
which the family `clip` opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionModel,
    ConvNextModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    SiglipVisionModel,
)

from vidapt.hub._composed import cleaned
from vidapt.hub._keys import Rule
from vidapt.hub._parts_read import Held, read_module
from vidapt.hub._preprocess import CLIP_MEAN, CLIP_STD, HALF, settings
from vidapt.recipe import Spec

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_TEXT = Rule(r"text_model\..*|logit_scale|logit_bias", None, "the text tower is not taken")
_CLASSES = Rule(r"classifier\..*", None, "it names classes")
_PROJECTION = Rule(r"(?:visual|text)_projection\.weight", None, "the tower is read before its projection")

_HANDED_ON = ("out_features", "out_indices", "stage_names")
"""Fields of a configuration: which layers a backbone hands on."""


@dataclass(frozen=True)
class _Kind:
    """How a published tower becomes one of ours.

    Attributes:
        part: Kind of our tower.
        model: Its class in transformers.
        norm: Mean and deviation of pixels where no processor says them.
        unread: What its folder may hold beside it.
        places: Beginnings of its names, and ours; what begins otherwise is not part of the tower.
    """

    part: str
    model: Any
    norm: tuple[tuple[float, ...], tuple[float, ...]]
    unread: tuple[Rule, ...]
    places: tuple[tuple[str, str], ...] = (("", "net."),)


_SIGLIP = _Kind("frame_vit", SiglipVisionModel, (HALF, HALF), (_TEXT,))

_KINDS: Mapping[str, _Kind] = {
    "clip_vision_model": _Kind("frame_vit", CLIPVisionModel, (CLIP_MEAN, CLIP_STD), (_PROJECTION,)),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "dinov2": _Kind("dinov2", Dinov2Model, _IMAGENET, (_CLASSES,)),
    "dinov2_with_registers": _Kind("dinov2", Dinov2WithRegistersModel, _IMAGENET, (_CLASSES,)),
    "convnext": _Kind(
        "convnext",
        ConvNextModel,
        _IMAGENET,
        (_CLASSES,),
        (("embeddings.", "stem."), ("encoder.stages.", "stages.")),
    ),
}
"""By `model_type`."""

TOWERS = tuple(_KINDS)
"""Model types of published towers."""


@dataclass(frozen=True)
class TowerPart:
    """A tower that is published alone.

    Attributes:
        folder: Where it lies.
        config: Its transformers configuration.
    """

    folder: Path
    config: Any

    @property
    def family(self) -> str:
        """Its model type."""
        return str(self.config.model_type)

    @property
    def spec(self) -> Spec:
        """The tower as data, with the processor's mean and deviation.

        Raises:
            CheckpointError: If the processor's file is damaged.
        """
        kind = _KINDS[self.config.model_type]
        _, fields = settings(self.folder, video=False)
        mean, std = (
            fields.get(f"image_{name}", own) for name, own in zip(("mean", "std"), kind.norm, strict=True)
        )
        fields_of = cleaned(self.vision.to_dict())
        arch = {key: value for key, value in fields_of.items() if key not in _HANDED_ON}
        return {"kind": kind.part, "arch": arch, "mean": list(mean), "std": list(std)}

    def read(self, dtype: torch.dtype) -> Held:
        """Read its tensors, by our names within the tower.

        Raises:
            CheckpointError: As `read_module`.
        """
        kind = _KINDS[self.config.model_type]
        _, held = read_module(kind.model, self.folder, self.vision, dtype=dtype, unread=kind.unread)
        state, ignored = {}, dict(held.ignored)
        for name, tensor in held.state.items():
            place = next((place for place in kind.places if name.startswith(place[0])), None)
            if place is None:
                ignored[name] = f"{kind.part} does not read it"
            else:
                state[place[1] + name.removeprefix(place[0])] = tensor
        return Held(state, held.files, held.tensors, ignored)

    @property
    def kind(self) -> Any:
        """Its class in transformers."""
        return _KINDS[self.config.model_type].model

    @property
    def vision(self) -> Any:
        """The configuration of the tower alone."""
        return getattr(self.config, "vision_config", self.config)
