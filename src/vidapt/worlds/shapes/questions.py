"""Questions about a clip with their answers, written from the event log."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.asking import Asker
from vidapt.worlds.changing import pairs
from vidapt.worlds.phrases import Claim, Style
from vidapt.worlds.shapes.claims import APART, changeable, falsify, half, inventory, story
from vidapt.worlds.shapes.events import Record
from vidapt.worlds.shapes.styles import STYLES

QUESTION_TYPES = (
    "count",
    "kind",
    "colour",
    "size",
    "texture",
    "moves",
    "first",
    "touch",
    "touched",
    "half",
    "beside",
    "left",
    "came",
    "vanished",
    "where_out",
    "exists",
    "true_false",
    "false_premise",
    "inventory",
    "trajectory",
    "caption",
)


def _looks(asker: Asker, record: Record) -> list[QA]:
    call, things = asker.style.call, record.things
    kind, size, texture = (things[k] for k in asker.rng.integers(len(things), size=3).tolist())
    asked = [
        asker.number("count", len(things)),
        asker.one("kind", "kind", kind.kind, c=kind.colour),
        asker.one("size", "size", size.size, a=call(size.name)),
        asker.one("texture", "texture", texture.texture, a=call(texture.name)),
    ]
    once = [thing for thing in things if sum(other.kind == thing.kind for other in things) == 1]
    if once:
        thing = once[int(asker.rng.integers(len(once)))]
        asked.append(asker.one("colour", "colour", thing.colour, k=asker.style.word("kind", thing.kind)))
    return asked


def _motion(asker: Asker, record: Record) -> list[QA]:
    """Who moves, and who first."""
    moved, names = record.moved, [thing.name for thing in record.things]
    asked = []
    for pool in (moved, [name for name in names if name not in moved]):
        if pool:
            name = asker.pick(pool)
            question = asker.wording("moves", a=asker.style.call(name))
            asked.append(asker.yes_no("moves", name in moved, question))
    if record.first_mover is not None:
        asked.append(asker.things("first", [record.first_mover] if record.first_mover else []))
    return asked


def _touches(asker: Asker, record: Record) -> list[QA]:
    """Whether two things touch, a pair that does and one that does not; and what one of them touches."""
    names = [thing.name for thing in record.things]
    asked = []
    couples = list(permutations(names, 2))
    for yes in (True, False):
        pool = [pair for pair in couples if (frozenset(pair) in record.touches) == yes]
        if pool and record.touches:
            a, b = pool[int(asker.rng.integers(len(pool)))]
            question = asker.wording("touch", a=asker.style.call(a), b=asker.style.call(b))
            asked.append(asker.yes_no("touch", yes, question))
    touching = sorted({name for pair in record.touches for name in pair})
    name = asker.pick(touching if touching and asker.rng.random() < 0.7 else names)
    met = [other for pair in record.touches if name in pair for other in pair - {name}]
    asked.append(asker.things("touched", met, asker.wording("touched", a=asker.style.call(name))))
    return asked


def _places(asker: Asker, record: Record) -> list[QA]:
    """Where things are at the end; nothing is asked that is not clear to see."""
    call = asker.style.call
    there = [(thing.name, thing.ends[0]) for thing in record.things if thing.ends is not None]
    asked = []
    sided = [(name, where) for name, x in there if (where := half(x))]
    if sided:
        name, where = sided[int(asker.rng.integers(len(sided)))]
        asked.append(asker.one("half", "half", where, a=call(name)))
    apart = [(a, b) for a, b in permutations(there, 2) if abs(a[1] - b[1]) > APART]
    if apart:
        (a, x), (b, other) = apart[int(asker.rng.integers(len(apart)))]
        where, question = "left" if x < other else "right", asker.wording("beside", a=call(a), b=call(b))
        asked.append(asker.qa("beside", where, "half", [where], key="half", question=question))
    return asked


def _coming_and_going(asker: Asker, record: Record) -> list[QA]:
    left = record.happened("leave")
    asked = [
        asker.things("left", [event.thing for event in left]),
        asker.things("came", [event.thing for event in record.happened("enter", "appear")]),
        asker.things("vanished", [event.thing for event in record.happened("vanish")]),
    ]
    for event in left[:1]:
        asked += [asker.one("where_out", "side", event.other, a=asker.style.call(event.thing))]
    return asked


def _premises(asker: Asker, record: Record) -> list[QA]:
    """Whether a colour is there; and where something leaves that is not there, or does not leave."""
    here = [thing.colour for thing in record.things]
    missing = [colour for colour in record.palette if colour not in here]
    asked = []
    if missing:
        for colour, yes in ((asker.pick(here), True), (asker.pick(missing), False)):
            asked.append(asker.yes_no("exists", yes, asker.wording("exists", c=colour)))
    left = {event.thing for event in record.happened("leave")}
    stayed = [thing.name for thing in record.things if thing.name not in left]
    absent = bool(missing) and (not stayed or asker.rng.random() < 0.5)
    if absent or stayed:
        kinds = list(asker.style.words["kind"])
        name = f"{asker.pick(missing)} {asker.pick(kinds)}" if absent else asker.pick(stayed)
        key, value = ("absent", "absent") if absent else ("not_left", "not left")
        question = asker.wording("where_out", a=asker.style.call(name))
        asked.append(
            asker.qa("false_premise", value, "thing", [name], key=key, question=question, bare=False)
        )
    return asked


def summary(record: Record) -> list[Claim]:
    """What a short caption says: how many things, who moves first, and the first touch."""
    claims = [Claim("count", str(len(record.things)))]
    if record.first_mover:
        claims.append(Claim("first", record.first_mover))
    touches = record.happened("touch")
    claims.append(Claim("touch", touches[0].thing, touches[0].other) if touches else Claim("no_touch"))
    return claims


_WRITERS: tuple[Callable[[Asker, Record], list[QA]], ...] = (
    _looks,
    _motion,
    _touches,
    _places,
    _coming_and_going,
    _premises,
    lambda asker, record: [
        asker.text(kind, told(record))
        for kind, told in (("inventory", inventory), ("trajectory", story), ("caption", summary))
    ],
)


def ask(record: Record, style: Style, rng: np.random.Generator, statements: int = 1) -> list[QA]:
    """Write every question that applies to a clip.

    Args:
        record: The truth.
        style: How to phrase it.
        rng: Draws the wordings and which things are asked about.
        statements: At most this many pairs of a true and a false statement.

    Returns:
        Questions of `QUESTION_TYPES`. Some do not fit every clip: `colour` needs a kind that only one thing
        has, `first` a clear first mover, `touch` a touch, `half` and `beside` things that are clearly apart,
        `where_out` something that leaves, `exists` a colour that is missing.
    """
    asker = Asker(style, STYLES, rng)
    asked = [qa for write in _WRITERS for qa in write(asker, record)]
    told = pairs(changeable(record), lambda claim: falsify(claim, record, rng), rng, statements)
    return [*asked, *asker.statements(told)]
