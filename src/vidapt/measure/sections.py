"""A page of sections, each with drawings and tables: for whatever has no page of its own kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from vidapt.measure.layout import write_page
from vidapt.metrics.intervals import Interval

TEMPLATE = "plain.html.j2"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, and what is said under it."""

    drawing: Markup
    words: str


@dataclass(frozen=True, slots=True)
class PlainTable:
    """Rows under the names of their columns; those whose first cell is `marked` stand out."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, drawings and tables."""

    title: str
    lede: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[PlainTable] = ()


def write_sections(
    path: Path,
    title: str,
    verdict: str,
    sections: Sequence[Section],
    *,
    lede: str = "",
    notes: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Sequence[str] = (),
) -> None:
    """Write a page.

    Args:
        path: The file; replaced if it exists.
        title: Heading of the page.
        verdict: The outcome in a sentence.
        sections: What it shows.
        lede: What it is about.
        notes: What a reader must know.
        facts: Where numbers come from, as pairs of a name and a value.
        commands: What was typed.

    Raises:
        VidaptError: If the file cannot be written.
    """
    write_page(
        path,
        TEMPLATE,
        title=title,
        verdict=verdict,
        tiles=(),
        sections=sections,
        lede=lede,
        notes=notes,
        facts=facts,
        commands=commands,
    )


def percent_of(value: Interval) -> str:
    """A share in percent."""
    return f"{100 * value.value:.1f} %"


def ends_of(value: Interval, *, signed: bool = False) -> str:
    """An interval in percent."""
    low, high = (
        signed_percent(end) if signed else f"{100 * end:.1f}".replace("-", "−")
        for end in (value.low, value.high)
    )
    return f"{low} to {high}"


def signed_percent(share: float) -> str:
    """A difference of shares in percentage points; what is shown as zero is never minus zero."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", "−")


def points(gain: Interval) -> str:
    """A difference of shares in percentage points, with its interval."""
    return f"{signed_percent(gain.value)} ({ends_of(gain, signed=True)})"
