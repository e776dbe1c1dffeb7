"""`vidapt data check|stats|split|dedup|cut|tasks`: labels and films before anything is learned from them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Device, Json, LabelFormat, MediaRoot, Workers
from vidapt.cli._show import plain_errors, remark, say, table

Files = Annotated[list[str], typer.Argument(help="Label files, folders of clips, or patterns for shards.")]
Frames = Annotated[bool, typer.Option(help="Compare what clips show, to find near-duplicates.")]


_SHOWN = 20
"""Clips that a table tells of."""


def _options(media_root: Path | None) -> dict[str, Path]:
    return {} if media_root is None else {"media_root": media_root}


def check_data(
    files: Files,
    decode: Annotated[bool, typer.Option("--decode", help="Decode some frames of every clip.")] = False,
    frames: Frames = True,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Tell all that is wrong with labels; several files are splits, between which nothing may leak."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.curation import check

        with progress() as report:
            found = check(
                files,
                kind=labels,
                options=_options(media_root),
                decode=decode,
                frames=frames,
                workers=workers,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        for one in found.findings:
            say(f"{one.level}: {one.where}: {one.found}")
        table(
            ["question type", "n", "answers", "majority", "blind"],
            [[b.type, b.questions, b.answers, f"{b.majority:.1%}", f"{b.blind:.1%}"] for b in found.blind],
        )
        say(f"{found.rows} rows, {found.clips} clips; {_counted(found.counts)}")
        if found.clips and found.counts.get("missing") == found.clips:
            remark("none of the files is there: if they lie in another folder, name it by --media-root")
    if not found.ok:
        raise typer.Exit(1)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "nothing found"


def data_stats(
    files: Files,
    model: Annotated[str | None, typer.Option(help="Count tokens of this model's tokenizer.")] = None,
    look: Annotated[bool, typer.Option(help="Read the headers of all clips.")] = True,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    as_json: Json = False,
) -> None:
    """Tell what is in labels: lengths, types, media, sizes and durations."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.curation.stats import stats, tokens_of

        with progress() as report:
            found = stats(
                files,
                kind=labels,
                options=_options(media_root),
                length_of=None if model is None else tokens_of(model),
                look=look,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    say(f"{found.rows} rows, {found.unsound} unsound, {found.clips} clips")
    for name in ("media", "types", "sizes"):
        counts = getattr(found, name)
        if counts:
            say(f"{name}: " + ", ".join(f"{key or 'no type'} {count}" for key, count in counts.items()))
    shown = {
        "questions per row": found.questions,
        "rows per clip": found.per_clip,
        f"asked, {found.unit}": found.asked,
        f"answered, {found.unit}": found.answered,
        "clips, seconds": found.seconds,
    }
    marks = ("p0", "p5", "p50", "p95", "p100")
    rows = [[name, one.mean, *(one.percentiles[m] for m in marks)] for name, one in shown.items() if one]
    table(["", "mean", "least", "5 %", "median", "95 %", "most"], rows)


def split_data(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, val.jsonl and test.jsonl.")],
    ratios: Annotated[str, typer.Option(help="Parts and their shares.")] = "train=0.8,val=0.1,test=0.1",
    by: Annotated[
        str | None,
        typer.Option(help="A regular expression for what names a session in a clip's path, or `file`."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which groups go where.")] = 0,
    frames: Frames = True,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Divide labels without leaks: clips of one file, session, content or look stay together."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.curation import split

        with progress() as report:
            found = split(
                files,
                out,
                ratios=_shares(ratios),
                by=by,
                seed=seed,
                kind=labels,
                options=_options(media_root),
                frames=frames,
                workers=workers,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    rows = [[name, part.rows, part.clips, part.groups, part.file] for name, part in found.parts.items()]
    table(["part", "rows", "clips", "groups", "file"], rows)
    say(f"sessions: {found.sessions}; clips tied together by {_counted(dict(found.ties))}")
    if found.neighbours:
        table(
            ["held-out clip", "part", "most like, of those learned", "likeness"],
            [[one.clip, one.part, one.nearest, one.likeness] for one in found.neighbours],
        )


def dedup_data(
    files: Files,
    out: Annotated[Path, typer.Option(help="Kept rows go here, the others beside it.")],
    above: Annotated[float, typer.Option(help="Likeness of near-duplicates; 1 is the same.")] = 0.9,
    frames: Frames = True,
    embed: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Compare clips also as this model sees them.")
    ] = None,
    embedded_above: Annotated[float, typer.Option(help="With --embed: cosine of near-duplicates.")] = 0.98,
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    device: Device = "cpu",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Set aside the labels of clips that show what another clip shows; nothing is deleted."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.curation import dedup

        embedder = None
        if embed is not None:
            from vidapt.inference.embed import Embedder

            embedder = Embedder(embed, device, os.cpu_count() or 1 if workers is None else workers)
        with progress() as report:
            found = dedup(
                files,
                out,
                above=above,
                embed=embedder,
                embedded_above=embedded_above,
                kind=labels,
                options=_options(media_root),
                frames=frames,
                workers=workers,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    if found.twins:
        rows = [[twin.clip, twin.like, f"{twin.likeness:.3f}", twin.rows] for twin in found.twins[:_SHOWN]]
        table(["set aside", "is like", "likeness", "rows"], rows)
    say(f"kept: {found.rows} rows, {found.clips} clips: {found.file}")
    say(f"set aside: {len(found.twins)} clips: {found.aside}")


def cut_data(
    films: Annotated[Path, typer.Argument(help="A film, or a folder of films.")],
    out: Annotated[Path, typer.Option(help="Folder for the clips; run again to go on.")],
    by: Annotated[str, typer.Option(help="`shots`, or seconds of a clip.")] = "shots",
    detector: Annotated[
        str,
        typer.Option(help="`leaps`; or of PySceneDetect: `content`, `adaptive`, `threshold`."),
    ] = "leaps",
    least: Annotated[float, typer.Option(help="No shot is shorter, in seconds.")] = 1.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Cut films into clips, a file for each shot; broken films are told, and cost themselves alone."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.captioning.found import find_clips
        from vidapt.curation.cut import CutBy, cut

        cutting = CutBy(None if by == "shots" else _seconds(by), detector, least)  # type: ignore[arg-type]
        clips = find_clips(films).clips
        _refuse_among(films, out)
        with progress() as report:
            count = os.cpu_count() or 1 if workers is None else workers
            found = cut(clips, out, cutting, workers=count, report=report)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        for film in found.films:
            for note in (*film.notes, *([film.broken] if film.broken else [])):
                say(f"{film.film}: {note}")
        say(f"{len(found.films)} films, {found.done} cut now; {found.clips} clips: {found.out}")
    if found.broken and not found.clips:
        raise typer.Exit(1)


def write_tasks(
    test: Annotated[Path, typer.Argument(help="Label file with the columns that the protocols need.")],
    out: Annotated[Path, typer.Option(help="Folder for the tasks.")],
    protocol: Annotated[
        list[str] | None, typer.Option(help="multiple_choice, pope or fact_pairs; else what rows name.")
    ] = None,
    options: Annotated[
        Path | None, typer.Option(help="YAML file with options of protocols, as `eval --judge` takes it.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the tasks' names begin with.")] = "vidapt",
    labels: LabelFormat = None,
    media_root: MediaRoot = None,
    as_json: Json = False,
) -> None:
    """Write a test as tasks of lmms-eval, which then reads answers as `vidapt eval` does."""
    with plain_errors():
        from vidapt.measure.protocols.lmms_eval import export_lmms_eval
        from vidapt.measure.protocols.rows import read_test
        from vidapt.measure.protocols.settings import read_judging

        chosen = {} if options is None else read_judging(options).protocols
        rows = read_test(test, labels, media_root)
        found = export_lmms_eval(rows, protocol or (), out, name=name, options=chosen)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    table(["task", "questions"], [[task, count] for task, count in found.tasks.items()])
    say(f"lmms_eval --include_path {out} --tasks {','.join(found.tasks)} --model ...")


def _refuse_among(films: Path, out: Path) -> None:
    """See that clips do not lie among the films, where the next run would cut them, too."""
    from vidapt.errors import ConfigError

    if films.is_dir() and out.resolve().is_relative_to(films.resolve()):
        raise ConfigError(out, f"lies among the films of {films}", "give another folder for the clips")


def _seconds(text: str) -> float:
    from vidapt.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError("--by", f"is {text!r}", "give `shots`, or seconds such as 10") from None


def _shares(text: str) -> dict[str, float]:
    from vidapt.errors import ConfigError

    shares: dict[str, float] = {}
    for one in text.split(","):
        name, _, share = one.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ConfigError("--ratios", f"{one!r} is no part with its share", "such as train=0.8") from None
    return shares
