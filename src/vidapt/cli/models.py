"""`vidapt families` and `vidapt export`: what can be opened, and handed on."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Json, NumberFormat
from vidapt.cli._show import plain_errors, say, table


class ExportTo(StrEnum):
    """Layouts that `export` writes."""

    hf = "hf"
    merged = "merged"


def families(as_json: Json = False) -> None:
    """List the published architectures that can be opened."""
    with plain_errors():
        from vidapt.hub import describe_families

        rows = describe_families()
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table(["family", "what it is", "tokens per clip", "licence of the published weights"],
           [[row.name, row.title, row.tokens, row.licence] for row in rows])  # fmt: skip


def export(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a run, or a checkpoint's folder.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[
        ExportTo, typer.Option(help="hf: the layout it was published in; merged: vidapt's, without adapters.")
    ] = ExportTo.hf,
    dtype: Annotated[NumberFormat, typer.Option(help="Number format of the weights.")] = NumberFormat.float32,
    lora_scale: Annotated[
        float | None,
        typer.Option(
            min=0, max=10, help="How much of the adapters is merged, as `eval --lora-scale` chose it."
        ),
    ] = None,
) -> None:
    """Write a model for other tools: transformers (and so vLLM) opens what `--to hf` writes."""
    with plain_errors():
        from vidapt.files import check_folder

        check_folder(out)  # before a model is opened
        from vidapt.loading import export_model

        export_model(model, out, to=to.value, dtype=dtype.value, lora_scale=lora_scale)
    say(out)
