"""Questions about a clip with their answers, written from the event log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.asking import Asker
from vidapt.worlds.changing import pairs
from vidapt.worlds.conveyor.claims import changeable, falsify, first_out, of_event, story
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.line import KINDS, SOUND
from vidapt.worlds.conveyor.styles import STYLES
from vidapt.worlds.phrases import Claim, Style

QUESTION_TYPES = (
    "belts",
    "count",
    "kind",
    "colour",
    "size",
    "defect",
    "number_flawed",
    "which_belt",
    "direction",
    "fastest",
    "stopped",
    "first_out",
    "held",
    "touch",
    "fell",
    "arm",
    "arm_part",
    "pushed_to",
    "overtake",
    "exists",
    "true_false",
    "false_premise",
    "trajectory",
    "caption",
)

_FLAWED_SHARE = 0.5


def _counts(asker: Asker, record: Record) -> list[QA]:
    numbers = {"belts": len(record.belts), "count": len(record.parts), "number_flawed": len(record.flawed)}
    return [asker.number(kind, number) for kind, number in numbers.items()]


def _looks(asker: Asker, record: Record) -> list[QA]:
    """What single parts look like; of defects, flawed parts are asked about more often than by chance."""
    call, parts = asker.style.call, record.parts
    kind, size, defect, place = (parts[k] for k in asker.rng.integers(len(parts), size=4).tolist())
    if record.flawed and asker.rng.random() < _FLAWED_SHARE:
        defect = record.flawed[int(asker.rng.integers(len(record.flawed)))]
    key = "defect:none" if defect.defect == SOUND else "defect:some"
    question = asker.wording("defect", a=call(defect.name))
    asked = [
        asker.one("kind", "kind", kind.kind, c=kind.colour),
        asker.one("size", "size", size.size, a=call(size.name)),
        asker.qa("defect", defect.defect, "defect", [defect.defect], key=key, question=question),
    ]
    if len(record.belts) > 1:
        asked.append(asker.one("which_belt", "belt", place.belt, a=call(place.name)))
    once = [part for part in parts if sum(other.kind == part.kind for other in parts) == 1]
    if once:
        part = once[int(asker.rng.integers(len(once)))]
        asked.append(asker.one("colour", "colour", part.colour, k=asker.style.word("kind", part.kind)))
    return asked


def _belts(asker: Asker, record: Record) -> list[QA]:
    belt = record.belts[int(asker.rng.integers(len(record.belts)))]
    asked = [asker.one("direction", "way", belt.towards, b=asker.style.word("belt", belt.name))]
    if len(record.belts) > 1:
        asked.append(asker.one("fastest", "belt", record.fastest.name))
    stopped = [event.subject for event in record.happened("stop")]
    if stopped:
        asked.append(asker.qa("stopped", stopped[0], "belt", stopped, key="stopped:some"))
    else:
        asked.append(asker.qa("stopped", "none", key="stopped:none", extra=["no belt", "none", "nothing"]))
    return asked


def _happenings(asker: Asker, record: Record) -> list[QA]:
    """Which parts something befell."""
    befell = {"held": "hold", "touch": "touch", "fell": "fall"}
    first = first_out(record)
    asked = [] if first is None else [asker.things("first_out", [first] if first else [])]
    for kind, name in befell.items():
        asked.append(asker.things(kind, [event.subject for event in record.events if event.kind == name]))
    return asked


def _arm(asker: Asker, record: Record) -> list[QA]:
    """What the arm does, to which part, and where to; a false premise is a push that did not happen."""
    moved = record.happened("push", "pick")
    done = sorted({event.kind for event in moved})
    value = "both" if len(done) == 2 else done[0] if done else "nothing"
    extra = ["it does nothing", "nothing", "no part"] if not done else []
    asked = [asker.qa("arm", value, key=f"arm:{value}", extra=extra)]
    asked.append(asker.things("arm_part", [event.subject for event in moved]))
    pushed = record.happened("push")
    if pushed:
        asked.append(asker.one("pushed_to", "belt", pushed[0].other, a=asker.style.call(pushed[0].subject)))
    return asked


def _false_premise(asker: Asker, record: Record) -> list[QA]:
    """Where the arm pushes a part that it does not push, or that is not there."""
    pushed = {event.subject for event in record.happened("push")}
    stayed = [part.name for part in record.parts if part.name not in pushed]
    gone = [colour for colour in record.palette if all(part.colour != colour for part in record.parts)]
    absent = bool(gone) and (not stayed or asker.rng.random() < 0.5)
    if not (gone or stayed):
        return []
    name = f"{asker.pick(gone)} {asker.pick(KINDS)}" if absent else asker.pick(stayed)
    key, value = ("absent", "absent") if absent else ("not_pushed", "not pushed")
    question = asker.wording("pushed_to", a=asker.style.call(name))
    return [asker.qa("false_premise", value, "thing", [name], key=key, question=question, bare=False)]


def _overtake(asker: Asker, record: Record) -> list[QA]:
    """Of two parts on belts that run the same way; as often one that does as one that does not."""
    ways = {belt.name: belt.towards for belt in record.belts}
    done = [(event.subject, event.other) for event in record.happened("overtake")]
    parts = [part for part in record.parts]
    other = [
        (a.name, b.name)
        for a in parts
        for b in parts
        if a.belt != b.belt and ways[a.belt] == ways[b.belt] and (a.name, b.name) not in done
    ]
    pools = [(done, True), (other, False)] if asker.rng.random() < 0.5 else [(other, False), (done, True)]
    asked = []
    for pool, yes in pools if done else []:
        if pool:
            a, b = (asker.style.call(name) for name in pool[int(asker.rng.integers(len(pool)))])
            asked.append(asker.yes_no("overtake", yes, asker.wording("overtake", a=a, b=b)))
    return asked


def _exists(asker: Asker, record: Record) -> list[QA]:
    here = [part.colour for part in record.parts]
    missing = [colour for colour in record.palette if colour not in here]
    if not missing:
        return []
    pairs = [(asker.pick(here), True), (asker.pick(missing), False)]
    return [asker.yes_no("exists", yes, asker.wording("exists", c=colour)) for colour, yes in pairs]


def summary(record: Record) -> list[Claim]:
    """What a short caption says: belts and parts, then the first incidents."""
    claims = [Claim("belts", str(len(record.belts))), Claim("count", str(len(record.parts)))]
    happened = [event for event in record.events if event.kind in ("stop", "hold", "fall", "push", "pick")]
    incidents = [of_event(event) for event in (happened or record.happened("touch"))[:2]]
    return [*claims, *(incidents or [Claim("quiet")])]


_WRITERS: tuple[Callable[[Asker, Record], list[QA]], ...] = (
    _counts,
    _looks,
    _belts,
    _happenings,
    _arm,
    _overtake,
    _exists,
    _false_premise,
    lambda asker, record: [asker.text("trajectory", story(record)), asker.text("caption", summary(record))],
)


def ask(record: Record, style: Style, rng: np.random.Generator, statements: int = 1) -> list[QA]:
    """Write every question that applies to a clip.

    Args:
        record: The truth.
        style: How to phrase it.
        rng: Draws the wordings and which parts are asked about.
        statements: At most this many pairs of a true and a false statement.

    Returns:
        Questions of `QUESTION_TYPES`. Some do not fit every clip: `which_belt` and `fastest` need two belts,
        `colour` a kind that only one part has, `first_out` a clear order, `pushed_to` a push, `overtake` a
        part that overtakes, `exists` a colour that is missing.
    """
    asker = Asker(style, STYLES, rng)
    asked = [qa for write in _WRITERS for qa in write(asker, record)]
    told = pairs(changeable(record), lambda claim: falsify(claim, record, rng), rng, statements)
    return [*asked, *asker.statements(told)]
