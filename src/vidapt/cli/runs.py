"""`vidapt runs`: where runs stand, and in what two of them differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Json
from vidapt.cli._show import plain_errors, remark, table

if TYPE_CHECKING:
    from vidapt.measure.runs import RunListed

app = typer.Typer(
    help="List runs and where they stand; compare two.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_all(
    runs: Annotated[Path, typer.Argument(help="Folder in which runs lie.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder: state, stages, steps, loss, time, size."""
    from vidapt.measure.runs import list_runs

    with plain_errors():
        found = list_runs(runs)
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found], ensure_ascii=False))
        return
    head = ["run", "state", "stage", "steps", "loss", "time", "model", "begins with", "changed"]
    table(head, [_row(one) for one in found])
    for one in found:
        if one.damage:
            remark(f"{one.name}: {one.damage}")


@app.command("compare")
def compare(
    one: Annotated[Path, typer.Argument(help="A run's folder.")],
    other: Annotated[Path, typer.Argument(help="Another one's.")],
    as_json: Json = False,
) -> None:
    """Compare two runs: what their recipes say, and their numbers."""
    from vidapt.measure.runs import compare_runs

    with plain_errors():
        found = compare_runs(one, other)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    head = ["", one.name, other.name]
    table(head, [[place, *map(_said, pair)] for place, pair in found.recipe.items()])
    table(head, [[name, *map(_said, pair)] for name, pair in found.numbers.items()])


def _row(run: RunListed) -> list[str]:
    last = run.stages[-1] if run.stages else None
    seconds = sum(stage.seconds or 0.0 for stage in run.stages)
    done = sum(stage.finished for stage in run.stages)
    return [
        run.name,
        run.state,
        f"{last.name if last else ''} ({done} of {run.planned})",
        "" if last is None else str(last.steps),
        "" if last is None or last.loss is None else f"{last.loss:.3f}",
        f"{seconds:.0f} s",
        f"{run.model_bytes / 1e6:.1f} MB",
        run.start,
        run.changed,
    ]


def _said(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
