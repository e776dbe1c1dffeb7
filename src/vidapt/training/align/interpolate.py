"""Between the model that was and the one that was tuned: most of what is gained, little of what is lost.

Source: WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903): weights of
both models are averaged one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import check_folder
from vidapt.hub import Lack
from vidapt.models.dual_folder import save_dual
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.training.align.ends import Ends
from vidapt.training.freeze import Model
from vidapt.version import VERSION

M = TypeVar("M", bound=Model)

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Those of the paper's curves."""


def interpolated(start: M, tuned: M, share: float) -> M:
    """A new model between two of one kind, a temperature's logarithm included.

    Args:
        start: The one that was.
        tuned: What training made of it.
        share: Of the tuned one; 0 gives `start`, 1 gives `tuned`, both exactly.

    Raises:
        ConfigError: If the share is not from 0 to 1.
        CheckpointError: If the models have different tensors, or towers that compute different things.
    """
    check_share(share)
    ours, theirs = start.state_dict(), tuned.state_dict()
    _refuse_others(ours, theirs)
    for part, one, other in zip(_PARTS, _described(start), _described(tuned), strict=True):
        if one != other:
            raise CheckpointError("interpolate", f"the models' {part} are described in two ways", _PAIR)
    between = copy.deepcopy(tuned)
    with torch.no_grad():
        for name, tensor in between.state_dict().items():
            if tensor.is_floating_point():
                # As a weighted sum, both ends are met bit for bit.
                tensor.copy_((1 - share) * ours[name].to(tensor) + share * theirs[name])
    between.eval()
    return between


def check_share(share: float) -> None:
    """See that a share can be taken.

    Raises:
        ConfigError: If it is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError("share", f"{share} is not from 0 to 1", "0 is the start, 1 the tuned model")


def along(start: M, tuned: M, shares: Sequence[float] = SHARES) -> Iterator[tuple[float, M]]:
    """Models between two, one at a time, for the curve of what is gained against what is lost."""
    for share in shares:
        yield share, interpolated(start, tuned, share)


def interpolate_folders(
    start: str | Path, tuned: str | Path, out: Path, share: float, accept: Collection[Lack] = ()
) -> Path:
    """Write the model between two that are named as in a recipe's `start`; returns `out`.

    Args:
        start: The one that was.
        tuned: A run, or a saved dual encoder.
        out: A new folder.
        share: Of the tuned one.
        accept: What `start` may lack, as in the recipe that tuned it.

    Raises:
        ConfigError: If the share is not from 0 to 1.
        CheckpointError: If a model cannot be opened, they differ in their tensors, or the folder exists.
    """
    return interpolate(Ends(str(start), str(tuned), accept), out, share)


def interpolate(ends: Ends, out: Path, share: float) -> Path:
    """Write the model between two; returns `out`.

    Args:
        ends: The two.
        out: A new folder.
        share: Of the tuned one.

    Raises:
        ConfigError: If the share is not from 0 to 1.
        CheckpointError: If a model cannot be opened, they differ in their tensors, or the folder exists.
    """
    check_new(out)
    check_share(share)
    first, second, tokenizer = ends.open()
    save_between(out, interpolated(first, second, share), tokenizer, ends, share)
    return out


def check_new(out: Path) -> None:
    """See that a folder can be made.

    Raises:
        CheckpointError: If it is there.
        VidaptError: If nothing can be written there.
    """
    check_folder(out)
    if out.exists():
        raise CheckpointError(out, "exists", "name a new folder")


def save_between(
    out: Path,
    model: Model,
    tokenizer: Any,
    ends: Ends,
    share: float,
    numbers: Mapping[str, Any] | None = None,
) -> None:
    """Write a model between two, with what it is between, and numbers about it, on its card."""
    card: dict[str, Any] = {
        "between": [ends.start, ends.tuned],
        "share": share,
        **(numbers or {}),
        "versions": {"vidapt": VERSION, "torch": torch.__version__},
    }
    if isinstance(model, VideoLM):
        save_model(out, model, tokenizer, card)
    else:
        save_dual(out, model, tokenizer, card)


_PAIR = "give a model and its start"
_PARTS = ("towers", "other parts")


def _described(model: Model) -> tuple[Any, Any]:
    """What a model computes with its weights: its towers, and what stands behind them."""
    if not isinstance(model, VideoLM):
        return model.tower.cfg, None
    blueprint = model.blueprint
    return blueprint.towers, (blueprint.connector, blueprint.positions, blueprint.language.get("model_type"))


def _refuse_others(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.items()} for one in (ours, theirs)]
    if shapes[0] != shapes[1]:
        odd = sorted({name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items())})
        raise CheckpointError("interpolate", f"the models differ in {odd[:3]}", _PAIR)
