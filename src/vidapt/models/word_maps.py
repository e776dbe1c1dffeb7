"""Where in a clip a word is: how alike its tokens and the clip's patches are, in a dual encoder.

Source: the similarities of SPARC (Bica et al. 2024, arXiv 2401.09865, equation 2): the inner product of a
token and a patch, brought to 0..1 over the patches.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.attention_maps import walk
from vidapt.models.dual_encoder import DualEncoder

_LAYER = re.compile(r"layer:([1-9]\d*)")
_LEVELS = "embedding, layer:1, layer:2, ..., encoder, projected"


def patch_states(model: DualEncoder, views: Tensor, level: str) -> Tensor:
    """Patches of one clip at a level of the vision tower.

    Args:
        model: A dual encoder.
        views: [1, T, 3, H, W].
        level: `embedding`, `layer:<i>` (after the i-th layer, from 1 on), `encoder` (after the last one) or
            `projected`: as the class token is normalised and projected.

    Returns:
        [T, h, w, C].

    Raises:
        ConfigError: If there is no such level.
    """
    path = walk(model.tower, views)
    states = list(path.states())
    cells = path.cells(_at(states, level, "vision tower"))
    if level != "projected":
        return cells
    return model.project_cells(cells.flatten(0, 2).unsqueeze(0)).reshape(*cells.shape[:3], -1)


def token_states(model: DualEncoder, ids: Tensor, mask: Tensor | None, level: str) -> Tensor:
    """Tokens of texts at a level of the text tower.

    Args:
        model: A dual encoder.
        ids: [N, L] long.
        mask: [N, L], 1 where a token is real; None where all are.
        level: As of `patch_states`; `encoder` is after the last norm.

    Returns:
        [N, L, C].

    Raises:
        ConfigError: If there is no such level, or the texts are too long.
    """
    *states, last = model.text.layers(ids, mask)
    if level == "projected":
        projected = model.text_projection(last)
        assert isinstance(projected, Tensor)
        return projected
    return last if level == "encoder" else _at(states, level, "text tower")


@torch.inference_mode()
def word_map(
    model: DualEncoder, views: Tensor, ids: Tensor, of: Tensor, level: str = "projected"
) -> tuple[Tensor, Tensor]:
    """Where the tokens of a word are.

    Args:
        model: A dual encoder.
        views: [1, T, 3, H, W].
        ids: [1, L] long: a text.
        of: [L] bool: which of its tokens are the word's, at least one.
        level: Of both towers, which must be equally wide there.

    Returns:
        [T, h, w] in 0..1, averaged over the word's tokens; and the patches' norms, [T, h, w].

    Raises:
        ConfigError: If there is no such level, or the towers differ in width there.
    """
    patches = patch_states(model, views, level)
    tokens = token_states(model, ids, None, level)[0, of]
    if tokens.shape[-1] != patches.shape[-1]:
        raise ConfigError(
            "--level",
            f"at {level!r} tokens are {tokens.shape[-1]} wide and patches {patches.shape[-1]}",
            "compare them at `projected`",
        )
    alike = (patches.flatten(0, 2) @ tokens.T).T
    low, high = alike.amin(1, keepdim=True), alike.amax(1, keepdim=True)
    # A token to which all patches are alike is nowhere.
    alike = torch.where(high > low, (alike - low) / (high - low).clamp_min(1e-30), torch.zeros_like(alike))
    return alike.mean(0).reshape(patches.shape[:3]), patches.norm(dim=-1)


def _at(states: list[Tensor], level: str, tower: str) -> Tensor:
    """One of the embedding and the states after each layer."""
    depth = len(states) - 1
    if level in ("embedding", "encoder", "projected"):
        return states[0 if level == "embedding" else depth]
    layer = _LAYER.fullmatch(level)
    if layer is None:
        raise ConfigError("--level", f"there is no level {level!r}", f"known: {_LEVELS}")
    if int(layer[1]) > depth:
        raise ConfigError("--level", f"the {tower} has {depth} layers, not {layer[1]}", f"known: {_LEVELS}")
    return states[int(layer[1])]
