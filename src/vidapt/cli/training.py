"""`vidapt train`: what a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Device, MediaRoot, Workers
from vidapt.cli._show import plain_errors, remark, say
from vidapt.cli.planning import Ignore, given_of, planner
from vidapt.files import exists


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).")],
    data: Annotated[Path | None, typer.Option(help="Label file (or folder) to learn from.")] = None,
    media_root: MediaRoot = None,
    start: Annotated[str | None, typer.Option(help="Model to begin with: name, run or checkpoint.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    runs: Annotated[Path, typer.Option(help="The run's folder is made in here.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Such as stages.0.epochs=2: YAML. With --resume: rates, schedule, length, clipping, saving.",
        ),
    ] = None,
    from_step: Annotated[
        int | None, typer.Option(min=1, help="With --resume: from this step's checkpoint, not the newest.")
    ] = None,
    ignore: Ignore = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard (the default), wandb, mlflow, trackio."),
    ] = None,
    workers: Workers = None,
    device: Device = "cpu",
) -> None:
    """Train what a recipe says; prints the run's folder."""
    from vidapt.progress import progress
    from vidapt.recipe import load_recipe

    with plain_errors("add --resume"):
        parsed = load_recipe(recipe, change or (), given=given_of(data, media_root, start, name))
        from vidapt.training.run import TRACKED
        from vidapt.training.run import train as run_training

        if resume and not exists(runs / parsed.name):
            remark(f"there is no run in {runs / parsed.name}: it is begun anew")
        with progress() as report:
            run = run_training(
                parsed,
                runs,
                report,
                resume=resume,
                workers=workers,
                device=device,
                changes=[text.partition("=")[0] for text in change or ()],
                from_step=from_step,
                look=planner(runs, device, ignore),
                track=track or TRACKED,
            )
    say(run)
