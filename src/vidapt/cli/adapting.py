"""`vidapt adapt`: footage and labels in, an adapted model and a report out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Json, Workers
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.cli.planning import show

if TYPE_CHECKING:
    from vidapt.adapting import Adapted
    from vidapt.planning.numbers import RecipePlan
    from vidapt.progress import ProgressReporter


def adapt(
    clips: Annotated[Path, typer.Argument(help="A folder of clips.")],
    labels: Annotated[
        Path | None, typer.Option(help="A label file of any format; by default, texts beside the clips.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Model to begin with: name, run or checkpoint; by default, a shipped one."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Results go here; run again to go on.")] = Path("adapted"),
    name: Annotated[str, typer.Option(help="Name of the run.")] = "my-clips",
    test: Annotated[
        Path | None, typer.Option(help="Labels to measure on; by default, some are held back.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="A regular expression for what names a session in a clip's path.")
    ] = None,
    general: Annotated[
        Path | None,
        typer.Option(help="Labels of what it is to go on knowing: measured before, during and after."),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Such as stages.0.epochs=2: YAML.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default a GPU, if there is one.")
    ] = None,
    workers: Workers = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Check, divide and plan; train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Adapt a model to your clips: check, divide, choose a recipe, plan, train, measure, caption, report."""
    from vidapt.progress import progress

    with plain_errors():
        _see(clips, labels, test, general)

        from vidapt.adapting import Means, Request, Talk
        from vidapt.adapting import adapt as carry_out

        request = Request(clips, labels, start, name, test, by, tuple(change or ()), general)
        with progress() as report:
            agree = _Agreement(
                report, asks=not yes and sys.stdin.isatty(), goes_on=not plan_only, quiet=as_json
            )
            adapted = carry_out(request, out, Means(device, workers), Talk(remark, report, agree))
    if adapted is None:
        remark(f"nothing was trained; the recipe is {out / 'recipe.yaml'}")
    elif as_json:
        typer.echo(json.dumps(adapted.to_dict(), ensure_ascii=False))
    else:
        _show(adapted)


def _see(clips: Path, *files: Path | None) -> None:
    """Refuse what is not there, or of no format, before seconds are spent on importing torch."""
    from vidapt.files import check_clips
    from vidapt.formats import detect

    check_clips(clips)
    for file in files:
        if file is not None:
            detect(file)


class _Agreement:
    """Shows a plan, and asks whether to go on where there is somebody to ask."""

    def __init__(self, report: ProgressReporter, *, asks: bool, goes_on: bool, quiet: bool) -> None:
        self._report, self._asks, self._goes_on, self._quiet = report, asks, goes_on, quiet

    def __call__(self, plan: RecipePlan) -> bool:
        if not self._quiet:
            show(plan)
        elif not self._goes_on:
            typer.echo(json.dumps(plan.to_dict(), ensure_ascii=False))
        if not self._goes_on or not self._asks:
            return self._goes_on
        with self._report.paused():
            return typer.confirm("Train this?", default=True, err=True)


def _show(adapted: Adapted) -> None:
    from vidapt.adapting.bench import BEFORE_AND_AFTER

    table(BEFORE_AND_AFTER, adapted.rows())
    if kept := adapted.kept_rows():
        table(["general set", "before", "after"], kept)
    say(f"report: {adapted.report}")
    say(f"model: {adapted.model}")
    say("next:")
    for command in adapted.next:
        say(f"  {command}")
