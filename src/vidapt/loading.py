"""Open a model by name or path: a shipped model, a run, a saved model, or a published checkpoint."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidapt.errors import CheckpointError, ConfigError, nearest
from vidapt.files import exists

if TYPE_CHECKING:
    import torch

    from vidapt.hub import LoadReport
    from vidapt.models.placement import Bits
    from vidapt.models.video_lm import VideoLM

RUN = "run.json"
BLUEPRINT = "blueprint.json"
ADAPTER = "adapter_config.json"
DUAL = "dual.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a checkpoint; nothing that could run code."""


def shipped() -> dict[str, Path]:
    """Models that come with the package, by name."""
    root = Path(str(importlib.resources.files("vidapt") / "weights"))
    folders = [folder for folder in sorted(root.glob("*")) if folder.is_dir()]
    return {
        folder.name: folder for folder in folders if any((folder / n).is_file() for n in (BLUEPRINT, DUAL))
    }


def locate(name: str | Path) -> Path:
    """Folder of a model.

    Args:
        name: A shipped model's name, a run's folder (its last finished stage counts), a model's folder,
            a published checkpoint's folder, that of low-rank adapters (peft) on one, or its
            `organisation/name` on the model hub, which is downloaded (safetensors and configuration only)
            or taken from the hub's cache.

    Raises:
        CheckpointError: If there is no such model; the nearest shipped name is offered.
    """
    path = Path(name)
    if not exists(path):
        known = shipped()
        if str(name) in known:
            return known[str(name)]
        if _HUB_ID.fullmatch(str(name)):
            return _downloaded(str(name))
        raise CheckpointError(
            path, "there is no such model", f"give a folder or a shipped name; {nearest(str(name), known)}"
        )
    if (path / RUN).is_file():
        return _last_stage(path)
    if any((path / name).is_file() for name in (BLUEPRINT, "config.json", ADAPTER, DUAL)):
        return path
    if path.is_file():
        raise CheckpointError(
            path,
            "is a file, and a language model is a folder",
            "give its folder; the file of a dual encoder is for `vidapt match` and `vidapt look`",
        )
    raise CheckpointError(
        path, f"holds neither {BLUEPRINT}, {RUN}, config.json nor {ADAPTER}", "give a model's folder"
    )


def locate_dual(name: str | Path) -> Path:
    """File or folder of a dual encoder: what `locate` finds, or an authors' file, or a folder with one.

    Raises:
        CheckpointError: If there is no such model.
    """
    path = Path(name)
    if path.is_file() or (path.is_dir() and not (path / RUN).is_file()):
        return path
    return locate(name)


def compares(name: str | Path) -> bool:
    """Whether a model compares clips with texts and writes none.

    Raises:
        CheckpointError: If there is no such model.
    """
    from vidapt.hub import is_published_dual

    path = Path(name)
    if path.is_file():
        return True
    try:
        folder = locate(name)
    except CheckpointError:
        if path.is_dir() and any(path.glob("*.pt")):
            return True
        raise
    return (folder / DUAL).is_file() or is_published_dual(folder)


def _downloaded(name: str) -> Path:
    """Folder of a checkpoint of the model hub, in the hub's own cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FETCHED)))
    except Exception as error:  # the hub client raises errors of several libraries
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            name,
            f"is neither a folder nor a model that could be fetched: {reason}",
            "check the path or the name, or download the checkpoint and give its folder",
        ) from error


def _last_stage(run: Path) -> Path:
    try:
        finished = json.loads((run / RUN).read_text(encoding="utf-8"))["finished"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(run, repr(error)) from error
    if not isinstance(finished, list) or not all(isinstance(s, str) and Path(s).name == s for s in finished):
        raise _damaged(run, "`finished` is no list of folders")
    if not finished:
        raise CheckpointError(
            run, "no stage of this run is finished", "go on with `vidapt train RECIPE --resume`"
        )
    model: Path = run / finished[-1] / "model"
    if not exists(model):
        raise CheckpointError(model, "the model of this run's last stage is gone", "train the run again")
    return model


def _damaged(run: Path, why: str) -> CheckpointError:
    return CheckpointError(run / RUN, f"is damaged: {why}", "give the folder of a stage's model")


def open_model(
    name: str | Path,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    tell: Callable[[LoadReport], object] | None = None,
    bits: Bits | None = None,
) -> tuple[VideoLM, Any]:
    """A model in evaluation mode and its tokenizer.

    Args:
        name: See `locate`.
        dtype: Number format of the weights or its name; None is float32.
        device: Where it runs; `auto` spreads the language model over the devices there are.
        tell: Called with what became of every tensor, where a published checkpoint is opened.
        bits: Quantise the language model, for answering only; needs bitsandbytes.

    Raises:
        CheckpointError: If there is no such model, its weights do not fit exactly, or it names a part outside
            vidapt whose module has not been imported.
        ConfigError: If there is no such device, or bitsandbytes is needed and absent.
    """
    import torch

    from vidapt.models.placement import quantize, spread

    folder = locate(name)
    kept = getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32
    place = None if device == "auto" else usable_device(device)
    if (folder / DUAL).is_file():
        raise CheckpointError(
            folder, "a dual encoder compares clips with texts and writes none", "match clips with it instead"
        )
    if (folder / BLUEPRINT).is_file():
        from vidapt.models.folder import open_model as open_own

        model, tokenizer = open_own(folder, kept)
    else:
        model, tokenizer, report = _open_published(folder, kept)
        if tell is not None:
            tell(report)
    if bits is not None:
        quantize(model, bits)
    if place is None:
        spread(model)
        return model, tokenizer
    return model.to(place), tokenizer


def _open_published(folder: Path, dtype: torch.dtype) -> tuple[VideoLM, Any, LoadReport]:
    """A published checkpoint, or what was trained on the one that its folder names."""
    from vidapt.hub import base_named_by, base_of, open_adapter, open_checkpoint

    if (folder / "config.json").is_file():
        named = base_named_by(folder)
        base = None if named is None else _base(folder, named, "config.json")
        return open_checkpoint(folder, dtype=dtype, base=base)
    return open_adapter(folder, _base(folder, base_of(folder), ADAPTER), dtype)


def _base(folder: Path, named: str, told_in: str) -> Path:
    """Folder of the checkpoint beneath another, which a path may name from that one's folder on."""
    beside = folder / named
    try:
        return locate(beside if exists(beside) else named)
    except CheckpointError as error:
        raise CheckpointError(
            folder / told_in,
            f"the weights here lie on those of {named!r}: {error.where} {error.found}",
            "download that checkpoint and write its folder in place of the name",
        ) from error


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


def export_model(name: str | Path, out: Path, *, to: str, dtype: str) -> None:
    """Write a model for other tools; see `hub.export_hf` and `hub.export_merged`.

    Args:
        name: See `locate`.
        out: A new folder.
        to: `hf` or `merged`.
        dtype: Name of torch's number format.

    Raises:
        CheckpointError: If the model cannot be opened or has no such layout, or the folder exists.
    """
    import torch

    from vidapt.hub import export_hf, export_merged
    from vidapt.models.folder import read_card

    folder, stored_as = locate(name), getattr(torch, dtype)
    model, tokenizer = open_model(name)
    if to == "hf":
        export_hf(out, model, tokenizer, stored_as)
    else:
        card = {**read_card(folder), "merged_from": str(name)}
        export_merged(out, model, tokenizer, card, stored_as)
