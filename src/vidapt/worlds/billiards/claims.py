"""Single claims about a clip: read from sentences of any style, and checked against the whole log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from vidapt.worlds.billiards.events import WHITE, Record
from vidapt.worlds.billiards.language import Style
from vidapt.worlds.billiards.styles import STYLES
from vidapt.worlds.billiards.table import POCKETS, SIDES
from vidapt.worlds.billiards.venues import VENUES
from vidapt.worlds.verdict import Verdict


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One thing said about a clip.

    Attributes:
        kind: A key of `language.Style.sentences`.
        subject: The ball it is about, or empty.
        where: The other ball, the pocket or the cushion; or empty.
    """

    kind: str
    subject: str = ""
    where: str = ""

    def say(self, style: Style) -> str:
        """The claim as a sentence without its full stop."""
        if self.kind == "absent":
            return style.sentences["absent"].format(c=self.subject)
        return style.sentence(self.kind, self.subject, self.where)


_SPLIT = re.compile(
    r"[.!?;\n]+|,? and (?=the |there |no |nothing |[a-z]+ (?:ball )?(?:drops|goes|disappears))"
)
_OPENING = re.compile(r"^(?:(?:and|then|next|finally)[ ,]+|[ ,]+)+")


@cache
def _colours() -> tuple[str, ...]:
    """Every colour that a ball has in any venue, in alphabetical order."""
    return tuple(sorted({colour for venue in VENUES for colour in venue.ball_set}))


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str, Style], ...]:
    """Every sentence template of every style as a pattern."""
    named = "|".join(_colours())
    ball = rf"(?:the )?(?P<{{0}}>white|cue|{named})(?: object)?(?: ball| one)?"
    found = []
    for style in STYLES.values():
        places = "|".join(sorted({*style.pockets.values(), *style.sides.values()}, key=len, reverse=True))
        slots = {
            "{a}": ball.format("a"),
            "{b}": ball.format("b"),
            "{at}": f"(?P<at>{places})",
            "{c}": f"(?P<c>{named})",
        }
        for kind, template in style.sentences.items():
            parts = re.split(r"(\{\w+\})", template)
            pattern = "".join(slots.get(part, re.escape(part)) for part in parts)
            found.append((re.compile(pattern), kind, style))
    return tuple(found)


def _plain(sentence: str) -> str:
    """A sentence in lower case with British colours and single spaces."""
    text = " ".join(sentence.lower().split()).replace("colored", "coloured")
    return _OPENING.sub("", text).strip(" ,")


def _claim(sentence: str) -> Claim | None:
    for pattern, kind, style in _patterns():
        match = pattern.fullmatch(sentence)
        if match is None:
            continue
        said = match.groupdict()
        subject, other = ({"cue": WHITE}.get(said.get(key) or "", said.get(key) or "") for key in ("a", "b"))
        if kind in ("first_hit", "hits"):
            return Claim(kind, WHITE if kind == "first_hit" else subject, other)
        if kind in ("pocket", "cushion"):
            names = style.pockets if kind == "pocket" else style.sides
            where = next((name for name, word in names.items() if word == said["at"]), None)
            return None if where is None else Claim(kind, subject, where)
        return Claim(kind, said.get("c") or subject)
    return None


def parse(text: str) -> tuple[list[Claim], list[str]]:
    """Read the claims of a text, in any style or mix of styles.

    Returns:
        The claims in order, and the sentences that are none.
    """
    claims, unparsed = [], []
    for piece in _SPLIT.split(text):
        sentence = _plain(piece)
        if not sentence:
            continue
        claim = _claim(sentence)
        if claim is None:
            unparsed.append(sentence)
        else:
            claims.append(claim)
    return claims, unparsed


def true_claims(record: Record) -> frozenset[Claim]:
    """Everything that can truly be said about a clip.

    "a hits b" is about a contact, so it holds both ways; `first_hit` and `pocketed` are what follows
    from the log. `pocketed` of the white ball is the same fact as `scratch`.
    """
    said: set[Claim] = {Claim("break" if record.broken else "no_break")}
    for event in record.events:
        if event.kind == "hit":
            said |= {Claim("hits", event.ball, event.other), Claim("hits", event.other, event.ball)}
        elif event.kind == "cushion":
            said.add(Claim("cushion", event.ball, event.other))
        else:
            said |= {Claim("pocket", event.ball, event.other), Claim("pocketed", event.ball)}
    said |= {Claim("not_pocketed", ball) for ball in record.balls if ball not in record.pocketed}
    said |= {Claim("absent", ball) for ball in _colours() if ball not in record.balls}
    said.add(Claim("first_hit", WHITE, record.first_hit) if record.first_hit else Claim("no_hit"))
    said.add(Claim("scratch") if record.scratched else Claim("not_pocketed", WHITE))
    if not record.pocketed:
        said.add(Claim("none_pocketed"))
    if record.cushion_first:
        said.add(Claim("cushion_first"))
    if not any(event.ball == WHITE for event in record.events):
        said.add(Claim("untouched"))
    return frozenset(said)


def story(record: Record, limit: int = 6) -> list[Claim]:
    """The claims of a full description, in order of time, at most `limit`.

    Pocketings are kept first, then the first hit, then the earliest of the rest. Of a break only the
    break itself and the pocketings are told.
    """
    told: list[Claim] = []
    names = {"hit": "hits", "cushion": "cushion", "pocket": "pocket"}
    for event in record.events:
        claim = Claim(names[event.kind], event.ball, event.other)
        if claim not in told and not (record.broken and event.kind != "pocket"):
            told.append(claim)
    if record.broken:
        told.insert(0, Claim("break"))
    opening = Claim("hits", WHITE, record.first_hit) if record.first_hit else None

    def rank(place: int) -> tuple[int, int]:
        claim = told[place]
        return (0 if claim.kind in ("pocket", "break") else 1 if claim == opening else 2, place)

    kept = sorted(sorted(range(len(told)), key=rank)[:limit])
    return [told[place] for place in kept] or [Claim("untouched")]


def _implied(claims: Sequence[Claim]) -> set[Claim]:
    """The claims and what they amount to in other words."""
    all_said = set(claims)
    for claim in claims:
        if claim.kind in ("hits", "first_hit"):
            all_said |= {Claim("hits", claim.subject, claim.where), Claim("hits", claim.where, claim.subject)}
    return all_said


def judge(text: str, record: Record) -> Verdict[Claim]:
    """Check every claim of a text against the whole log.

    Args:
        text: Sentences of any style.
        record: The truth.

    Returns:
        The verdict; recall is against `story`.
    """
    claims, unparsed = parse(text)
    truth, salient, said = true_claims(record), story(record), _implied(claims)
    return Verdict.of(claims, truth.__contains__, unparsed=unparsed, salient=salient, said=said)


def falsify(claim: Claim, record: Record, rng: np.random.Generator) -> Claim | None:
    """Change one word of a claim so that it becomes false but stays plausible.

    The other ball lies on the table wherever one is left that makes the claim false. None if no change of
    one word makes it false.
    """
    truth = true_claims(record)
    places = {"pocket": POCKETS, "cushion": SIDES}.get(claim.kind, ())
    other_place = [Claim(claim.kind, claim.subject, place) for place in places]
    if claim.kind in ("hits", "first_hit"):
        changed = [
            [Claim(claim.kind, claim.subject, ball) for ball in balls if ball != claim.subject]
            for balls in _pools(record)
        ]
    else:
        changed = [[Claim(claim.kind, ball, claim.where) for ball in balls] for balls in _pools(record)]
    # A sentence about the white ball keeps it: swapped for others only one way round, its mere mention
    # would tell true statements from false ones.
    place_first = claim.subject == WHITE or rng.random() < 0.5
    pools = [other_place, changed[0]] if place_first else [changed[0], other_place]
    for pool in [*pools, changed[1]]:
        wrong = [option for option in pool if option not in truth]
        if wrong:
            return wrong[int(rng.integers(len(wrong)))]
    return None


def _pools(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Balls on the table, then the venue's others."""
    return record.balls, tuple(ball for ball in record.ball_set if ball not in record.balls)


def false_statements(record: Record, rng: np.random.Generator, count: int) -> list[Claim]:
    """Plausible false claims: true ones (`story` and the first hit) with one word changed.

    Returns:
        Up to `count` distinct claims, none of which the log bears out.
    """
    sources = changeable(record)
    wrong: list[Claim] = []
    for place in rng.permutation(len(sources) * 4).tolist():
        claim = falsify(sources[place % len(sources)], record, rng)
        if claim is not None and claim not in wrong and len(wrong) < count:
            wrong.append(claim)
    return wrong


def changeable(record: Record) -> list[Claim]:
    """True claims of which one word can be changed so that a person sees that they are false."""
    told = [claim for claim in story(record) if claim.subject]
    if record.first_hit and not record.broken:
        told.append(Claim("first_hit", WHITE, record.first_hit))
    return told


def difference(true: Claim, false: Claim) -> str:
    """The fact in which a claim and its false copy differ."""
    if true.kind == "first_hit":
        return "order"
    if true.subject == false.subject and true.kind in ("pocket", "cushion"):
        return {"pocket": "pocket", "cushion": "side"}[true.kind]
    return "colour"
