"""`vidapt look-over`, `vidapt review` and `vidapt data freeze`: labels seen, decided and frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat, MediaRoot
from vidapt.cli._show import plain_errors, remark, say

if TYPE_CHECKING:
    from vidapt.looking_over.gather import Sources
    from vidapt.looking_over.serve import Opened, Wanted

_Rejected = Annotated[
    Path | None, typer.Option(help="NAME.rejected.jsonl of `vidapt clean`: what its checks say.")
]
_Decisions = Annotated[
    Path | None,
    typer.Option(help="Decisions are added here; LABELS.decisions.jsonl beside the labels."),
]
_By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]
_Provenance = Annotated[
    list[Path] | None,
    typer.Option(help="Of `vidapt label`; FILE.provenance.jsonl beside a label file is found."),
]
_Asked = Annotated[str, typer.Option("--model", help="A model that is asked on the page, when you want it.")]
_Host = Annotated[
    str,
    typer.Option(help="Address of this machine; 0.0.0.0 lets others open the page, who know its URL."),
]
_Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")]
_Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def look_over(
    data: Annotated[
        str, typer.Argument(help="Label file, folder of label files or clips, captions, or a frozen version.")
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="What models say: captions, answers, evaluations, runs with such ones; NAME=PATH names one.",
        ),
    ] = None,
    rejected: _Rejected = None,
    decisions: _Decisions = None,
    name: _By = "",
    provenance: _Provenance = None,
    model: _Asked = "",
    device: Device = "cpu",
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    fiftyone: Annotated[
        str, typer.Option(metavar="NAME", help="Make a FiftyOne dataset of this name, and no page.")
    ] = "",
    host: _Host = "127.0.0.1",
    port: _Port = 0,
    show: _Open = False,
    as_json: Json = False,
) -> None:
    """Look over clips, labels and what models say of them, side by side; decide, edit, freeze."""
    with plain_errors():
        sources = _sources([data], rejected, provenance, labels, media_root, runs)
        if fiftyone:
            _to_fiftyone(sources, fiftyone, as_json=as_json)
            return
        from vidapt.looking_over.serve import Address, Wanted, decisions_beside

        place = decisions or decisions_beside([data])
        address = Address(host, port)
        _put_up(
            Wanted(sources, place, name, "Look over", model=model, device=device, address=address),
            show=show,
            as_json=as_json,
        )


def review(
    files: Annotated[list[str], typer.Argument(help="Label files of any format, or files of provenance.")],
    rejected: _Rejected = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(help="What models say: files of `vidapt caption`, folders of `vidapt eval`."),
    ] = None,
    decisions: _Decisions = None,
    name: _By = "",
    provenance: _Provenance = None,
    model: _Asked = "",
    device: Device = "cpu",
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    host: _Host = "127.0.0.1",
    port: _Port = 0,
    show: _Open = False,
    as_json: Json = False,
) -> None:
    """Look over labels in dispute: keep, drop or edit them; `vidapt clean --decisions` does as decided."""
    with plain_errors():
        from vidapt.looking_over.serve import Address, Wanted, decisions_beside

        sources = _sources(files, rejected, provenance, labels, media_root, predictions)
        place, address = decisions or decisions_beside(files), Address(host, port)
        wanted = Wanted(sources, place, name, show="disputed", model=model, device=device, address=address)
        _put_up(wanted, show=show, as_json=as_json)


def freeze(
    files: Annotated[list[str], typer.Argument(help="Label files of any format, or frozen versions.")],
    out: Annotated[Path, typer.Option(help="The new folder; a recipe's source names it.")],
    decisions: Annotated[
        Path | None, typer.Option(help="What a person decided (`vidapt look-over`).")
    ] = None,
    rejected: _Rejected = None,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    as_json: Json = False,
) -> None:
    """Freeze labels, as decided, into a version: one hash of what they say and of what their clips hold."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.looking_over.freezing import freeze_labels

        sources = _sources(files, rejected, None, labels, media_root, None)
        with progress() as report:
            found = freeze_labels(sources, out, decisions, report)
    if as_json:
        typer.echo(json.dumps({"folder": str(out), **found.to_dict()}))
        return
    told = ", ".join(f"{count} {outcome}" for outcome, count in found.counts.items())
    say(f"{out}: {found.rows} rows ({told}), {found.media} files")
    say(found.version)
    if found.left_out:
        remark(f"{found.left_out} rows could not be frozen; left_out.jsonl says why")


def _sources(
    files: list[str],
    rejected: Path | None,
    provenance: list[Path] | None,
    labels: str | None,
    media_root: Path | None,
    runs: list[str] | None,
) -> Sources:
    from vidapt.looking_over.gather import Sources

    options = {} if media_root is None else {"media_root": media_root}
    return Sources(files, labels, options, provenance or [], rejected, runs or [])


def _put_up(wanted: Wanted, *, show: bool, as_json: bool) -> None:
    from vidapt.looking_over.serve import look_over as put_up

    def ready(opened: Opened) -> None:
        _tell(opened, as_json=as_json)
        if show:
            import webbrowser

            webbrowser.open(opened.url)

    far = put_up(wanted, ready)
    kappa = "none" if far.kappa is None else f"{far.kappa:.2f}"
    settled = f"{far.settled} of {far.disputed} rows in dispute are settled"
    remark(f"{settled}, {far.decided} decided; kappa {kappa}")
    if far.decided:
        place = wanted.decisions
        remark(f"decisions: {place}; vidapt clean LABELS --decisions {place} does as decided")


def _tell(opened: Opened, *, as_json: bool) -> None:
    book, ledger = opened.book, opened.ledger
    if as_json:
        found = {"url": opened.url, "rows": len(book), "clips": len(book.clips)}
        found |= {"disputed": len(ledger.disputed), "decisions": str(ledger.path), "notes": book.notes}
        typer.echo(json.dumps(found))
        return
    say(opened.url)
    remark(f"{len(book)} rows of {len(book.clips)} clips, {len(ledger.disputed)} in dispute; Ctrl-C ends")
    for note in book.notes:
        remark(note)


def _to_fiftyone(sources: Sources, name: str, *, as_json: bool) -> None:
    from vidapt.looking_over.fiftyone import export
    from vidapt.progress import progress

    with progress() as report:
        count = export(sources, name, report)
    if as_json:
        typer.echo(json.dumps({"dataset": name, "samples": count}))
        return
    say(f"{name}: {count} clips; `fiftyone app launch {name}` shows them")
