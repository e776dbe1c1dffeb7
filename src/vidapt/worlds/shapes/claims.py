"""Single claims about a clip: checked against the whole log, told in order, and changed until false."""

from __future__ import annotations

import numpy as np

from vidapt.worlds.changing import change, false_ones
from vidapt.worlds.phrases import Claim, Noun, is_called, named
from vidapt.worlds.shapes.events import ALONE, Event, Record
from vidapt.worlds.shapes.field import COLOURS, KINDS, SIDES, SIZES, TEXTURES

CLAIMS: dict[str, tuple[Noun, Noun]] = {
    "start": ("thing", ""),
    "stop": ("thing", ""),
    "touch": ("thing", "thing"),
    "bounce": ("thing", "side"),
    "leave": ("thing", "side"),
    "enter": ("thing", "side"),
    "appear": ("thing", ""),
    "vanish": ("thing", ""),
    "first": ("thing", ""),
    "moves": ("thing", ""),
    "stays": ("thing", ""),
    "circle": ("thing", ""),
    "turn": ("thing", ""),
    "size": ("thing", "size"),
    "texture": ("thing", "texture"),
    "ends": ("thing", "half"),
    "left_of": ("thing", "thing"),
    "absent": ("thing", ""),
    "count": ("number", ""),
    "no_touch": ("", ""),
    "none_moves": ("", ""),
}
"""Kinds of claims, and what their subject and their object are."""

APART = 0.12
"""Two things are left and right of each other if they are so far apart, as a share of the picture's width."""
MIDDLE = 0.07
"""Nothing so near the middle of the picture is said to be in one half of it."""


def of_event(event: Event) -> Claim:
    """What an event amounts to."""
    return Claim(event.kind, event.thing, "" if event.kind in ALONE else event.other)


def half(x: float) -> str | None:
    """The half of the picture in which something is, None near the middle."""
    return None if abs(x - 0.5) < MIDDLE else "left" if x < 0.5 else "right"


def true_claims(record: Record) -> frozenset[Claim]:
    """Everything that can truly be said about a clip; that two things touch holds both ways."""
    said = {of_event(event) for event in record.events}
    said |= {Claim("touch", event.other, event.thing) for event in record.happened("touch")}
    said |= _places(record) | {Claim("count", str(len(record.things)))}
    moved = record.moved
    for thing in record.things:
        name = thing.name
        said |= {Claim("size", name, thing.size), Claim("texture", name, thing.texture)}
        said.add(Claim("moves" if name in moved else "stays", name))
        if thing.way in ("circle", "turn"):
            said.add(Claim(thing.way, name))
    if record.first_mover:
        said.add(Claim("first", record.first_mover))
    if not moved:
        said.add(Claim("none_moves"))
    if not record.touches:
        said.add(Claim("no_touch"))
    return frozenset(said)


def _places(record: Record) -> set[Claim]:
    """Where things are at the end."""
    there = [(thing.name, thing.ends[0]) for thing in record.things if thing.ends is not None]
    said = {Claim("ends", name, where) for name, x in there if (where := half(x))}
    return said | {Claim("left_of", a, b) for a, x in there for b, other in there if other - x > APART}


def holds(claim: Claim, record: Record, truth: frozenset[Claim]) -> bool:
    """Whether a claim is borne out; `truth` is `true_claims(record)`."""
    if claim.kind == "absent":
        return not any(is_called(claim.subject, thing.name) for thing in record.things)
    return full(claim, record) in truth


def full(claim: Claim, record: Record) -> Claim:
    """A claim with things by their full names, where they were called by their colour alone."""
    return named(claim, CLAIMS, [thing.name for thing in record.things])


def story(record: Record, limit: int = 6) -> list[Claim]:
    """The claims of a full description, in order of time, at most `limit`.

    Touches are kept first, then what starts, stops, comes and goes, then the rest. Of a clip in which nothing
    happens, what stays and what turns is told.
    """
    told: list[Claim] = []
    for event in record.events:
        if of_event(event) not in told:
            told.append(of_event(event))
    ranks = {"touch": 0, "bounce": 2}
    kept = sorted(sorted(range(len(told)), key=lambda k: (ranks.get(told[k].kind, 1), k))[:limit])
    still = [Claim(t.way if t.way in ("turn", "circle") else "stays", t.name) for t in record.things]
    still = [
        Claim("moves", c.subject) if c.kind == "stays" and c.subject in record.moved else c for c in still
    ]
    return [told[place] for place in kept] or still[:limit]


def inventory(record: Record) -> list[Claim]:
    """Each thing in turn, in the order of their colours: its size, surface, way of moving, and where it ends.

    What is said of a thing begins with its name, so that who learns the text learns to look a thing up by its
    colour and to read what is known of it.
    """
    truth = true_claims(record)
    told: list[Claim] = []
    for thing in sorted(record.things, key=lambda thing: COLOURS.index(thing.colour)):
        ways = ("circle", "turn", "moves", "stays")
        way = next(claim for kind in ways if (claim := Claim(kind, thing.name)) in truth)
        ends = [claim for claim in sorted(truth) if claim.kind == "ends" and claim.subject == thing.name]
        told += [
            Claim("size", thing.name, thing.size),
            Claim("texture", thing.name, thing.texture),
            way,
            *ends,
        ]
    return told


def changeable(record: Record) -> list[Claim]:
    """True claims of which one word can be changed so that a person sees that they are false."""
    truth = true_claims(record)
    asked = ("size", "texture", "ends", "left_of", "first", "turn", "circle", "moves")
    return list(dict.fromkeys([*story(record), *sorted(c for c in truth if c.kind in asked)]))


def falsify(claim: Claim, record: Record, rng: np.random.Generator) -> Claim | None:
    """Change one word of a claim so that it becomes false but stays plausible.

    Another thing of the clip is put in its place wherever one makes the claim false. None if no change of one
    word does.
    """
    truth = true_claims(record)

    def is_true(option: Claim) -> bool:
        return holds(option, record, truth) or _open(option, record)

    return change(claim, CLAIMS[claim.kind], lambda noun, value: _others(noun, value, record), is_true, rng)


def _open(claim: Claim, record: Record) -> bool:
    """Whether a claim is neither clearly true nor clearly false.

    Things may be in the middle or one above the other; what moves from the beginning has started, somehow,
    and what never moves rests.
    """
    if claim.kind in ("start", "stop"):
        return (claim.subject in record.moved) == (claim.kind == "start")
    if claim.kind not in ("ends", "left_of"):
        return False
    ends = {thing.name: thing.ends for thing in record.things}
    subject, other = ends.get(claim.subject), ends.get(claim.where)
    if subject is None or (claim.kind == "left_of" and other is None):
        return claim.subject in ends and claim.where in (*ends, "left", "right")
    return half(subject[0]) is None if other is None else abs(other[0] - subject[0]) <= APART


def _others(noun: Noun, value: str, record: Record) -> tuple[list[str], list[str]]:
    """What may stand in the place of a word: things of the clip, and things that are not there."""
    number = int(value) if noun == "number" else 0
    colour = value.partition(" ")[0]
    tables: dict[Noun, tuple[list[str], list[str]]] = {
        "": ([], []),
        "thing": ([thing.name for thing in record.things], [f"{colour} {kind}" for kind in KINDS]),
        "side": (list(SIDES), []),
        "half": (["left", "right"], []),
        "size": (list(SIZES), []),
        "texture": (list(TEXTURES), []),
        "number": ([str(k) for k in (number - 1, number + 1) if k > 0], []),
    }
    here, elsewhere = tables[noun]
    return [word for word in here if word != value], [
        word for word in elsewhere if word not in (value, *here)
    ]


def difference(true: Claim, false: Claim) -> str:
    """The fact in which a claim and its false copy differ."""
    if true.kind in ("first", "left_of"):
        return "order"
    return CLAIMS[true.kind][0 if true.subject != false.subject else 1]


def false_statements(record: Record, rng: np.random.Generator, count: int) -> list[Claim]:
    """Plausible false claims: true ones with one word changed.

    Returns:
        Up to `count` distinct claims, none of which the log bears out.
    """
    return false_ones(changeable(record), lambda claim: falsify(claim, record, rng), rng, count)
