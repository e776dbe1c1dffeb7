"""Tensors by the names of a published layout, and by ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from vidapt.errors import ConfigError, nearest
from vidapt.hub._keys import rename
from vidapt.hub._open import families, rules_of


def translate(
    family: str, tensors: Mapping[str, Tensor], where: Path | str = "state_dict"
) -> dict[str, Tensor]:
    """Tensors of a published layout by our names, as `VideoLM` and `DualEncoder` have them.

    Args:
        family: Whose layout, as `vidapt families` calls it.
        tensors: By the published names, in any of the family's layouts; all of a model's or some of them.
        where: What they come from, for errors.

    Returns:
        The same, without those that nothing needs. Where authors keep several weights in one tensor, each
        stands by itself.

    Raises:
        ConfigError: If there is no such family.
        CheckpointError: If a name is not known, or two become one.
    """
    module = _module(family)
    if hasattr(module, "to_ours"):
        ours: dict[str, Tensor] = module.to_ours(tensors, where)
        return ours
    names = rename(tensors, rules_of(module, tensors), where, family).names
    return {new: tensors[old] for old, new in names.items()}


def translate_back(family: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `translate`: a model's tensors in the layout in which its family is exported.

    Args:
        family: As in `translate`.
        state: By our names, adapters merged; all of a model's or some of them.

    Raises:
        ConfigError: If there is no such family.
        CheckpointError: If a tensor has no place in that layout.
    """
    published: dict[str, Tensor] = _module(family).to_hub(state)
    return published


def _module(family: str) -> ModuleType:
    known = families()
    if family not in known:
        raise ConfigError("family", f"{family!r} is not known", nearest(family, known))
    return known[family]
