"""`vidapt plan`: what a recipe will cost, and what those who did it before would say to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Json, MediaRoot, Workers
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.planning.numbers import RecipePlan

Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="ID", help="Advice that is not wanted.")
]


def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).")],
    data: Annotated[Path | None, typer.Option(help="Label file (or folder) to learn from.")] = None,
    media_root: MediaRoot = None,
    start: Annotated[str | None, typer.Option(help="Model to begin with: name, run or checkpoint.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Such as stages.0.epochs=2: YAML.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where the run's folder would be made.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, h100, a100-80g, l40s, rtx4090, ...")] = "cpu",
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="How many of them.")] = 1,
    utilisation: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of their highest speed that is reached.")
    ] = 0.35,
    price: Annotated[float | None, typer.Option(min=0, help="Of one device for an hour.")] = None,
    calibrate: Annotated[
        int, typer.Option(min=0, max=10_000, help="Take so many steps here and throw them away: 20 will do.")
    ] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Count the tokens of every step.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if something stands against it.")
    ] = False,
    ignore: Ignore = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Tell what a recipe will cost, before anything is spent: tokens, memory, time, disk; and advice."""
    from vidapt.recipe import load_recipe

    with plain_errors():
        parsed = load_recipe(recipe, change or (), given=given_of(data, media_root, start))
        from vidapt.planning.advice import known
        from vidapt.planning.calibration import calibrate as take_steps
        from vidapt.planning.plan import Means, plan_recipe
        from vidapt.progress import progress
        from vidapt.training.outlook import outlook

        unwanted = known(ignore or ())
        with progress() as report:
            rates = None
            if calibrate:
                rates = take_steps(parsed, max(4, calibrate), device="cpu", workers=workers, report=report)
            means = Means(device, devices, utilisation, price, runs, rates)
            ahead = outlook(parsed, report)
            found = plan_recipe(ahead, means, every_step=exact, ignore=unwanted, report=report)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        show(found)
    if check and found.errors:
        raise typer.Exit(1)


def show(found: RecipePlan) -> None:
    """Print a plan for a person."""
    from vidapt.planning.page import HEAD, advice_lines, rows, summary

    table(HEAD, rows(found))
    say(summary(found))
    for line in advice_lines(found):
        remark(line)


def given_of(
    data: Path | None, media_root: Path | None, start: str | None, name: str | None = None
) -> dict[str, Any]:
    """What options put into a recipe, by its place there; their paths are those seen from here.

    Raises:
        ConfigError: If there is a root of media and no data whose root it is.
    """
    if media_root is not None and data is None:
        raise ConfigError(
            "--media-root",
            "goes with --data",
            "in a recipe, write it into a source's `options: {media_root: ...}`",
        )
    labels: Any = data and os.path.realpath(data)
    if media_root is not None:
        labels = {"path": labels, "options": {"media_root": os.path.realpath(media_root)}}
    given = {"data": labels, "start": start and named(start), "name": name}
    return {place: value for place, value in given.items() if value is not None}


def named(model: str) -> str:
    """A model's name as it is; its folder as seen from here, not from the recipe."""
    return os.path.realpath(model) if os.path.exists(model) else model  # noqa: PTH110 - `Path.exists` may raise


def planner(runs: Path, device: str, ignore: list[str] | None) -> Any:
    """What `train` calls before its work: the plan is told, and what stands against it ends the command."""
    from vidapt.planning.advice import known
    from vidapt.planning.page import advice_lines, brief
    from vidapt.planning.plan import Means, plan_recipe, refuse
    from vidapt.training.outlook import Outlook

    unwanted = known(ignore or ())

    def look(ahead: Outlook) -> None:
        try:
            found = plan_recipe(ahead, Means("cpu", runs=runs), ignore=unwanted)
        # What cannot be planned can still be trained, or training says better what is wrong.
        except Exception as error:  # noqa: BLE001
            remark(f"plan: not known: {error}")
            return
        for line in (*brief(found, timed=device == "cpu"), *advice_lines(found)):
            remark(line)
        refuse(found)

    return look
