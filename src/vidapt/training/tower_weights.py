"""A new model that begins with another one's tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vidapt.errors import ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import compares, locate_dual, open_model
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Spec

FIELD = "tower_weights"


def take_tower(model: VideoLM | DualEncoder, name: str) -> None:
    """Give a model the tower of another; each may write or compare.

    Args:
        model: Its tower's weights are replaced.
        name: The other one, named as a recipe's `start`.

    Raises:
        CheckpointError: If there is no such model.
        ConfigError: If the towers differ in anything that decides what they compute.
    """
    ours, theirs = towers_of(model), open_towers(name)
    wanted, found = _specs(ours), _specs(theirs)
    if wanted != found:
        raise ConfigError(FIELD, f"the tower of {name} is another one", f"describe it as it is: {found}")
    for tower, other in zip(ours, theirs, strict=True):
        tower.load_state_dict(other.state_dict(), strict=True)


def open_towers(name: str) -> Sequence[nn.Module]:
    """The towers of a model.

    Args:
        name: As a recipe's `start`.

    Raises:
        CheckpointError: If there is no such model, or it does not fit its weights.
    """
    return towers_of(open_dual_encoder(locate_dual(name))[0] if compares(name) else open_model(name)[0])


def towers_of(model: VideoLM | DualEncoder) -> Sequence[nn.Module]:
    """The towers of a model."""
    return [model.tower] if isinstance(model, DualEncoder) else list(model.towers)


def _specs(towers: Sequence[nn.Module]) -> list[Spec]:
    """Towers as data, with every field that is not as it is by itself."""
    cfgs: list[Any] = [tower.cfg for tower in towers]
    kinds = [cfg.__class__.__module__.rpartition(".")[2] for cfg in cfgs]
    return [
        {"kind": kind, **cfg.model_dump(mode="json", exclude_defaults=True)}
        for kind, cfg in zip(kinds, cfgs, strict=True)
    ]
