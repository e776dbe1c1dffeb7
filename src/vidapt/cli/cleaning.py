"""`vidapt clean`: bad labels set aside, with reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat
from vidapt.cli._show import plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.cleaning.job import Summary


def clean(
    files: Annotated[
        list[str] | None, typer.Argument(help="Label files of any format, or files of provenance.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="NAME.jsonl; the others go to NAME.rejected.jsonl, numbers to NAME.clean.json."),
    ] = Path("clean.jsonl"),
    settings: Annotated[
        Path | None, typer.Option(help="Checks and their options; by default the shipped ones.")
    ] = None,
    new_settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Copy the shipped settings there, and do nothing else."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Ask this check alone.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Leave out a check.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Such as checks.length.times=4: YAML.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="What a person decided: lines of id, verdict, text.")
    ] = None,
    blind: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Take for guessed what this model says without clips.")
    ] = None,
    device: Device = "cpu",
    provenance: Annotated[
        list[Path] | None,
        typer.Option(help="Of `vidapt label`; FILE.provenance.jsonl beside a label file is found."),
    ] = None,
    per_hour: Annotated[
        float | None,
        typer.Option(min=0, metavar="MONEY", help="What an hour of the machine costs that captioned."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page of counts and examples.")
    ] = None,
    labels: LabelFormat = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Where the media lie, if not in the label file's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set bad labels aside with reasons: refusals, loops, broken JSON, contradictions, and more."""
    from vidapt.progress import progress

    with plain_errors():
        if new_settings is not None:
            _copy(new_settings)
            return
        if not files:
            raise ConfigError("clean", "no labels are given", "give a label file, or --new-settings FILE")
        from vidapt.cleaning.job import Source
        from vidapt.cleaning.job import clean as clean_labels
        from vidapt.cleaning.settings import read_cleaning
        from vidapt.files import check_file

        if page is not None:
            check_file(page)
        settled = read_cleaning(settings, change or [], only=only or [], without=without or [])
        options = {} if media_root is None else {"media_root": media_root}
        source = Source(files, labels, options, provenance or [], decisions, per_hour)
        with progress() as report:
            cleaned = clean_labels(source, out, settled, blind=blind, device=device, report=report)
        if page is not None:
            from vidapt.cleaning.page import write_page

            write_page(page, cleaned)
        _show(cleaned.summary, page, as_json=as_json)


def _copy(to: Path) -> None:
    from vidapt.cleaning.settings import shipped
    from vidapt.files import exists, write_text

    if exists(to):
        raise ConfigError(to, "exists", "name a new file")
    write_text(to, shipped().read_text(encoding="utf-8"))
    say(to)


def _show(found: Summary, page: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    rows = [[name, t.judged, t.dropped, t.rewritten] for name, t in found.checks.items()]
    table(["check", "labels judged", "rows set aside", "rows rewritten"], rows)
    if found.costs:
        from vidapt.cleaning.cost import HEAD

        table(list(HEAD), [cost.row() for cost in found.costs])
    say(f"kept: {found.kept} of {found.rows} rows: {found.out}")
    say(f"set aside: {found.dropped} rows: {found.rejected}")
    if page is not None:
        say(page)
    if found.unsound:
        remark(f"{found.unsound} rows are no labels; their lines stand there")
    if found.again:
        remark(f"{found.again} of them a teacher may do better who is asked again")
    if found.agreement is not None:
        kappa = "none" if found.agreement.kappa is None else f"{found.agreement.kappa:.2f}"
        remark(f"person and checks: kappa {kappa} over {found.agreement.decided} decided rows")
        if found.agreement.unknown:
            remark(f"{found.agreement.unknown} decisions are about rows that are not there")
    if not found.kept:
        remark("no label is left")
