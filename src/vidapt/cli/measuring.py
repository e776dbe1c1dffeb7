"""`vidapt eval` and `vidapt look`: what a model sees, in numbers and in pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import DEFAULT_MODEL, Device, Json, LabelFormat, Workers
from vidapt.cli._show import plain_errors, say, table


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A shipped model's name, a run's folder or a checkpoint's folder.")
    ],
    data: Annotated[Path, typer.Option(help="Label file with questions and answers.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions, metrics.json and report.html.")],
    train_data: Annotated[Path | None, typer.Option(help="Labels the majority answer is taken from.")] = None,
    controls: Annotated[bool, typer.Option(help="Also ask without the video, and with another.")] = True,
    labels: LabelFormat = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure what a model sees and what it makes up, with controls and intervals."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.locks import owned

        check_folder(out)  # before a model is opened
        from vidapt.measure.command import evaluate_model

        with owned(out), progress() as report:
            evaluation = evaluate_model(
                model,
                data,
                out,
                train_data=train_data,
                controls=controls,
                kind=labels,
                workers=workers,
                device=device,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(evaluation.to_dict()))
        return
    table(
        ["question type", "n", "accuracy", "95 % interval", "majority", "blind", "shuffled"],
        evaluation.rows(),
    )
    say(out / "report.html")


def look(
    clip: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="FILE.gif, FILE.mp4 or FILE.png (one sheet).")],
    model: Annotated[
        list[str] | None, typer.Option(help="Shipped model, run or checkpoint; several stand side by side.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer, counted from 1; the last by default.")] = None,
    head: Annotated[int | None, typer.Option(help="Head, counted from 1; the mean by default.")] = None,
    token: Annotated[
        str | None, typer.Option(help="Whose attention: class, proxies, 'proxy 1', ... or received.")
    ] = None,
    rollout: Annotated[bool, typer.Option("--rollout", help="Through all layers up to --layer.")] = False,
    word: Annotated[str | None, typer.Option(help="Where this word is, for dual encoders.")] = None,
    text: Annotated[str | None, typer.Option(help="A text in which the word stands.")] = None,
    level: Annotated[
        str, typer.Option(help="Where word and patches are compared: layer:3, encoder, projected, ...")
    ] = "projected",
    slot: Annotated[int | None, typer.Option(help="Slot of a `track` connector, from 1; 0 is all.")] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Draw what models attend to over the frames, with a number for its noise under each."""
    with plain_errors():
        from vidapt.measure.look import Wanted
        from vidapt.measure.look import look as draw

        wanted = Wanted(layer, head, token, rollout, word, text, level, slot)
        looked = draw(clip, out, model or [DEFAULT_MODEL], wanted, device=device)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "models": [one.to_dict() for one in looked]}))
        return
    table(["model", "map", "entropy", "on high-norm patches"], [one.row() for one in looked])
    say(out)
