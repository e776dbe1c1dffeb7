"""`vidapt recipes`: those that come with vidapt, and copies of them to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Json
from vidapt.cli._show import plain_errors, say, table

app = typer.Typer(
    help="List the recipes that come with vidapt, and copy one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def list_recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes that come with vidapt; `copy NAME` copies one."""
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command("list", hidden=True)
def list_by_name(as_json: Json = False) -> None:
    """List the recipes: the same as `vidapt recipes`."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from vidapt.recipe.shipped import recipes

    with plain_errors():
        found = recipes()
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found], ensure_ascii=False))
        return
    rows = [[one.name, one.title, ", ".join(one.stages), ", ".join(one.papers)] for one in found]
    table(["recipe", "what it does", "stages", "arXiv"], rows)


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A recipe's name.")],
    to: Annotated[Path, typer.Argument(help="A new file, or a folder.")] = Path(),
) -> None:
    """Copy a recipe, to change it; prints the copy's path."""
    from vidapt.recipe.shipped import copy_recipe

    with plain_errors():
        say(copy_recipe(name, to))
