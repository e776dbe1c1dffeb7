"""`vidapt simulate`: clips whose truth is known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidapt.cli._options import Workers
from vidapt.cli._show import plain_errors, say

Out = Annotated[Path, typer.Option(help="Folder to write to; an interrupted simulation goes on.")]
Clips = Annotated[int, typer.Option(min=1, help="Number of clips.")]
Seed = Annotated[int, typer.Option(min=0)]
Statements = Annotated[int, typer.Option(min=1, help="Pairs of true and false statements per clip.")]


def simulate_billiards(
    out: Out,
    clips: Clips = 500,
    venue: Annotated[str, typer.Option(help="home, club or hall.")] = "home",
    seed: Seed = 0,
    statements: Statements = 1,
    when: Annotated[bool, typer.Option("--when", help="Ask when each ball was pocketed, too.")] = False,
    workers: Workers = None,
) -> None:
    """Simulate pool shots: real mp4 clips with labels, questions and the log of what happened."""
    options = {"venue": venue, "statements": statements, "when": when}
    _simulate("billiards", out, clips=clips, seed=seed, workers=workers, **options)


def simulate_conveyor(
    out: Out,
    clips: Clips = 500,
    venue: Annotated[str, typer.Option(help="works, plant or depot.")] = "works",
    seed: Seed = 0,
    statements: Statements = 1,
    when: Annotated[
        bool, typer.Option("--when", help="Ask when belts stood still, parts fell and the arm worked, too.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Simulate parts on belts: real mp4 clips with labels, questions and the log of what happened."""
    options = {"venue": venue, "statements": statements, "when": when}
    _simulate("conveyor", out, clips=clips, seed=seed, workers=workers, **options)


def simulate_shapes(
    out: Out,
    clips: Clips = 500,
    venue: Annotated[str, typer.Option(help="mix or pond.")] = "mix",
    seed: Seed = 0,
    statements: Statements = 1,
    workers: Workers = None,
) -> None:
    """Simulate shapes that move: real mp4 clips with labels, questions and the log of what happened."""
    options = {"venue": venue, "statements": statements}
    _simulate("shapes", out, clips=clips, seed=seed, workers=workers, **options)


def _simulate(world: str, out: Path, **options: Any) -> None:
    from vidapt.locks import owned
    from vidapt.progress import progress
    from vidapt.worlds.known import find_world

    with plain_errors(), owned(out), progress() as report:
        find_world(world).simulate(
            out, progress=lambda done, total: report("simulate", done, total), **options
        )
    say(out / "labels.jsonl")
