"""`vidapt caption` and `vidapt ask`: what a model says of clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    from vidapt.inference.engine import Engine

BITS: dict[int, Literal[4, 8]] = {4: 4, 8: 8}


def caption(
    source: Annotated[Path, typer.Argument(help="A folder of clips, or one clip.")],
    out: Annotated[Path, typer.Option(help="FILE.jsonl or FILE.parquet; a stopped run goes on.")],
    model: Model = DEFAULT_MODEL,
    prompt: Annotated[
        str, typer.Option(help="What the model is asked about each clip.")
    ] = "describe the video.",
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
        bool, typer.Option("--overwrite", help="Replace captions by another model or prompt.")
    ] = False,
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
    workers: Workers = None,
    device: Place = "cpu",
    dtype: Format = None,
    bits: BitsOption = None,
    as_json: Json = False,
) -> None:
    """Caption every clip of a folder: one row each, broken clips set aside with their reasons."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.captioning.rows import check_target

        check_target(out)  # before a model is opened
        _check_asked("--prompt", [prompt])
        from vidapt.captioning.chunks import Cutting

        Cutting.of(chunk, overlap)
        if n != 1 or diversity is not None:
            from vidapt.inference.diversity import PLAIN, diversity_of

            way = diversity_of(diversity or PLAIN)
            way.check(n)
            if way.cues is not None:
                from vidapt.formats import shards_of

                shards_of(way.cues.labels)
        from vidapt.captioning.bulk import caption_folder
        from vidapt.models.generate import Decoding

        engine = _engine(model, device, dtype, bits)
        with progress() as report:
            summary = caption_folder(
                engine,
                source,
                out,
                prompt=prompt,
                decoding=Decoding(max_new_tokens=max_tokens),
                n=n,
                diversity=diversity,
                albums=albums,
                fps=fps,
                chunk=chunk,
                overlap=overlap,
                workers=workers,
                report=report,
                overwrite=overwrite,
            )
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        table(["captioned", "kept from before", "broken", "seconds"], [summary.row()])
        say(out)
    _tell_left_out(summary)


def _tell_left_out(summary: Summary) -> None:
    """Say where the reasons of broken clips are, and which files were no clips; all broken is an error."""
    if summary.ignored:
        counts = ", ".join(f"{n} {suffix or 'without an ending'}" for suffix, n in summary.ignored.items())
        remark(f"ignored, as they are no clips: {counts}")
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
