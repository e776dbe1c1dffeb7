"""What every command tells in the same way: tables, errors, and what became of a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(name, overflow="fold") for name in head]  # a long word is broken, not cut off
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*(Text(readable(str(cell), lines=True)) for cell in row))  # no markup
    Console(file=sys.stdout).print(shown)


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
