"""`vidapt caption` and `vidapt ask`: what a model says of clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vidapt.cli._captions import (
    Into,
    OnCluster,
    Writer,
    caption_into,
    check_asked,
    check_ways,
    open_model,
    schema_of,
    tell_stored,
)
from vidapt.cli._options import (
    DEFAULT_MODEL,
    BitsOption,
    Format,
    Fps,
    Json,
    Model,
    Place,
    Workers,
)
from vidapt.cli._show import plain_errors, say
from vidapt.errors import ConfigError


def caption(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Folders of clips, clips, lists, tars, patterns, and addresses of these (s3://bucket/clips)."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="FILE.jsonl, FILE.parquet, or a folder (also s3://bucket/x); many processes may write it, "
            "and a stopped run goes on."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A shipped model's name, a run's or a checkpoint's folder, or SERVER.yaml: a server that is "
            "shown frames."
        ),
    ] = DEFAULT_MODEL,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What the model is asked about each clip; several, for one look."),
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
        bool, typer.Option("--overwrite", help="Replace a file, whatever it holds.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Work on every N-th shard of the clips; all meet in --out."),
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
    dedup: Annotated[bool, typer.Option("--dedup", help="Caption one of clips that show the same.")] = False,
    schema: Annotated[Path | None, typer.Option(help="JSON schema that answers must be of.")] = None,
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
            metavar="builtin|ray|FILE.yaml",
            help="Who writes: the model here, on a Ray cluster, or a server that reads its embeddings.",
        ),
    ] = "builtin",
    ray_address: Annotated[
        str | None, typer.Option(metavar="auto|ADDRESS", help="Of the Ray cluster; else one is begun here.")
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Processes on the cluster; else one for its GPUs or machines.")
    ] = None,
    gpus_per_actor: Annotated[
        float, typer.Option(min=0, help="GPUs of each; a part of one is shared.")
    ] = 0.0,
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
    prompts = prompt or ["describe the video."]
    with plain_errors():
        from vidapt.captioning.places import place_of

        target, sources = place_of(out), [place_of(one) for one in source]
        check_asked("--prompt", prompts)
        check_ways(chunk, overlap, n, diversity)
        how: dict[str, Any] = Into(target, to or [], shard, overwrite).checked() | {
            "prompts": prompts,
            "schema": schema_of(schema),
            "dedup": dedup,
            "again": again,
            "price": price_per_hour,
            "albums": albums,
            "fps": fps,
            "chunk": chunk,
            "overlap": overlap,
            "workers": workers,
            "batch": batch,
            "n": n,
            "diversity": diversity,
        }
        writer = Writer(model, engine, device, dtype, bits, max_tokens)
        on = OnCluster(ray_address, actors, gpus_per_actor).checked(engine)
        done = caption_into(writer, sources, target, how, on)
    tell_stored(done, as_json)


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
        check_asked("question", question)
        media = [clip, *(also or ())]
        if fps is not None and not any(path.is_dir() for path in media):
            raise ConfigError("--fps", "no folder of pictures is asked about", "leave it out")
        engine = open_model(model, device, dtype, bits)
        answers = engine.ask_all(media, question, fps=fps, max_new_tokens=max_tokens)
    if as_json:
        rows = [{"question": q, "answer": a} for q, a in zip(question, answers, strict=True)]
        typer.echo(json.dumps({"clip": str(clip), "answers": rows}, ensure_ascii=False))
        return
    for answer in answers:
        say(answer)
