"""`vidapt eval` and `vidapt look`: what a model sees, in numbers and in pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import DEFAULT_MODEL, Device, Json, LabelFormat, MediaRoot, Workers
from vidapt.cli._show import numbers, plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.measure.command import Asking


Tables = list[tuple[Sequence[str], list[list[str]]]]


@dataclass(frozen=True)
class Judged:
    """What a user says of protocols and judges."""

    protocols: Sequence[str]
    judge: Path | None
    verdicts: Path | None
    offline: bool
    check: Path | None
    check_count: int

    def refuse(self, why: str) -> None:
        """See that nothing is said of protocols where none is carried out."""
        given = {
            "--protocol": self.protocols,
            "--judge": self.judge,
            "--verdicts": self.verdicts,
            "--offline": self.offline,
            "--check": self.check,
        }
        for name, value in given.items():
            if value:
                raise ConfigError(name, why, "leave it out")

    def measure(self, models: list[str], asking: Asking, out: Path) -> tuple[Any, Tables, list[str]]:
        """By protocols."""
        from vidapt.measure.protocols.run import Wanted, evaluate_protocols

        wanted = Wanted(self.protocols, self.judge, self.offline, self.verdicts, self.check, self.check_count)
        found = evaluate_protocols(models, asking, wanted, out)
        remarks = list(found.remarks())
        if found.to_check:
            remarks.append(f"{self.check}: fill in `human` with yes or no, and run the same command again")
        return found.to_dict(), found.tables(), remarks

    def plainly(self, models: list[str], asking: Asking, out: Path) -> tuple[Any, Tables, list[str]]:
        """By comparing with what labels accept."""
        from vidapt.measure.command import evaluate_model, evaluate_models

        self.refuse("is of no use without --protocol")
        if len(models) == 1:
            one = evaluate_model(models[0], asking, out)
            return one.to_dict(), [one.table()], list(one.amiss)
        several = evaluate_models(models, asking, out)
        amiss = [f"{name}: {told}" for name, one in several.evaluations.items() for told in one.amiss]
        return several.to_dict(), several.tables(), amiss


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A shipped model's name, a run's or checkpoint's folder, a YAML file about a server, or a "
            "file of answers; several are compared with the first.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Label file with questions and answers.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions, metrics.json and report.html.")],
    train_data: Annotated[Path | None, typer.Option(help="Labels the majority answer is taken from.")] = None,
    controls: Annotated[
        str,
        typer.Option(
            help="What models are also asked with: blind, other_clip, shuffled_frames, one_frame; all; none."
        ),
    ] = "all",
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="How answers are measured; several are carried out together. See docs/measure.md."),
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="YAML file about the judge, and options of protocols.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(help="verdicts.jsonl of another evaluation, which are taken over.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take only verdicts that were given before; ask no judge.")
    ] = False,
    lora_scale: Annotated[
        str | None, typer.Option(help="The same as --sweep lora-scale=VALUES, such as 0,0.125,0.25,0.5,1.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Ask at several values instead: frames=4,8, resolution=64,128, keep=0.25,1, lora-scale=0,1."
        ),
    ] = None,
    general: Annotated[
        Path | None, typer.Option(help="With a sweep: labels of what should not be forgotten.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="What clips are taken from, for the intervals: a regular expression, or `file`."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="CSV file in which a person checks verdicts: made if missing, then read."),
    ] = None,
    check_count: Annotated[int, typer.Option(min=2, help="How many answers it asks about.")] = 100,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="A run may be asked about clips that it was trained on.")
    ] = False,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure what a model sees and what it makes up, with controls and intervals."""
    from vidapt.progress import progress

    judged = Judged(protocol or (), judge, verdicts, offline, check, check_count)
    if lora_scale is not None or sweep is not None:
        with plain_errors():
            judged.refuse("goes without a sweep")
        varied = sweep if lora_scale is None else f"lora-scale={lora_scale}"
        if sweep is not None and lora_scale is not None:
            with plain_errors():
                raise ConfigError("--sweep", "goes without --lora-scale", "give one of them")
        options = {} if media_root is None else {"media_root": media_root}
        _sweep(
            models,
            data,
            out,
            str(varied),
            general,
            train_data,
            labels,
            options,
            workers,
            device,
            by,
            as_json=as_json,
        )
        return
    with plain_errors():
        if general is not None:
            raise ConfigError("--general", "goes with --sweep", "evaluate it by itself: --data GENERAL")
        from vidapt.files import check_folder
        from vidapt.locks import owned

        check_folder(out)  # before a model is opened
        from vidapt.measure.command import Asking, controls_of
        from vidapt.measure.protocols.rows import names_protocols

        chosen = controls_of(controls)
        with owned(out), progress() as report:
            asking = Asking(
                data,
                train_data,
                chosen,
                labels,
                media_root,
                workers,
                device,
                by=by,
                report=report,
                overlap=overlap,
            )
            by_protocol = bool(protocol) or judge is not None or names_protocols(data)
            told, tables, remarks = (judged.measure if by_protocol else judged.plainly)(models, asking, out)
    if as_json:
        typer.echo(json.dumps(told))
        return
    for head, rows in tables:
        table(list(head), rows)
    for line in remarks:
        remark(line)
    say(out / "report.html")


def _sweep(
    models: list[str],
    data: Path,
    out: Path,
    told: str,
    general: Path | None,
    train_data: Path | None,
    labels: str | None,
    options: dict[str, Path],
    workers: int | None,
    device: str,
    by: str | None,
    *,
    as_json: bool,
) -> None:
    """Ask at several values, and say which is best and why."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.locks import owned

        if len(models) > 1:
            raise ConfigError("--sweep", "is of one model", "give one")
        model = models[0]
        check_folder(out)
        if train_data is not None:
            raise ConfigError("--train-data", "is of no use with a sweep", "leave it out")
        from vidapt.measure.sweeps import AXES, SCALE, sweep
        from vidapt.measure.sweeps_page import HEAD, write_sweep

        name, _, listed = told.partition("=")
        axis = AXES.get(name.strip())
        if axis is None:
            raise ConfigError("--sweep", f"{name!r} is nothing that can be varied", f"give {', '.join(AXES)}")
        wanted = axis.values(numbers("--sweep", listed))
        with owned(out), progress() as report:
            found = sweep(
                model,
                axis,
                data,
                out,
                wanted,
                general=general,
                kind=labels,
                options=options,
                workers=workers,
                device=device,
                by=by,
                report=report,
            )
            write_sweep(out / "report.html", found)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    table(HEAD, found.rows())
    say(f"{found.reason()} ({found.to_dict()['best']['rule']})")
    if axis is SCALE:
        say(f"vidapt export {model} --to merged --lora-scale {found.best:g} --out FOLDER")
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
