"""`vidapt serve` and `vidapt serve-key`: models behind an address, and keys for those who may ask."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import BitsOption, Format, Json, Place
from vidapt.cli._show import plain_errors, remark, say

if TYPE_CHECKING:
    from vidapt.serving.serve import Up

_Keys = Annotated[Path | None, typer.Option(help="File of keys' hashes; `vidapt serve-key` adds one.")]


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Shipped models, runs, folders; dual encoders give vectors. NAME=MODEL names one.",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address of this machine; 0.0.0.0 lets others ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    keys: _Keys = None,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Let others ask without a key.")] = False,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch clips from addresses of the open internet.")
    ] = False,
    device: Place = "cpu",
    dtype: Format = None,
    bits: BitsOption = None,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Questions answered together.")] = 16,
    queue: Annotated[int, typer.Option(min=1, max=4096, help="Requests at a time; more get 429.")] = 128,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds for one request.")] = 60.0,
    rate: Annotated[float, typer.Option(min=0, help="Requests of a key in a minute; 0: any number.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=65536, help="Longest answer.")] = 1024,
    body: Annotated[int, typer.Option(min=1, max=1024, help="Largest request and clip, in MiB.")] = 32,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Decoding processes.")] = 2,
    drain: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds for what is under way when told to end.")
    ] = 30.0,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="A page at /page/ to ask about clips in a browser.")
    ] = True,
    flags: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the page keeps wrong answers, as labels to learn from."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put models up behind OpenAI's interface and on a page, until Ctrl-C or SIGTERM."""
    with plain_errors(go_on="start again"):
        from vidapt.serving.keys import VARIABLE, read_keys
        from vidapt.serving.serve import Wanted
        from vidapt.serving.serve import serve as put_up
        from vidapt.serving.terms import CLIP, Terms

        size = body << 20
        terms = Terms(
            body_bytes=size,
            bodies_bytes=max(Terms.bodies_bytes, 2 * size),
            kept_bytes=max(Terms.kept_bytes, size),
            clip=replace(CLIP, file_bytes=size),
            most_tokens=max_tokens,
            queue=queue,
            batch=batch,
            timeout_s=timeout,
            per_minute=rate,
            allow_urls=allow_urls,
            workers=workers,
            drain_s=drain,
        )
        who = read_keys(keys, os.environ.get(VARIABLE))
        wanted = Wanted(models, who, terms, host, port, device, dtype, bits, no_keys, page, flags)
        put_up(wanted, lambda up: _tell(up, page=page, as_json=as_json))


def _tell(up: Up, *, page: bool, as_json: bool) -> None:
    if as_json:
        found = {"url": up.url, "models": list(up.models), "shared_bytes": up.shared_bytes}
        typer.echo(json.dumps(found | {"page": up.page or None}))
        return
    say(up.url)
    if up.page:
        remark(f"page: {up.page}")
    elif page:
        remark(f"there is no page: {up.no_page}")
    remark(f"models: {', '.join(up.models)}; Ctrl-C ends")
    if up.shared_bytes:
        remark(f"{up.shared_bytes / 2**20:.1f} MiB of weights are held once for several models")


def serve_key(
    name: Annotated[str, typer.Argument(help="Whose key; stands in the log.")],
    keys: Annotated[Path, typer.Option(help="The file its hash is added to.")] = Path("vidapt.keys"),
    as_json: Json = False,
) -> None:
    """Make a key, add its hash to a file, and print the key, which is kept nowhere."""
    with plain_errors():
        from vidapt.serving.keys import add_key

        key = add_key(keys, name)
    if as_json:
        typer.echo(json.dumps({"name": name, "key": key, "file": str(keys)}))
        return
    say(key)
    remark(f"its hash is in {keys}; start with `vidapt serve MODEL --keys {keys}`")
