"""A simulated world's state, for objectives that ask for it by column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.training.data import ClipSamples
from vidapt.training.streamed_clips import StreamedClips

TRUTH = "truth.safetensors"


def read_truth(clips: Sequence[ClipSamples], columns: Sequence[str]) -> dict[str, Tensor]:
    """Columns of `truth.safetensors` (beside the folder of clips), one row per clip.

    Raises:
        ConfigError: If the file or a column is missing, or a clip's name is not its row's number.
    """
    if not columns:
        return {}
    if isinstance(clips, StreamedClips):
        raise ConfigError(
            "data",
            "the objective learns from a simulator's state, row by row beside labels",
            "set `read: whole`",
        )
    tables: dict[Path, dict[str, Tensor]] = {}
    rows: dict[str, list[Tensor]] = {column: [] for column in columns}
    for clip in clips:
        path = clip.media[0].path
        file = path.parent.parent / TRUTH
        if file not in tables:
            tables[file] = _table(file, columns)
        if not path.stem.isdigit():
            raise ConfigError(
                path, "is not named by its number in the simulation", f"simulate again beside {TRUTH}"
            )
        for column in columns:
            rows[column].append(tables[file][column][int(path.stem)])
    return {column: torch.stack(values) for column, values in rows.items()}


def _table(file: Path, columns: Sequence[str]) -> dict[str, Tensor]:
    if not file.exists():
        raise ConfigError(
            file,
            "is missing, and the objective learns from a simulator's state",
            "use next_token on real footage",
        )
    table = load_file(file)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ConfigError(file, f"lacks the columns {missing}", "simulate the data again with this version")
    return table
