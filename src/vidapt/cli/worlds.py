"""`vidapt simulate`: clips whose truth is known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidapt.cli._options import Workers
from vidapt.cli._show import plain_errors, say


def simulate_billiards(
    out: Annotated[Path, typer.Option(help="Folder to write to; an interrupted simulation goes on.")],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 500,
    venue: Annotated[str, typer.Option(help="home, club or hall.")] = "home",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    statements: Annotated[int, typer.Option(min=1, help="Pairs of true and false statements per clip.")] = 1,
    when: Annotated[bool, typer.Option("--when", help="Ask when each ball was pocketed, too.")] = False,
    workers: Workers = None,
) -> None:
    """Simulate pool shots: real mp4 clips with labels, questions and the log of what happened."""
    from vidapt.locks import owned
    from vidapt.progress import progress
    from vidapt.worlds.billiards import simulate

    with plain_errors(), owned(out), progress() as report:
        simulate(
            out,
            clips=clips,
            venue=venue,
            seed=seed,
            statements=statements,
            when=when,
            workers=workers,
            progress=lambda done, total: report("simulate", done, total),
        )
    say(out / "labels.jsonl")
