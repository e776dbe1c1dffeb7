"""Labels that are JSON: what stands around it is taken off, what was broken off is mended once.

Source: RFC 8259 for what JSON is. Mending only closes what is open and leaves out what is not finished: a
text to be learned must hold nothing that nobody said, so that libraries that guess are no help here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop, rewrite
from vidapt.parts import PartConfig

_BEGINS = re.compile(r"""\s*(?:\{\s*["'}{]|\[\s*["{\[])""")
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```|$)", re.DOTALL | re.IGNORECASE)
_CLOSERS = {"{": "}", "[": "]"}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]|[^"{}\[\],]+', re.DOTALL)
_MOST_LETTERS = 1 << 18


class Part:
    """Mends JSON, or sets it aside to be asked for again."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            mend: Mend what is broken; else it is set aside.
        """

        mend: bool = True

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge each label by itself; texts that do not begin like JSON are kept."""
        for label in labels:
            yield self._judged(label.text)

    def _judged(self, text: str) -> Verdict:
        inner = _inside(text)
        if inner is None:
            return KEEP
        if len(inner) > _MOST_LETTERS:
            return drop(f"is JSON of more than {_MOST_LETTERS} letters")
        try:
            _, end = json.JSONDecoder().raw_decode(inner)
        except RecursionError:
            return drop("is JSON that lies too deep", again=True)
        except ValueError as error:
            mended = _mended(inner) if self.cfg.mend else None
            if mended is None:
                return drop(f"is broken JSON: {error}", again=True)
            return rewrite(mended, f"was broken JSON: {error}")
        found = inner[:end]
        return KEEP if found == text.strip() else rewrite(found, "had words around its JSON")


def _inside(text: str) -> str | None:
    """The JSON that a text is, maybe in a code block; None where it is none."""
    fenced = _FENCED.search(text)
    inner = fenced[1] if fenced else text.strip()
    return inner if _BEGINS.match(inner) else None


def _mended(text: str) -> str | None:
    """JSON of all members that are whole; None where that is no JSON either, or empty."""
    for candidate in _closed(text):
        try:
            value = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        if value:
            return json.dumps(value, ensure_ascii=False)
    return None


def _closed(text: str) -> Iterator[str]:
    """The text with all that is open closed; then without its last, unfinished member."""
    kept: list[str] = []
    stack: list[str] = []
    whole: tuple[int, str] | None = None
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if piece in _CLOSERS:
            stack.append(_CLOSERS[piece])
        elif piece == ",":
            whole = len(kept), "".join(reversed(stack))
        elif piece in ("}", "]"):
            _forget_comma(kept)
            if not stack or stack.pop() != piece:
                return
            whole = len(kept) + 1, "".join(reversed(stack))
        kept.append(piece)
        if piece in ("}", "]") and not stack:
            break
    yield "".join([*kept, *reversed(stack)])
    if whole is not None:
        yield "".join(kept[: whole[0]]) + whole[1]


def _forget_comma(kept: list[str]) -> None:
    """Take off a comma behind the last member."""
    place = len(kept) - 1
    while place >= 0 and kept[place].isspace():
        place -= 1
    if place >= 0 and kept[place] == ",":
        del kept[place:]


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
