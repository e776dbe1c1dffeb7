"""`vidapt demo`: everything once, in minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Json, Workers
from vidapt.cli._show import plain_errors, remark, say, table


def demo(
    out: Annotated[Path, typer.Option(help="Results go here; run again to go on.")] = Path("demo"),
    captions: Annotated[Path | None, typer.Option(help="Also caption this folder of clips.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: few clips, little training.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Adapt the shipped model to a venue it has never seen, and show before and after."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.adapting.bench import BEFORE_AND_AFTER
        from vidapt.demo import FULL, QUICK, run_demo
        from vidapt.locks import owned

        with owned(out), progress() as report:
            size = QUICK if quick else FULL
            result = run_demo(out, report=report, captions=captions, size=size, workers=workers)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    table(BEFORE_AND_AFTER, result.rows())
    say(f"report: {result.report}")
    if quick:
        remark("a smoke run: so few clips and steps tell nothing of what adapting gains")
