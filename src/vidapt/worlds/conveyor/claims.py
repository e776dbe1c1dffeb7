"""Single claims about a clip: checked against the whole log, told in order, and changed until false."""

from __future__ import annotations

import numpy as np

from vidapt.worlds.changing import change, false_ones
from vidapt.worlds.conveyor.events import Event, Record
from vidapt.worlds.conveyor.language import CLAIMS
from vidapt.worlds.conveyor.line import BELTS, DEFECTS, KINDS, SIZES, SOUND
from vidapt.worlds.phrases import Claim, Noun, is_called, named

INCIDENTS = ("stop", "hold", "touch", "fall", "push", "pick")
"""Events that are no mere passing by."""

_ALONE = ("hold", "fall", "pick", "stop", "start")
"""Events that are told without their object."""
_WIDEST_LEAD_S = 0.3
"""Who left first is only said if the next one left so much later."""


def of_event(event: Event) -> Claim:
    """What an event amounts to."""
    return Claim(event.kind, event.subject, "" if event.kind in _ALONE else event.other)


def first_out(record: Record) -> str | None:
    """The part that leaves the picture first; empty if none leaves, None if two leave at about one time."""
    left = record.happened("leave")
    if len(left) > 1 and left[1].time_s - left[0].time_s < _WIDEST_LEAD_S:
        return None
    return left[0].subject if left else ""


def true_claims(record: Record) -> frozenset[Claim]:
    """Everything that can truly be said about a clip."""
    said = {of_event(event) for event in record.events}
    for part in record.parts:
        said |= {Claim("rides", part.name, part.belt), Claim("size", part.name, part.size)}
        said.add(Claim("sound", part.name) if part.defect == SOUND else Claim("flaw", part.name, part.defect))
    said |= {Claim("rides", event.subject, event.other) for event in record.happened("push")}
    said |= {Claim("runs", belt.name, belt.towards) for belt in record.belts}
    said |= {Claim("count", str(len(record.parts))), Claim("belts", str(len(record.belts)))}
    if len(record.belts) > 1:
        said.add(Claim("fastest", record.fastest.name))
    left = record.happened("leave")
    if left:
        said.add(Claim("first_out", left[0].subject))
    return frozenset(said | _denials(record))


def _denials(record: Record) -> set[Claim]:
    """What did not happen. Parts that are absent are too many to be listed; see `holds`."""
    absent = {
        "no_touch": not record.happened("touch"),
        "no_fall": not record.happened("fall"),
        "no_stop": not record.happened("stop"),
        "idle": not record.happened("push", "pick"),
        "none_flawed": not record.flawed,
        "quiet": not any(event.kind in INCIDENTS for event in record.events),
    }
    return {Claim(kind) for kind, holds in absent.items() if holds}


def holds(claim: Claim, record: Record, truth: frozenset[Claim]) -> bool:
    """Whether a claim is borne out; `truth` is `true_claims(record)`."""
    if claim.kind == "absent":
        return not any(is_called(claim.subject, part.name) for part in record.parts)
    return full(claim, record) in truth


def full(claim: Claim, record: Record) -> Claim:
    """A claim with parts by their full names, where they were called by their colour alone."""
    return named(claim, CLAIMS, [part.name for part in record.parts])


def story(record: Record, limit: int = 6) -> list[Claim]:
    """The claims of a full description, in order of time, at most `limit`.

    Incidents are kept first, then who leaves, then the rest. Of a clip in which nothing happens, where each
    part rides is told.
    """
    told: list[Claim] = []
    ranks: list[int] = []
    order = {"leave": 1, "start": 1, "enter": 2, "overtake": 2}
    for event in record.events:
        claim = of_event(event)
        if claim not in told:
            told.append(claim)
            ranks.append(order.get(event.kind, 0))
    kept = sorted(sorted(range(len(told)), key=lambda place: (ranks[place], place))[:limit])
    riding = [Claim("rides", part.name, part.belt) for part in record.parts]
    return [told[place] for place in kept] or riding[:limit]


def changeable(record: Record) -> list[Claim]:
    """True claims of which one word can be changed so that a person sees that they are false."""
    told = [*story(record), *(Claim("runs", belt.name, belt.towards) for belt in record.belts)]
    for part in record.parts:
        told += [Claim("rides", part.name, part.belt), Claim("size", part.name, part.size)]
        if part.defect != SOUND:
            told.append(Claim("flaw", part.name, part.defect))
    if len(record.belts) > 1:
        told.append(Claim("fastest", record.fastest.name))
    if first_out(record):
        told.append(Claim("first_out", first_out(record) or ""))
    return list(dict.fromkeys(told))


def falsify(claim: Claim, record: Record, rng: np.random.Generator) -> Claim | None:
    """Change one word of a claim so that it becomes false but stays plausible.

    Another part or belt of the clip is put in its place wherever one makes the claim false. None if no change
    of one word does.
    """
    truth = true_claims(record)
    return change(
        claim,
        CLAIMS[claim.kind],
        lambda noun, value: _others(noun, value, record),
        lambda option: holds(option, record, truth),
        rng,
    )


def _others(noun: Noun, value: str, record: Record) -> tuple[list[str], list[str]]:
    """What may stand in the place of a word: things of the clip, and things that are not there."""
    belts = [belt.name for belt in record.belts]
    number = int(value) if noun == "number" else 0
    colour = value.partition(" ")[0]
    tables: dict[Noun, tuple[list[str], list[str]]] = {
        "": ([], []),
        "thing": ([part.name for part in record.parts], [f"{colour} {kind}" for kind in KINDS]),
        "belt": (belts, list(BELTS)),
        "way": (["left", "right"], []),
        "size": (list(SIZES), []),
        "defect": (list(DEFECTS), []),
        "number": ([str(k) for k in (number - 1, number + 1) if k > 0], []),
    }
    here, elsewhere = tables[noun]
    return [word for word in here if word != value], [
        word for word in elsewhere if word not in (value, *here)
    ]


def difference(true: Claim, false: Claim) -> str:
    """The fact in which a claim and its false copy differ."""
    if true.kind in ("first_out", "overtake"):
        return "order"
    noun = CLAIMS[true.kind][0 if true.subject != false.subject else 1]
    return {"belt": "place", "way": "side"}.get(noun, noun)


def false_statements(record: Record, rng: np.random.Generator, count: int) -> list[Claim]:
    """Plausible false claims: true ones with one word changed.

    Returns:
        Up to `count` distinct claims, none of which the log bears out.
    """
    return false_ones(changeable(record), lambda claim: falsify(claim, record, rng), rng, count)
