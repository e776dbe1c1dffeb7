"""Questions about a clip with their answers, written from the event log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations

import numpy as np

from vidapt.worlds.asked import QA, normalise
from vidapt.worlds.billiards.claims import Claim, falsify, story
from vidapt.worlds.billiards.events import WHITE, Record
from vidapt.worlds.billiards.language import NUMBERS, Style
from vidapt.worlds.billiards.styles import STYLES

QUESTION_TYPES = (
    "break",
    "count",
    "pocket_colour",
    "number_pocketed",
    "which_pocket",
    "first_hit",
    "exists",
    "true_false",
    "false_premise",
    "cushion_first",
    "scratch",
    "shirt",
    "trajectory",
    "caption",
)

_ABSENT_SHARE = 0.6
"""How often a false premise is about an absent ball where one is absent; a full table (17 % of clips) has
none, so this makes both answers about equally frequent."""


class _Asker:
    """Phrases questions in one style; words are drawn from `rng`."""

    def __init__(self, style: Style, rng: np.random.Generator, statements: int) -> None:
        self.style, self.rng, self.statements = style, rng, statements

    def wording(self, kind: str, **slots: str) -> str:
        options = self.style.questions[kind]
        return options[int(self.rng.integers(len(options)))].format(**slots)

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def qa(
        self,
        kind: str,
        key: str,
        value: str,
        words: Sequence[str] = (),
        *,
        question: str | None = None,
        extra: Iterable[str] = (),
    ) -> QA:
        """Answer with the template `key`; any style's wording of it is accepted, in any order of `words`."""
        orders = [words] if len(words) < 2 else list(permutations(words))[:24]
        accept = {normalise(style.answer(key, order)) for style in STYLES.values() for order in orders}
        accept |= {normalise(value), *map(normalise, extra)}
        question = self.wording(kind) if question is None else question
        return QA(kind, question, self.style.answer(key, words), value, tuple(sorted(accept)))

    def yes_no(self, kind: str, yes: bool, *, question: str | None = None) -> QA:
        value = "yes" if yes else "no"
        extra = {True: ("true", "right", "correct"), False: ("false", "wrong", "incorrect")}[yes]
        return self.qa(
            kind, f"{kind}:{value}", value, question=question, extra=extra if kind == "true_false" else ()
        )


def _number(asker: _Asker, kind: str, number: int) -> list[QA]:
    return [asker.qa(kind, kind, str(number), [NUMBERS[number]], extra=[NUMBERS[number]])]


def _balls(asker: _Asker, kind: str, balls: Sequence[str]) -> list[QA]:
    """A question answered by naming balls, sorted so that one set of balls has one answer."""
    if not balls:
        return [asker.qa(kind, f"{kind}:none", "none", extra=["no ball", "nothing"])]
    ordered = sorted(balls)
    return [asker.qa(kind, f"{kind}:some", ",".join(ordered), ordered)]


def _which_pocket(asker: _Asker, record: Record) -> list[QA]:
    found = list(record.pocketed.items())
    chosen = [found[i] for i in sorted(asker.rng.permutation(len(found))[:2].tolist())]
    return [
        asker.qa(
            "which_pocket",
            "which_pocket",
            pocket,
            [pocket],
            question=asker.wording("which_pocket", c=ball),
            extra=[wording for style in STYLES.values() for wording in _pocket_wordings(style.place(pocket))],
        )
        for ball, pocket in chosen
    ]


def _pocket_wordings(name: str) -> list[str]:
    return [name, f"the {name} pocket", f"{name} pocket", f"in the {name} pocket", f"into the {name} pocket"]


def _false_premise(asker: _Asker, record: Record) -> list[QA]:
    stayed = [ball for ball in record.balls if ball not in record.pocketed]
    missing = [ball for ball in record.ball_set if ball not in record.balls]
    absent = bool(missing) and (not stayed or asker.rng.random() < _ABSENT_SHARE)
    if not (absent or stayed):
        return []
    ball = asker.pick(missing if absent else stayed)
    question = asker.wording("which_pocket", c=ball)
    key, value = ("absent", "absent") if absent else ("not_pocketed", "not pocketed")
    return [asker.qa("false_premise", key, value, [ball], question=question)]


def _exists(asker: _Asker, record: Record) -> list[QA]:
    missing = [ball for ball in record.ball_set if ball not in record.balls]
    if not missing:
        return []
    pairs = [(asker.pick(record.balls), True), (asker.pick(missing), False)]
    return [asker.yes_no("exists", yes, question=asker.wording("exists", c=ball)) for ball, yes in pairs]


def _true_false(asker: _Asker, record: Record) -> list[QA]:
    """True statements, each followed by a false one that differs from it in one word."""
    sources = [claim for claim in story(record) if claim.kind in ("hits", "cushion", "pocket")]
    sources += [Claim("pocketed", ball) for ball in record.pocketed]
    if record.first_hit and not record.broken:
        sources.append(Claim("first_hit", WHITE, record.first_hit))
    pairs: list[QA] = []
    for place in asker.rng.permutation(len(sources)).tolist():
        wrong = falsify(sources[place], record, asker.rng)
        if wrong is not None:
            for claim, yes in ((sources[place], True), (wrong, False)):
                wording = asker.wording("true_false", s=claim.say(asker.style))
                pairs.append(asker.yes_no("true_false", yes, question=wording))
        if len(pairs) == 2 * asker.statements:
            break
    return pairs


def _first_hit(asker: _Asker, record: Record) -> list[QA]:
    if record.broken:
        return []
    return _balls(asker, "first_hit", [record.first_hit] if record.first_hit else [])


def _text(asker: _Asker, kind: str, text: str) -> list[QA]:
    return [QA(kind, asker.wording(kind), text, "text", (normalise(text),))]


def tell(record: Record, style: Style) -> str:
    """The trajectory of the balls: one sentence per claim of `claims.story`."""
    return " ".join(f"{claim.say(style)}." for claim in story(record))


def summarise(record: Record, style: Style) -> str:
    """A caption of one to three sentences: how the shot began, what was pocketed, and a scratch."""
    if record.broken:
        opening = Claim("break")
    else:
        opening = Claim("first_hit", WHITE, record.first_hit) if record.first_hit else Claim("no_hit")
    pocketed = [Claim("pocket", ball, pocket) for ball, pocket in list(record.pocketed.items())[:3]]
    said = [opening.say(style)]
    said.append(" and ".join(claim.say(style) for claim in pocketed or [Claim("none_pocketed")]))
    if record.scratched:
        said.append(Claim("scratch").say(style))
    return " ".join(f"{sentence}." for sentence in said)


_WRITERS: tuple[Callable[[_Asker, Record], list[QA]], ...] = (
    lambda asker, record: [asker.yes_no("break", record.broken)],
    lambda asker, record: _number(asker, "count", len(record.balls)),
    lambda asker, record: _balls(asker, "pocket_colour", list(record.pocketed)),
    lambda asker, record: _number(asker, "number_pocketed", len(record.pocketed)),
    _which_pocket,
    _first_hit,
    _exists,
    _true_false,
    _false_premise,
    lambda asker, record: [asker.yes_no("cushion_first", record.cushion_first)],
    lambda asker, record: [asker.yes_no("scratch", record.scratched)],
    lambda asker, record: [asker.qa("shirt", "shirt", record.shirt, [record.shirt])],
    lambda asker, record: _text(asker, "trajectory", tell(record, asker.style)),
    lambda asker, record: _text(asker, "caption", summarise(record, asker.style)),
)


def ask(record: Record, style: Style, rng: np.random.Generator, statements: int = 1) -> list[QA]:
    """Write every question that applies to a clip.

    Args:
        record: The truth.
        style: How to phrase it.
        rng: Draws the wordings and which balls are asked about.
        statements: At most this many pairs of a true and a false statement.

    Returns:
        Questions in the order of `QUESTION_TYPES`. Some types do not fit every clip: `which_pocket` needs
        a pocketed ball, `exists` an absent one, `first_hit` a shot that is no break, `false_premise` a
        ball that stayed or is absent, and `true_false` an event (in a break, a pocketing).
    """
    asker = _Asker(style, rng, statements)
    return [qa for write in _WRITERS for qa in write(asker, record)]
