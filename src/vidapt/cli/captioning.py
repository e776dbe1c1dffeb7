"""`vidapt caption` and `vidapt ask`: what a model says of clips."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidapt.cli._options import (
    DEFAULT_MODEL,
    BitsOption,
    Format,
    Fps,
    Json,
    Model,
    NumberFormat,
    Place,
    Workers,
)
from vidapt.cli._show import plain_errors, remark, say, table, tell
from vidapt.errors import ConfigError, VidaptError

if TYPE_CHECKING:
    from vidapt.captioning.bulk import Summary
    from vidapt.captioning.store.work import StoreSummary
    from vidapt.inference.engine import Engine

BITS: dict[int, Literal[4, 8]] = {4: 4, 8: 8}


def caption(
    source: Annotated[
        list[str],
        typer.Argument(
            help="A folder of clips, or one; for a folder as --out also lists, tars, and addresses of either "
            "(s3://bucket/clips)."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="FILE.jsonl, FILE.parquet, or a folder that many processes may write (also s3://bucket/x); "
            "a stopped run goes on."
        ),
    ],
    model: Model = DEFAULT_MODEL,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What the model is asked about each clip; in a folder several, for one look."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 128,
    n: Annotated[int, typer.Option("--n", help="Captions of each clip, in its one row.")] = 1,
    diversity: Annotated[
        str | None,
        typer.Option(
            metavar="WAY|FILE.yaml",
            help="How they come to differ: plain, cooling, entropy, min-p, top-h; or a file, which may also "
            "ask facets and show captions of like clips. See docs/diversity.md.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace captions by another model or prompt in a file.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Work on every N-th shard of the clips; all meet in the folder."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Where a part's job is finished: list anew, try again what failed."),
    ] = False,
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, help="What an hour of this machine costs, for the column `cost`."),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="Join all rows into .jsonl, .parquet, .json (LLaVA), .tar or .lance, too."),
    ] = None,
    dedup: Annotated[
        bool, typer.Option("--dedup", help="Caption one of clips that show the same; for a folder.")
    ] = False,
    schema: Annotated[
        Path | None, typer.Option(help="JSON schema that answers must be of; for a folder.")
    ] = None,
    albums: Annotated[
        bool, typer.Option("--albums", help="A folder of pictures is one clip, not a clip per picture.")
    ] = False,
    fps: Fps = None,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS|shots", help="Cut films into stretches, each with a row; or where shots change."
        ),
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Seconds for which a stretch goes on into the next one.")
    ] = 0.0,
    engine: Annotated[
        str,
        typer.Option(
            metavar="builtin|FILE.yaml",
            help="Who writes: the model here, or a server that reads its embeddings; see docs/caption.md.",
        ),
    ] = "builtin",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Clips answered at a time; else as memory allows.")
    ] = None,
    workers: Workers = None,
    device: Place = "cpu",
    dtype: Format = None,
    bits: BitsOption = None,
    as_json: Json = False,
) -> None:
    """Caption every clip of a folder: one row each, broken clips set aside with their reasons."""
    from vidapt.progress import progress

    prompts = prompt or ["describe the video."]
    with plain_errors():
        from vidapt.captioning.places import place_of

        target, sources = place_of(out), [place_of(one) for one in source]
        stored = isinstance(target, str) or not target.suffix or os.path.isdir(target)  # noqa: PTH112 - no error
        _check_asked("--prompt", prompts)
        from vidapt.captioning.chunks import Cutting

        Cutting.of(chunk, overlap)
        if n != 1 or diversity is not None:
            from vidapt.inference.diversity import PLAIN, diversity_of

            way = diversity_of(diversity or PLAIN)
            way.check(n)
            if way.cues is not None:
                from vidapt.formats import shards_of

                shards_of(way.cues.labels)
        how: dict[str, Any] = {
            "albums": albums,
            "fps": fps,
            "chunk": chunk,
            "overlap": overlap,
            "workers": workers,
            "batch": batch,
            "n": n,
            "diversity": diversity,
        }
        from vidapt.captioning.engines.open import open_engine, server_of

        server = server_of(model, engine)
        if stored:
            how |= _for_store(target, prompts, shard, to or [], schema, dedup=dedup, overwrite=overwrite)
            how |= {"again": again, "price": price_per_hour}
        else:
            assert isinstance(target, Path)
            _refuse_addresses(sources)
            for_folders = {"--shard": shard, "--to": to, "--dedup": dedup, "--schema": schema}
            for_folders |= {"--again": again, "--price-per-hour": price_per_hour is not None}
            _check_file(target, prompts, for_folders | {"a server": server})
            how |= {"prompt": prompts[0], "overwrite": overwrite}
        from vidapt.models.decoding import Decoding

        given: Any = sources[0] if len(sources) == 1 else sources
        how["decoding"] = Decoding(max_new_tokens=max_tokens)
        if stored:
            from vidapt.captioning.store.work import caption_store

            writer = open_engine(model, server, target, lambda: _engine(model, device, dtype, bits))
            with closing(writer), progress() as report:
                done = caption_store(writer, given, target, report=report, **how)
        else:
            from vidapt.captioning.bulk import caption_folder

            assert isinstance(target, Path)
            opened = _engine(model, device, dtype, bits)
            with progress() as report:
                summary = caption_folder(opened, given, target, report=report, **how)
    if stored:
        _tell_stored(done, as_json)
        return
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        table(["captioned", "kept from before", "broken", "seconds"], [summary.row()])
        say(out)
    _tell_left_out(summary)


def _refuse_addresses(sources: list[Path | str]) -> None:
    """Refuse addresses of clips where captions go into a single file."""
    from vidapt.captioning.places import is_address

    if any(map(is_address, sources)):
        raise ConfigError("SOURCE", "addresses are for a folder of captions", "give a folder as --out")


def _check_file(out: Path, prompts: list[str], options: dict[str, Any]) -> None:
    """Refuse what a single file of captions cannot have, before a model is opened."""
    from vidapt.captioning.rows import check_target

    check_target(out)
    remedy = f"give a folder (--out {out.stem}); its rows go into {out} as well with --to {out}"
    for option, value in options.items():
        if value:
            raise ConfigError(option, "is for a folder of captions", remedy)
    if len(prompts) > 1:
        raise ConfigError("--prompt", "several questions are for a folder of captions", remedy)


def _for_store(
    out: Path | str,
    prompts: list[str],
    shard: str | None,
    to: list[str],
    schema: Path | None,
    *,
    dedup: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """Options of a folder of captions, looked at before a model is opened."""
    from vidapt.captioning.places import place_of
    from vidapt.captioning.store.outputs import check_outputs
    from vidapt.captioning.store.remote import store_at
    from vidapt.captioning.store.shape import Schema
    from vidapt.captioning.store.work import check_part

    if overwrite:
        raise ConfigError(
            "--overwrite", "in a folder, other questions are other work", "leave it out, or remove the folder"
        )
    part = (1, 1)
    if shard is not None:
        numbers = shard.split("/")
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            raise ConfigError("--shard", f"is {shard!r}", "give 1/4, 2/4, ... for four processes")
        part = (int(numbers[0]), int(numbers[1]))
        check_part(part)
    store, outputs = store_at(out), [place_of(one) for one in to]
    store.check()
    check_outputs(store, outputs)
    read = None if schema is None else Schema.read(schema)
    return {"prompts": prompts, "part": part, "outputs": outputs, "schema": read, "dedup": dedup}


def _tell_stored(summary: StoreSummary, as_json: bool) -> None:
    """Say what was done, and how well the device was kept busy."""
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        columns = [
            "captioned",
            "kept",
            "failed",
            "copies",
            "left",
            "clips/s",
            "of the limit",
            "waited",
            "seconds",
        ]
        table(columns, [summary.row()])
        for path in summary.outputs:
            say(path)
    if summary.ignored:
        remark(f"ignored, as they are no clips: {_counted(summary.ignored)}")
    if summary.left_out:
        remark(f"whole files only; left out: {_counted(summary.left_out)}")
    if summary.left:
        remark(f"{summary.left} of {summary.inputs} clips are in shards of other processes, or not begun")
    if summary.failed:
        remark(f"{summary.failed} failed; their rows say why (status, error, reason)")
    if summary.failed == summary.inputs:
        with plain_errors():
            raise VidaptError(summary.out, f"all {summary.failed} clips are broken", "read the reasons there")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what or 'without an ending'}" for what, count in counts.items())


def _tell_left_out(summary: Summary) -> None:
    """Say where the reasons of broken clips are, and which files were no clips; all broken is an error."""
    if summary.ignored:
        remark(f"ignored, as they are no clips: {_counted(summary.ignored)}")
    if summary.quarantine is None:
        return
    if not summary.captioned and not summary.kept:
        with plain_errors():
            raise VidaptError(
                summary.quarantine, f"all {summary.broken} clips are broken", "read the reasons there"
            )
    remark(f"{summary.broken} broken; reasons in {summary.quarantine}")


def ask(
    clip: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    question: Annotated[list[str], typer.Argument(help="One or more questions.")],
    also: Annotated[
        list[Path] | None, typer.Option(help="A further clip or picture the questions are about.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    fps: Fps = None,
    device: Place = "cpu",
    dtype: Format = None,
    bits: BitsOption = None,
    as_json: Json = False,
) -> None:
    """Answer questions about a clip, or about several together."""
    with plain_errors():
        _check_asked("question", question)
        media = [clip, *(also or ())]
        if fps is not None and not any(path.is_dir() for path in media):
            raise ConfigError("--fps", "no folder of pictures is asked about", "leave it out")
        engine = _engine(model, device, dtype, bits)
        answers = engine.ask_all(media, question, fps=fps, max_new_tokens=max_tokens)
    if as_json:
        rows = [{"question": q, "answer": a} for q, a in zip(question, answers, strict=True)]
        typer.echo(json.dumps({"clip": str(clip), "answers": rows}, ensure_ascii=False))
        return
    for answer in answers:
        say(answer)


def _check_asked(what: str, asked: list[str]) -> None:
    if not all(text.strip() for text in asked):
        raise ConfigError(what, "is empty", "give what the model is to be asked")


def _engine(model: str, device: str, dtype: NumberFormat | None, bits: int | None) -> Engine:
    """Open a model; what became of a published checkpoint's tensors is told on the error stream."""
    from vidapt.inference.load import load
    from vidapt.loading import number_format

    if bits is not None and bits not in BITS:
        raise ConfigError("--bits", f"{bits} bits are not offered", "use 4 or 8")

    engine = load(model, dtype and dtype.value, device, tell, None if bits is None else BITS[bits])
    if dtype is None and str(number_format(device)) != "torch.float32":
        typer.secho(f"answers in {str(number_format(device))[6:]}; see --dtype", err=True, dim=True)
    return engine
