"""`vidapt ablate`: what each stage and each setting of a recipe is worth."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat, Workers
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.cli.planning import named


def ablate(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for runs, numbers and report.html.")] = Path("ablation"),
    drop: Annotated[list[str] | None, typer.Option(help="A stage to leave out; an arm each.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as stages.1.optimizer.rates.language=1e-5: YAML; an arm each."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of every arm.")] = 3,
    budget: Annotated[
        float, typer.Option(min=0.0001, max=100, help="Every stage's length is multiplied by this.")
    ] = 1.0,
    test: Annotated[
        Path | None,
        typer.Option(help="Questions that nothing learned from; else the recipe's set `in_domain`."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Label file (or folder) to learn from.")] = None,
    start: Annotated[str | None, typer.Option(help="Model to begin with: name, run or checkpoint.")] = None,
    labels: LabelFormat = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train a recipe without a stage, or with another setting, beside the recipe itself, and compare."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.measure.ablate.arms import arms_of

        options = {"data": data and os.path.realpath(data), "start": start and named(start)}
        given = {place: value for place, value in options.items() if value is not None}
        arms = arms_of(recipe, drop or (), change or (), seeds, budget, given)
        check_folder(out)
        from vidapt.measure.ablate.carry_out import PAGE
        from vidapt.measure.ablate.carry_out import ablate as carry_out
        from vidapt.measure.ablate.result import HEAD, STAGES

        with progress() as report:
            found = carry_out(
                arms, out, report, test=test, kind=labels, budget=budget, workers=workers, device=device
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    table(HEAD, found.rows())
    if found.stages:
        table(STAGES, found.stage_rows())
    for note in found.notes:
        remark(note)
    say(out / PAGE)
