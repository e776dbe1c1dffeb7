"""`vidapt parity`: whether a server reads and says the same as the model here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Format, Json, LabelFormat, Place
from vidapt.cli._show import plain_errors, say, table, tell
from vidapt.errors import ConfigError


def compare_with(
    model: Annotated[
        str, typer.Argument(help="A shipped model's name, a run's folder or a checkpoint's folder.")
    ],
    against: Annotated[
        str,
        typer.Option(
            metavar="URL|FOLDER", help="An OpenAI-compatible server's address, or the folder of an export."
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="Label file whose questions are asked.")] = None,
    clip: Annotated[list[Path] | None, typer.Option(help="Or: a video or a picture; several may be.")] = None,
    question: Annotated[list[str] | None, typer.Option(help="And what is asked about each of them.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most questions.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    served: Annotated[
        str | None, typer.Option(help="The model's name there; by default the first one listed.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Send paths of files, for a server on this machine.")
    ] = False,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 120.0,
    labels: LabelFormat = None,
    device: Place = "cpu",
    dtype: Format = None,
    as_json: Json = False,
) -> None:
    """Compare with a server or an export: the tokens of each prompt where it tells them, and the answers."""
    from vidapt.progress import progress

    with plain_errors():
        from vidapt.addresses import key_from
        from vidapt.measure.parity import OpenedHere, compare, questions_of
        from vidapt.measure.served import Server

        folder = Path(against) if Path(against).is_dir() else None
        if folder is not None and (served or files or key_env):
            raise ConfigError("--against", "is a folder", "leave out what is said of a server")
        key = None if key_env is None else key_from(key_env, "--key-env")
        server: Server | OpenedHere | None = None
        if folder is None:
            server = Server(against, served, key=key, timeout_s=timeout, files=files)
        asked = questions_of(data, clip or [], question or [], limit, labels)
        if folder is not None:
            server = OpenedHere(folder, dtype and dtype.value, device)
        assert server is not None
        _ = server.model  # before a model is opened
        from vidapt.inference.load import load

        engine = load(model, dtype and dtype.value, device, tell)
        with progress() as report:
            parity = compare(engine, server, asked, max_tokens=max_tokens, report=report)
    if as_json:
        typer.echo(json.dumps(parity.to_dict(), ensure_ascii=False))
    else:
        say(parity.headline())
        table(["clip", "question", "compared", "verdict", "detail"], [row.cells() for row in parity.rows])
    raise typer.Exit(parity.status)
