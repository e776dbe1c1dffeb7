"""Open a model by name or path: a shipped model, a run, a saved model, or a published checkpoint."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidapt.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:
    import torch

    from vidapt.models.video_lm import VideoLM

RUN = "run.json"
BLUEPRINT = "blueprint.json"


def shipped() -> dict[str, Path]:
    """Models that come with the package, by name."""
    root = Path(str(importlib.resources.files("vidapt") / "weights"))
    return {folder.name: folder for folder in sorted(root.glob("*")) if (folder / BLUEPRINT).is_file()}


def locate(name: str | Path) -> Path:
    """Folder of a model.

    Args:
        name: A shipped model's name, a run's folder (its last finished stage counts), a model's folder,
            or a published checkpoint's folder.

    Raises:
        CheckpointError: If there is no such model; the nearest shipped name is offered.
    """
    path = Path(name)
    if not path.exists():
        known = shipped()
        if str(name) in known:
            return known[str(name)]
        raise CheckpointError(
            path, "there is no such model", f"give a folder or a shipped name; {nearest(str(name), known)}"
        )
    if (path / RUN).is_file():
        return _last_stage(path)
    if (path / BLUEPRINT).is_file() or (path / "config.json").is_file():
        return path
    raise CheckpointError(
        path, "holds neither blueprint.json, run.json nor config.json", "give a model's folder"
    )


def _last_stage(run: Path) -> Path:
    try:
        finished = json.loads((run / RUN).read_text(encoding="utf-8"))["finished"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            run / RUN, f"is damaged: {error!r}", "give the folder of a stage's model"
        ) from error
    if not finished:
        raise CheckpointError(
            run, "no stage of this run is finished", "go on with `vidapt train RECIPE --resume`"
        )
    return run / str(finished[-1]) / "model"


def open_model(
    name: str | Path, dtype: torch.dtype | None = None, device: str = "cpu"
) -> tuple[VideoLM, Any]:
    """A model in evaluation mode and its tokenizer.

    Args:
        name: See `locate`.
        dtype: Number format of the weights; None is float32.
        device: Where it runs.

    Raises:
        CheckpointError: If there is no such model, or its weights do not fit exactly.
        ConfigError: If there is no such device.
    """
    import torch

    folder = locate(name)
    place = usable_device(device)
    if (folder / BLUEPRINT).is_file():
        from vidapt.models.folder import open_model as open_own

        model, tokenizer = open_own(folder, dtype or torch.float32)
    else:
        from vidapt.hub import open_checkpoint

        model, tokenizer, _ = open_checkpoint(folder, dtype=dtype or torch.float32)
    return model.to(place), tokenizer


def usable_device(name: str) -> torch.device:
    """The device called `name`, such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        ConfigError: If torch does not know it or this machine does not have it.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError("device", f"{name!r} cannot be used: {reason}", "use cpu") from error
    return device
