"""`vidapt gauges`: cheap numbers of models, and whether they say anything of later results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat, MediaRoot, Workers
from vidapt.cli._show import plain_errors, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.measure.gauging.gauge import GaugeSet

app = typer.Typer(
    help="Cheap numbers of what models see; whether they say anything of later results.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Models, such as runs/NAME/01-STAGE/model.")
]
Data = Annotated[Path, typer.Option(help="Labels that no model has learned from.")]
Clips = Annotated[int, typer.Option(min=2, help="Most clips.")]
Questions = Annotated[int, typer.Option(min=1, help="Most questions.")]
Side = Annotated[
    int | None, typer.Option(min=8, help="Also with pictures whose longest side has so many pixels.")
]


@app.command("show", short_help="Gauge models.")
def show(
    models: Models,
    data: Data,
    clips: Clips = 64,
    questions: Questions = 256,
    small: Side = None,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Gauge models on a fixed set: what looking gives them, what they tell apart, what they refuse."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.measure.gauging.gauge import WORDS, gauge

        wanted = _set(data, labels, media_root, clips, questions, small, workers, device)
        with progress() as report:
            found = [gauge(model, wanted, report) for model in models]
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found]))
        return
    names = [name for name in WORDS if any(name in one.gauges for one in found)]
    rows = [
        [name, *(f"{one.gauges[name]:.3f}" if name in one.gauges else "-" for one in found), WORDS[name]]
        for name in names
    ]
    table(["gauge", *(one.model for one in found), "what it is"], rows)


@app.command("study", short_help="Does a gauge say anything of results?")
def study(
    models: Models,
    data: Data,
    test: Annotated[Path, typer.Option(help="Questions whose answers are the result; others than --data.")],
    out: Annotated[Path, typer.Option(help="Folder for gauges.json, report.html and all that was measured.")],
    result: Annotated[
        list[str] | None,
        typer.Option(help="CHECKPOINT=MODEL: what was made of a checkpoint; its answers are the result."),
    ] = None,
    clips: Clips = 64,
    questions: Questions = 256,
    small: Side = None,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Relate gauges of checkpoints to results, and say which gauges to retire."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.locks import owned

        check_folder(out)
        from vidapt.measure.command import Asking
        from vidapt.measure.gauging.page import write_study
        from vidapt.measure.gauging.study import HEAD
        from vidapt.measure.gauging.study import study as carry_out

        wanted = _set(data, labels, media_root, clips, questions, small, workers, device)
        with owned(out), progress() as report:
            asking = Asking(test, None, (), labels, media_root, workers, device, report=report)
            found = carry_out(models, wanted, _results(result or []), asking, out, report)
            write_study(out / "report.html", found)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    table(list(HEAD), found.rows())
    say(out / "report.html")


def _set(
    data: Path,
    labels: str | None,
    media_root: Path | None,
    clips: int,
    questions: int,
    small: int | None,
    workers: int | None,
    device: str,
) -> GaugeSet:
    """What models are gauged on, as options say it."""
    from vidapt.measure.gauging.gauge import gauge_set

    return gauge_set(
        data,
        kind=labels,
        media_root=media_root,
        clips=clips,
        questions=questions,
        side=small,
        workers=workers,
        device=device,
    )


def _results(given: list[str]) -> dict[str, str | Path]:
    pairs = [one.partition("=") for one in given]
    for checkpoint, equals, model in pairs:
        if not (checkpoint and equals and model):
            raise ConfigError("--result", f"{checkpoint!r} is no pair", "write CHECKPOINT=MODEL")
    return {checkpoint: model for checkpoint, _, model in pairs}
