"""`vidapt review`: a page on which a person decides what becomes of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Json, LabelFormat
from vidapt.cli._show import plain_errors, remark, say

if TYPE_CHECKING:
    from vidapt.reviewing.serve import Opened


def review(
    files: Annotated[list[str], typer.Argument(help="Label files of any format, or files of provenance.")],
    rejected: Annotated[
        Path | None, typer.Option(help="NAME.rejected.jsonl of `vidapt clean`: what its checks say.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="What models say: files of `vidapt caption`, folders of `vidapt eval`."),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="Decisions are added here; LABELS.decisions.jsonl beside a single file."),
    ] = None,
    name: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")] = "",
    provenance: Annotated[
        list[Path] | None,
        typer.Option(help="Of `vidapt label`; FILE.provenance.jsonl beside a label file is found."),
    ] = None,
    labels: LabelFormat = None,
    media_root: Annotated[
        Path | None, typer.Option(help="Where the media lie, if not in the label file's folder.")
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address of this machine; 0.0.0.0 lets others open the page, who know its URL."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Look labels over in a browser: keep, drop or edit them; `vidapt clean --decisions` does as decided."""
    from vidapt.reviewing.book import Sources
    from vidapt.reviewing.serve import Address, check_installed, decisions_beside
    from vidapt.reviewing.serve import review as put_up

    def ready(opened: Opened) -> None:
        _tell(opened, as_json=as_json)
        if show:
            import webbrowser

            webbrowser.open(opened.url)

    with plain_errors():
        check_installed()
        options = {} if media_root is None else {"media_root": media_root}
        sources = Sources(files, labels, options, provenance or [], rejected, predictions or [])
        place = decisions or decisions_beside(files)
        far = put_up(sources, place, name, Address(host, port), ready)
        kappa = "none" if far.kappa is None else f"{far.kappa:.2f}"
        settled = f"{far.settled} of {far.disputed} rows in dispute are settled"
        remark(f"{settled}, {far.decided} decided; kappa {kappa}")
        if far.decided:
            remark(f"decisions: {place}; vidapt clean LABELS --decisions {place} does as decided")


def _tell(opened: Opened, *, as_json: bool) -> None:
    book, ledger = opened.book, opened.ledger
    if as_json:
        found = {"url": opened.url, "rows": len(book.items), "clips": len(book.clips)}
        found |= {"disputed": len(ledger.disputed), "decisions": str(ledger.path), "notes": book.notes}
        typer.echo(json.dumps(found))
        return
    say(opened.url)
    remark(
        f"{len(book.items)} rows of {len(book.clips)} clips, {len(ledger.disputed)} in dispute; Ctrl-C ends"
    )
    for note in book.notes:
        remark(note)
