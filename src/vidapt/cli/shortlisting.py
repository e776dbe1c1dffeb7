"""`vidapt shortlist`: which model to adapt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Json, LabelFormat, MediaRoot, Place, Workers
from vidapt.cli._show import plain_errors, remark, say, table


def shortlist(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Shipped models, runs, checkpoints; dual encoders, too."),
    ],
    data: Annotated[Path, typer.Option(help="Labels of some of your clips: questions, captions or both.")],
    out: Annotated[Path, typer.Option(help="Folder for shortlist.json, report.html and each model's probe.")],
    clips: Annotated[int, typer.Option(min=2, help="Most clips.")] = 32,
    questions: Annotated[int, typer.Option(min=1, help="Most questions.")] = 128,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    device: Place = "cpu",
    as_json: Json = False,
) -> None:
    """Probe models on your clips, and rank them: what each sees, what it says unseen, how fast, how large."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.locks import owned

        check_folder(out)
        from vidapt.measure.shortlist.found import BRIEF
        from vidapt.measure.shortlist.job import shortlist as probe_all
        from vidapt.measure.shortlist.page import write_shortlist
        from vidapt.measure.shortlist.probe import Wanted

        trusted = context.parent.params.get("trust") if context.parent else None
        wanted = Wanted(
            "",
            str(data),
            "",
            labels,
            None if media_root is None else str(media_root),
            clips,
            questions,
            workers=workers,
            device=device,
            trusted=tuple(trusted or ()),
        )
        with owned(out), progress() as report:
            found = probe_all(models, wanted, out, report)
            write_shortlist(out / "report.html", found)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    table(list(BRIEF), found.rows(BRIEF))
    for one in found.failed:
        remark(f"not probed: {one.model}: {one.reason}")
    say(found.verdict())
    say(out / "report.html")
