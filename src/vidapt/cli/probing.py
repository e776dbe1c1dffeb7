"""`vidapt probe`: what a model's tower and connector hold of what labels say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat, Workers
from vidapt.cli._show import plain_errors, remark, say, table, tell

if TYPE_CHECKING:
    from vidapt.probing.result import Result


def probe(
    model: Annotated[
        str, typer.Argument(help="A shipped model, a run, a checkpoint's folder, or a published one.")
    ],
    labels: Annotated[list[str], typer.Argument(help="Label files with questions and short answers.")],
    out: Annotated[Path, typer.Option(help="FILE.json; features are kept beside it.")] = Path("probe.json"),
    clips: Annotated[
        Path | None, typer.Option(help="Where the clips lie, if not in the label file's folder.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="What a source is: a pattern in paths, or `file`; else as `data split` has it."),
    ] = None,
    folds: Annotated[int, typer.Option(min=3, max=20, help="Held out in turn.")] = 5,
    least: Annotated[int, typer.Option(min=6, help="Clips that something must be asked of.")] = 20,
    tokens: Annotated[
        int, typer.Option(min=1, max=16384, help="Most visual tokens of a clip that probes look at.")
    ] = 256,
    attentive: Annotated[bool, typer.Option(help="Attentive probes beside linear ones.")] = True,
    ask: Annotated[bool, typer.Option(help="Ask the model the same questions.")] = True,
    frames: Annotated[bool, typer.Option(help="Hold out clips together that show nearly the same.")] = True,
    kind: LabelFormat = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Tell of each type of fact whether the tower holds it, the connector keeps it, the model answers it."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_file

        check_file(out)
        from vidapt.inference.load import load
        from vidapt.probing.job import probe_model
        from vidapt.probing.order import Settings

        settings = Settings(
            by=by,
            folds=folds,
            least=least,
            tokens=tokens,
            attentive=attentive,
            ask=ask,
            frames=frames,
            workers=workers,
        )
        options = {} if clips is None else {"media_root": clips}
        with progress() as report:
            result = probe_model(
                lambda: load(model, device=device, tell=tell),
                labels,
                out,
                settings,
                kind=kind,
                options=options,
                device="cpu" if device == "auto" else device,
                report=report,
            )
        _show(result, out, as_json=as_json)


def _show(result: Result, out: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    from vidapt.probing.result import HEAD
    from vidapt.probing.verdicts import WORDS

    shown = [one for one in result.types if one.verdict != "few"]
    table(list(HEAD), [one.row() for one in shown])
    for verdict, words in WORDS.items():
        if names := [one.name for one in shown if one.verdict == verdict]:
            say(f"{verdict}: {', '.join(names)}: {words}")
    say(out)
    few = [one.name for one in result.types if one.verdict == "few"]
    if few:
        remark(f"few examples of {len(few)} types: {', '.join(few[:8])}{', ...' if len(few) > 8 else ''}")
    if result.broken:
        name, reason = next(iter(result.broken.items()))
        remark(f"{len(result.broken)} clips cannot be used, such as {name}: {reason}")
    if result.unread:
        name, reason = next(iter(result.unread.items()))
        remark(f"{len(result.unread)} questions cannot be read, such as {name}: {reason}")
    if result.unsound:
        remark(f"{len(result.unsound)} rows are no labels; their lines stand in {out}")
