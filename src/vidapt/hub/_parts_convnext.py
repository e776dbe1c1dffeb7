"""ConvNeXts by timm's names: OpenCLIP's, whose text tower lies beside them, and timm's own.

Source: the folders that OpenCLIP (`open_clip_config.json`) and timm (`config.json` with an `architecture`)
publish; their names of tensors are those in Mini-Gemini's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _timm
from vidapt.hub._files import WEIGHTS, read_json, read_json_if_there
from vidapt.hub._keys import Rule, rename
from vidapt.hub._parts_read import Held
from vidapt.hub._pickled import read_pickled
from vidapt.hub._preprocess import CLIP_MEAN, CLIP_STD
from vidapt.recipe import Spec

_OPEN_CLIP, _TIMM = "open_clip_config.json", "config.json"
_FILES = ("open_clip_model.safetensors", WEIGHTS, "open_clip_pytorch_model.bin", "pytorch_model.bin")

_UNREAD = (
    Rule(r"(?:visual\.trunk\.|visual\.)?(?:head|norm_pre)\..*", None, "the tower reads the stages alone"),
    Rule(
        r"(?:text|transformer|token_embedding|ln_final)\..*|positional_embedding|text_projection(?:\..*)?"
        r"|logit_scale|attn_mask",
        None,
        "the text tower is not taken",
    ),
)


@dataclass(frozen=True)
class ConvnextPart:
    """A ConvNeXt by timm's names.

    Attributes:
        folder: Where it lies.
        prefix: What stands in front of its names.
        norm: Mean and deviation of its pixels.
    """

    folder: Path
    prefix: str
    norm: tuple[tuple[float, ...], tuple[float, ...]]

    family = "convnext"

    @property
    def spec(self) -> Spec:
        """The tower as data; its sizes are read from its tensors.

        Raises:
            CheckpointError: If the weights are damaged, would run code, or are of another model.
        """
        shapes = {key: tuple(tensor.shape) for key, tensor in self._tensors[1].items()}
        stem, stages = (f"{self.prefix}{name}." for name in ("stem", "stages"))
        mean, std = self.norm
        arch = _timm.arch(shapes, stem, stages, self.folder)
        return {"kind": "convnext", "arch": arch, "mean": list(mean), "std": list(std)}

    def read(self, dtype: torch.dtype) -> Held:
        """Its tensors as they are stored, by our names within the tower.

        Raises:
            CheckpointError: If a tensor belongs to no part.
        """
        del dtype
        file, tensors = self._tensors
        rules = (*_timm.to_ours(f"{self.prefix}stem.", f"{self.prefix}stages.", ""), *_UNREAD)
        table = rename(tensors, rules, self.folder, self.family)
        state = {ours: tensors[theirs] for theirs, ours in table.names.items()}
        return Held(state, (file,), len(tensors), dict(table.ignored))

    @cached_property
    def _tensors(self) -> tuple[str, dict[str, Tensor]]:
        name = next((name for name in _FILES if (self.folder / name).is_file()), None)
        if name is None:
            raise CheckpointError(self.folder, f"has none of {', '.join(_FILES)}", "fetch the folder again")
        if name.endswith(".bin"):
            return name, read_pickled(self.folder / name)
        try:
            return name, load_file(self.folder / name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                self.folder / name, f"cannot be read: {error}", "fetch the file again"
            ) from error


def convnext_part(folder: Path) -> ConvnextPart | None:
    """The ConvNeXt that a folder of OpenCLIP or timm holds; None if it is no such folder.

    Raises:
        CheckpointError: If its configuration is damaged, or of another architecture.
    """
    config = read_json_if_there(folder / _OPEN_CLIP)
    if config is not None:
        vision = _section(config, "model_cfg", "vision_cfg")
        _refuse(str(vision.get("timm_model_name")), folder / _OPEN_CLIP)
        return ConvnextPart(folder, "visual.trunk.", _norm(_section(config, "preprocess_cfg")))
    if not (folder / _TIMM).is_file():
        return None
    config = read_json(folder / _TIMM)
    if "architecture" not in config or "model_type" in config:
        return None
    _refuse(str(config["architecture"]), folder / _TIMM)
    return ConvnextPart(folder, "", _norm(_section(config, "pretrained_cfg")))


def _section(config: Any, *names: str) -> dict[str, Any]:
    for name in names:
        config = config.get(name) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else {}


def _norm(fields: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(fields.get("mean", CLIP_MEAN)), tuple(fields.get("std", CLIP_STD))


def _refuse(name: str, where: Path) -> None:
    if not name.startswith("convnext_"):
        raise CheckpointError(
            where, f"describes {name!r}", "of OpenCLIP's and timm's towers ConvNeXts are read"
        )
