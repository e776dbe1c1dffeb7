"""`vidapt families` and `vidapt export`: what can be opened, and handed on."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Json, NumberFormat
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.hub import Rounding


class ExportTo(StrEnum):
    """Layouts that `export` writes."""

    hf = "hf"
    merged = "merged"
    adapters = "adapters"
    gguf = "gguf"
    language = "language"


class FewBits(StrEnum):
    """Formats to which `export` rounds a language model."""

    int8 = "int8"
    fp8 = "fp8"
    q8_0 = "q8_0"


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
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A shipped model's name, a run, or a checkpoint's folder; with --to adapters several runs, "
            "each perhaps as NAME=RUN.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[
        ExportTo,
        typer.Option(
            help="hf: the layout it was published in; merged: vidapt's, without adapters; adapters: one base "
            "and the adapters of each run; gguf: for llama.cpp; language: the language model alone, for a "
            "server of `caption --engine`."
        ),
    ] = ExportTo.hf,
    dtype: Annotated[NumberFormat, typer.Option(help="Number format of the weights.")] = NumberFormat.float32,
    lora_scale: Annotated[
        float | None,
        typer.Option(
            min=0, max=10, help="How much of the adapters is merged, as `eval --lora-scale` chose it."
        ),
    ] = None,
    weights: Annotated[
        FewBits | None,
        typer.Option(help="Round the language model's matrices: int8 or fp8 with hf, q8_0 with gguf."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model for other tools; docs/export.md says which server takes what, and with which command."""
    with plain_errors():
        from vidapt.files import check_folder

        if to is not ExportTo.adapters and len(model) > 1:
            raise ConfigError(
                "MODEL", f"{len(model)} are given", "only --to adapters writes several together"
            )
        if to is ExportTo.adapters and (lora_scale is not None or weights is not None):
            raise ConfigError("--to adapters", "scales and rounds nothing", "leave those options out")
        check_folder(out)  # before a model is opened
        told, remarks = _exported(model, out, to, dtype.value, lora_scale, weights)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "rounding": told and asdict(told), "remarks": remarks}))
        return
    if told is not None:
        say(
            f"rounded to {weights}: the same likeliest token at {told.agreed:.1%} of {told.positions} "
            f"positions, divergence {told.divergence:.2g} nats"
        )
    for line in remarks:
        remark(line)
    say(out)


def _exported(
    names: list[str], out: Path, to: ExportTo, dtype: str, scale: float | None, weights: FewBits | None
) -> tuple[Rounding | None, list[str]]:
    """What was rounded, and what whoever serves it has to know."""
    from vidapt.loading import export_gguf_model, export_model, export_side_by_side

    if to is ExportTo.adapters:
        return None, export_side_by_side(names, out, dtype=dtype)
    if to is ExportTo.gguf:
        return None, export_gguf_model(
            names[0], out, dtype=dtype, scale=scale, bits=weights and weights.value
        )
    bits: Any = weights and weights.value
    rounding = export_model(names[0], out, to=to.value, dtype=dtype, lora_scale=scale, bits=bits)
    serve = f"to serve it: vllm serve {out} --served-model-name {out.name} --enable-prompt-embeds"
    return rounding, [serve] if to is ExportTo.language else []
