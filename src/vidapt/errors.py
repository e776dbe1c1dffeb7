"""Every error a user can meet: where it happened, what was found, and what to do about it.

All of them derive from `VidaptError`, so that the command line can show one as a plain message and a
caller in Python can catch one without catching bugs.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction in which a line is read, so that it shows another text than it has."""

_LINE_ENDS = frozenset("\u2028\u2029")


def readable(text: str, *, lines: bool = False) -> str:
    r"""A text of others as it may be shown: what would steer a terminal is written as an escape.

    >>> print(readable("a\x1b[31m b"))
    a\x1b[31m b

    Args:
        text: Anything, such as a file's name or a model's answer.
        lines: Whether it may have several lines, and tabs in them.
    """
    kept = "\n\t" if lines else ""
    if text.isprintable() or not any(_steers(letter, kept) for letter in text):
        return text
    return "".join(ascii(letter)[1:-1] if _steers(letter, kept) else letter for letter in text)


def _steers(letter: str, kept: str) -> bool:
    if letter in kept:
        return False
    return letter in _TURNS or letter in _LINE_ENDS or unicodedata.category(letter) in ("Cc", "Cs")


class VidaptError(Exception):
    """A problem in what vidapt was given, not in vidapt.

    Args:
        where: The file, line, key or part the problem lies in.
        found: What was found there.
        remedy: What the user can do; empty when `found` already says it.
    """

    def __init__(self, where: str | Path, found: str, remedy: str = "") -> None:
        self.where, self.found, self.remedy = str(where), found, remedy
        super().__init__(where, found, remedy)

    def __str__(self) -> str:
        text = f"{readable(self.where)}: {readable(self.found, lines=True)}"
        return f"{text}\n  -> {readable(self.remedy, lines=True)}" if self.remedy else text


class ConfigError(VidaptError):
    """A recipe, blueprint or option that cannot be used."""


class FormatError(VidaptError):
    """A label file that cannot be read; `where` is `file:line`."""


class CheckpointError(VidaptError):
    """Weights that do not fit the model, or a checkpoint that is damaged."""


class BudgetError(VidaptError):
    """Work that would exceed a stated limit of memory, pixels, tokens or disk."""


class BrokenClip(VidaptError):  # noqa: N818 - it names the clip's state, as users read it in the quarantine file
    """A clip that cannot be used.

    Args:
        path: The file (or folder of images).
        reason: One sentence saying what is wrong with it.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(path, reason)

    def __reduce__(self) -> tuple[type[BrokenClip], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


_LISTED = 60
"""More names than this are counted and not listed."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint such as ``did you mean 'pool_mlp'?``, or the list of what exists."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) > _LISTED:
        return f"none of the {len(names)} that are known is near it"
    return f"known: {', '.join(names)}" if names else "none is known here"
