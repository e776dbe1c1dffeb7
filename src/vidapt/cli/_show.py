"""What every command tells in the same way: tables, errors, and what became of a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import typer

from vidapt.errors import ConfigError, VidaptError, readable
from vidapt.interrupt import Terminated, terminable


@contextmanager
def plain_errors(go_on: str = "run the same command again") -> Iterator[None]:
    """Show what a user can mend as a message; let everything else be seen whole.

    Args:
        go_on: How to go on after Ctrl-C or SIGTERM.
    """
    try:
        with terminable():
            yield
    except VidaptError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as stop:
        typer.secho(f"\nstopped; finished work is kept, {go_on} to go on", err=True)
        # What a shell gives for a program that the signal ended: 128 and its number.
        raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None


def table(head: list[str], rows: list[list[Any]]) -> None:
    """Print rows under their columns' names."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    cells = [[readable(str(cell), lines=True) for cell in row] for row in rows]
    every = list(zip_longest(head, *cells, fillvalue=""))  # a table is better uneven than not shown
    between, widths = _widths(every, console.width, cell_len)
    columns = [  # a word that there is no room for is broken, not cut off
        Column(column[0], overflow="fold", width=width) for column, width in zip(every, widths, strict=True)
    ]
    shown = Table(*columns, box=None, pad_edge=False, padding=(0, between, 0, 0), header_style="bold")
    for row in cells:
        shown.add_row(*map(Text, row))  # no markup
    console.print(shown)


def _widths(
    columns: list[tuple[str, ...]], width: int, length: Callable[[str], int]
) -> tuple[int, list[int]]:
    """Spaces behind columns, and the width of each, at which as few words and lines as can be are broken."""
    lines = [
        max(length(line) for text in column for line in (text.splitlines() or [""])) for column in columns
    ]
    found = [max((length(word) for text in column for word in text.split()), default=1) for column in columns]
    between = 2 if sum(found) + 2 * len(found) <= width else 1
    room = max(width - between * len(found), len(found))
    while sum(found) > room:
        widest = max(found) - 1
        found = [min(word, widest) for word in found]
    for _ in range(room - sum(found)):
        short = [place for place, line in enumerate(lines) if found[place] < line]
        if not short:
            break
        found[min(short, key=found.__getitem__)] += 1
    return between, found


def say(text: object) -> None:
    """Print a result for a person."""
    typer.echo(readable(str(text), lines=True))


def remark(text: str) -> None:
    """Say on the error stream what goes with a result."""
    typer.secho(readable(text, lines=True), err=True, dim=True)


def tell(report: Any) -> None:
    """Say on the error stream what became of a published checkpoint's tensors."""
    remark(report.line())


def numbers(option: str, text: str) -> list[float]:
    """Numbers between commas.

    Raises:
        ConfigError: If they are none.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(option, f"{text!r} is no list of numbers", "such as 0,0.25,0.5,0.75,1") from None
