"""Where a model lies: a shipped model, a run, a saved model, a published checkpoint, or a part of one."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

from vidapt.errors import CheckpointError, nearest
from vidapt.files import exists

RUN = "run.json"
BLUEPRINT = "blueprint.json"
ADAPTER = "adapter_config.json"
DUAL = "dual.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a checkpoint; nothing that could run code."""
_FETCHED_PICKLES = ("*pytorch_model*.bin",)
"""What is fetched besides where there are no safetensors; it is read without running what it may hold."""


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
            `organisation/name` on the model hub, which is downloaded (configuration, and safetensors or,
            where there are none, pickled weights) or taken from the hub's cache.

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
    if _holds_model(path):
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
    return is_dual(locate_dual(name))


def is_dual(place: Path) -> bool:
    """Whether what `locate_dual` gives is a dual encoder; files of any other sort are taken for one."""
    from vidapt.hub import is_published_dual

    if place.is_file() or (place / DUAL).is_file() or is_published_dual(place):
        return True
    # Beside a model of another sort, such files are what its training left.
    return not _holds_model(place) and any(place.glob("*.pt"))


def _holds_model(place: Path) -> bool:
    return any((place / name).is_file() for name in (BLUEPRINT, "config.json", ADAPTER, DUAL))


def _downloaded(name: str) -> Path:
    """Folder of a checkpoint of the model hub, in the hub's own cache."""
    from huggingface_hub import snapshot_download

    def fetch(patterns: tuple[str, ...]) -> Path:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))

    try:
        folder = fetch(_FETCHED)
        return folder if any(folder.glob("*.safetensors")) else fetch(_FETCHED + _FETCHED_PICKLES)
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
