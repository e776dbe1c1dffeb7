"""`vidapt evidence`: labels held against what a model sees."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Device, Json, LabelFormat, Workers
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.evidence.settings import Settings
    from vidapt.evidence.summary import Summary, TypeFound


class Calibrate(StrEnum):
    """What false claims are taken from."""

    other = "other"
    falsified = "falsified"


def evidence(
    labels: Annotated[list[str], typer.Argument(help="Label files of any format; folders, patterns.")],
    out: Annotated[
        Path, typer.Option(help="NAME.jsonl: the labels with the column `claims`; other files lie beside it.")
    ],
    model: Annotated[str | None, typer.Option(help="Score with this model, as it is.")] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Train a model for each fold from this one, on the other folds."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=100, help="With --start.")] = 2,
    recipe: Annotated[
        Path | None, typer.Option(help="How folds are trained; by default the recipe `evidence`.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Such as stages.0.epochs=2: YAML; of that recipe.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="What tells sessions in paths of clips; see `vidapt data split`.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which clips go to which fold.")] = 0,
    supported: Annotated[
        float, typer.Option(min=0, max=100, help="Evidence from which on a claim is supported, in nats.")
    ] = 0.5,
    contradicted: Annotated[
        float, typer.Option(min=-100, max=0, help="Evidence up to which it is contradicted.")
    ] = -0.5,
    rival: Annotated[
        float, typer.Option(min=1.01, max=1e9, help="Contradicted where another word is so much likelier.")
    ] = 20.0,
    calibrate: Annotated[
        Calibrate | None,
        typer.Option(help="Fit `supported` to claims about other clips, or to falsified copies."),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of these that may pass for supported.")
    ] = 0.05,
    lexicon: Annotated[
        Path | None, typer.Option(help="Words that tell facts, as labelling/lexicon.yaml has them.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A claim is to stand in this model, too.")
    ] = None,
    frames: Annotated[
        list[int] | None, typer.Option(min=1, max=10_000, help="And with so many frames.")
    ] = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100_000, help="And in pictures whose longest side has so many pixels."),
    ] = None,
    provenance: Annotated[
        list[Path] | None,
        typer.Option(help="Of `vidapt label`; FILE.provenance.jsonl beside a label file is found."),
    ] = None,
    form: LabelFormat = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Where the media lie, if not in the label file's folder.")
    ] = None,
    device: Device = "cpu",
    workers: Workers = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Clips scored together.")] = 8,
    as_json: Json = False,
) -> None:
    """Tell of every claim in labels whether a model sees it: supported, unseen or contradicted."""
    from vidapt.progress import progress

    with plain_errors():
        if model is not None and start is not None:
            raise ConfigError("evidence", "--model and --start are both given", "leave one out")
        if start is None and (recipe is not None or change):
            raise ConfigError("evidence", "--recipe and --set are for --start", "leave them out")
        settings = _settings(
            supported=supported,
            contradicted=contradicted,
            rival=rival,
            calibrate=None if calibrate is None else calibrate.value,
            false_alarms=false_alarms,
        )
        from vidapt.evidence.folds import Folds
        from vidapt.evidence.job import Request
        from vidapt.evidence.job import evidence as score

        parted = None
        if start is not None:
            folder = out.with_name(f"{out.stem}.folds")
            parted = Folds(start, folds, folder, recipe, change or [], by, seed, device, workers)
        request = Request(
            labels=labels,
            out=out,
            model=model,
            folds=parted,
            settings=settings,
            lexicon=lexicon,
            also=also or [],
            frames=frames or [],
            sizes=sizes or [],
            kind=form,
            options={} if media_root is None else {"media_root": media_root},
            provenance=provenance or [],
            device=device,
            workers=workers,
            batch=batch,
        )
        with progress() as report:
            found = score(request, report)
        _show(found, as_json=as_json)
    if not found.scored:
        remark(f"no label could be scored: {found.quarantine} has the reasons")
        raise typer.Exit(1)


def _settings(**given: Any) -> Settings:
    from pydantic import ValidationError

    from vidapt.evidence.settings import Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigError("evidence", error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _show(found: Summary, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    head = ["type", "claims", "supported", "unseen", "against", "unchecked", "from", "what to do"]
    table(head, [*(_cells(kind, one) for kind, one in found.types.items()), _cells("all", found.total)])
    say(f"labels with claims: {found.out}")
    if any(one.fitted for one in found.types.values()):
        remark("* a threshold of its own")
    for name, gone in found.total.lost.items():
        remark(f"of {found.total.supported} supported claims {gone} do not stand with {name}")
    for name, clips in found.deaf.items():
        if clips > 0:
            remark(f"{clips} clips cannot be read with {name}, which says nothing of them")
    if found.learned:
        remark(
            f"the model has learned from {found.learned} of the {found.clips} clips: it finds likely "
            "what it was told, wrong labels too; --start trains models that have not"
        )
    if left := found.broken + found.missing + found.unread + found.unsound:
        remark(f"{left} clips or rows cannot be used: {found.quarantine}")
    if found.passed_over:
        remark(
            f"{found.passed_over} labels of no clip, of several or without an answer are kept as they were"
        )


def _cells(kind: str, one: TypeFound) -> list[str]:
    counts = (one.supported, one.unseen, one.contradicted, one.unchecked)
    shares = [f"{100 * count / max(1, one.claims):.0f} %" for count in counts]
    threshold = f"{one.threshold:.2f}" + ("*" if one.fitted else "")
    return [kind, str(one.claims), *shares, threshold, one.advice]
