"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MODEL = "billiards-home"


class NumberFormat(StrEnum):
    """Number formats of stored weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Model = Annotated[str, typer.Option(help="A shipped model's name, a run's folder or a checkpoint's folder.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Decoding processes; one per core by default.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Place = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto spreads over all devices.")]
Fps = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, max=1000, help="Pictures per second of a folder of pictures."),
]
MediaRoot = Annotated[
    Path | None, typer.Option(help="Where the media lie, if not in the label file's folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Format = Annotated[
    NumberFormat | None,
    typer.Option(
        help="Number format of the weights; by default bfloat16 on GPUs that have it, else float32."
    ),
]
BitsOption = Annotated[
    int | None, typer.Option("--bits", min=4, max=8, help="4 or 8: quantise the language model.")
]
LabelFormat = Annotated[
    str | None, typer.Option("--format", help="Format of the labels; told from their content by default.")
]
