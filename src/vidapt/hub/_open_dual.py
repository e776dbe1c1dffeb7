"""Open any dual encoder: its family is the one that knows the tensors' names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import _dual, clip, clip_vip, long_clip
from vidapt.hub._files import read_json_if_there
from vidapt.hub._keys import Rule
from vidapt.hub._report import LoadReport
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import is_dual_folder, open_dual
from vidapt.models.folder import WEIGHTS, read_tensors, read_tokenizer

Lack = Literal["image_clip", "short_clip"]
"""What weights may lack: a temporal table and proxies, or positions for more than 77 tokens."""

OWN = "dual_encoder"
"""What a load report calls a folder that vidapt saved."""

_FAMILIES: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    (clip.FAMILY, clip.RULES),
    (clip_vip.FAMILY, clip_vip.RULES),
    (long_clip.FAMILY, long_clip.RULES),
)
_COMPARING = {kind for family in (clip, clip_vip, long_clip) for kind, _ in family.CLAIMS}
"""Model types whose checkpoints are dual encoders."""

_STRETCHED = ("positional_embedding_res",)


def open_dual_encoder(
    path: str | Path,
    *,
    accept: Collection[Lack] = (),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    heads: _dual.Heads | None = None,
    edit: _dual.Edit | None = None,
) -> tuple[DualEncoder, Any | None, LoadReport]:
    """Open a dual encoder that was published or saved.

    Args:
        path: An authors' `.pt` file, a folder with published weights, or a folder that vidapt saved.
        accept: Weights that may begin as published although they lack something; see `recipe.Recipe`. What
            begins so is named in the report. Weights that lack nothing are opened as they are, and so are
            those that are not accepted as something else: image CLIP is a dual encoder that sees every frame
            alone.
        seed: Of what begins at random.
        dtype: Number format of the weights in memory.
        heads: How many the vision and the text tower have, which authors' files do not tell; None: as many of
            64 numbers as there is room for, as in every published one.
        edit: Changes the blueprint before the model is built, for instance its frames or how it pools.

    Returns:
        The model in evaluation mode; its tokenizer, or None where there is no `tokenizer.json` in the folder
        or beside the file; and what became of every tensor.

    Raises:
        CheckpointError: If it is damaged, would run code, is of no known family, or does not fit.
        ConfigError: If the heads are given, and are known.
    """
    path = Path(path)
    if is_dual_folder(path):
        if heads is not None:
            raise ConfigError("heads", f"are told by the folder {path}", "leave them out, or give `edit`")
        model, tokenizer = open_dual(path, dtype, edit)
        return model, tokenizer, _own_report(path, model, dtype)
    keys = list(_dual.read_weights(path)[0])
    family = family_of_dual(keys, path)
    begins = family == clip.FAMILY and "image_clip" in accept
    if begins or family == clip_vip.FAMILY:
        model, report = clip_vip.open_dual_encoder(
            path, start_from_image=begins, seed=seed, dtype=dtype, heads=heads, edit=edit
        )
    elif family == clip.FAMILY:
        model, report = clip.open_dual_encoder(path, dtype=dtype, heads=heads, edit=edit)
    else:
        lengthen = "short_clip" in accept and not _has(keys, _STRETCHED)
        model, report = long_clip.open_dual_encoder(
            path, lengthen=lengthen, dtype=dtype, heads=heads, edit=edit
        )
    folder = path if path.is_dir() else path.parent
    tokenizer = read_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    return model, tokenizer, report


def is_published_dual(folder: Path) -> bool:
    """Whether a folder holds a published dual encoder, as its `config.json` has it.

    Raises:
        CheckpointError: If that file is damaged.
    """
    config = read_json_if_there(folder / "config.json")
    return config is not None and config.get("model_type") in _COMPARING


def family_of_dual(keys: Iterable[str], where: Path) -> str:
    """The family whose key table knows most of the names; of several, the one with the smaller table.

    Raises:
        CheckpointError: If none knows any.
    """
    names = list(keys)
    known = {
        family: sum(any(re.fullmatch(rule.pattern, name) for rule in rules) for name in names)
        for family, rules in _FAMILIES
    }
    best = max(known, key=lambda family: known[family])
    if not known[best]:
        raise CheckpointError(
            where,
            f"is no dual encoder: no name is known, such as {names[:2]}",
            f"known: {', '.join(known)}; of any other model give the folder, not a file in it",
        )
    return best


def _has(keys: Iterable[str], endings: tuple[str, ...]) -> bool:
    return any(key.endswith(endings) for key in keys)


def _own_report(folder: Path, model: DualEncoder, dtype: torch.dtype) -> LoadReport:
    return LoadReport(
        family=OWN,
        folder=str(folder),
        files=(WEIGHTS,),
        names={name: name for name in model.state_dict()},
        missing=(),
        unexpected=(),
        initialised=(),
        ignored={},
        dtype=str(dtype).removeprefix("torch."),
        read=partial(_tensors, folder),
    )


def _tensors(folder: Path) -> list[tuple[str, torch.Tensor]]:
    return list(read_tensors(folder).items())
