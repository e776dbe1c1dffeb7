"""`vidapt diversity`: several captions of each clip, how different they are, and how true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat
from vidapt.cli._show import plain_errors, remark, say, table


def diversity(
    captions: Annotated[
        list[Path],
        typer.Argument(
            metavar="CAPTIONS...", help="Files of `vidapt caption --n`; the first is the measure."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and report.html.")],
    data: Annotated[
        Path | None, typer.Option(help="Labels of these clips: a world's log beside them tells facts.")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="YAML file about a judge, who holds captions against the labels.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take only verdicts that were given before; ask no judge.")
    ] = False,
    k: Annotated[
        int | None, typer.Option("--k", help="Captions of each clip that are looked at; all by default.")
    ] = None,
    embed: Annotated[
        str | None, typer.Option(help="A dual encoder whose text tower tells how alike captions are.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="What clips are taken from, for the intervals: a regular expression, or `file`."),
    ] = None,
    labels: LabelFormat = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Compare ways of getting several captions: what they tell and make up, and how different they are."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.files import check_folder
        from vidapt.locks import owned

        check_folder(out)
        from vidapt.measure.diversity.command import PAGE, measure_diversity
        from vidapt.measure.diversity.found import FACTS, TEXTS

        with owned(out), progress() as report:
            found = measure_diversity(
                captions,
                out,
                data=data,
                kind=labels,
                k=k,
                by=by,
                embed=embed,
                device=device,
                judge=judge,
                offline=offline,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    if found.judged is not None:
        table(list(FACTS), [one.facts() for one in found.ways])
    table(list(TEXTS), [one.texts() for one in found.ways])
    if found.judged is None:
        remark("nothing is known of facts here: captions that make things up differ, too")
    for line in found.remarks:
        remark(line)
    if found.left_out:
        remark(f"left out: {found.left_out} clip(s) that not all files, or the labels, are about")
    say(out / PAGE)
