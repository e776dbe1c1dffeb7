"""Questions about a clip with their answers, written from the event log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations

import numpy as np

from vidapt.worlds.asked import QA, normalise
from vidapt.worlds.conveyor.claims import Claim, changeable, falsify, first_out, of_event, story
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.language import NUMBERS, Noun, Style
from vidapt.worlds.conveyor.line import KINDS, SOUND
from vidapt.worlds.conveyor.styles import STYLES

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

_YES_NO = {
    "yes": ("yes", "true", "right", "correct"),
    "no": ("no", "false", "wrong", "incorrect"),
}


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
        value: str,
        noun: Noun = "",
        values: Sequence[str] = (),
        *,
        key: str | None = None,
        question: str | None = None,
        extra: Iterable[str] = (),
        bare: bool = True,
    ) -> QA:
        """Answer with the template `key`; any style's wording of it is accepted, in any order of `values`.

        A single value is accepted without the template, too, if `bare`.
        """
        key = kind if key is None else key
        orders = [values] if len(values) < 2 else list(permutations(values))[:24]
        accept = {normalise(style.answer(key, noun, order)) for style in STYLES.values() for order in orders}
        if noun and len(values) == 1 and bare:
            accept |= {normalise(style.word(noun, values[0])) for style in STYLES.values()}
        accept |= {normalise(value), *map(normalise, extra)}
        question = self.wording(kind) if question is None else question
        return QA(kind, question, self.style.answer(key, noun, values), value, tuple(sorted(accept)))

    def yes_no(self, kind: str, yes: bool, question: str, keys: tuple[str, str] = ("yes", "no")) -> QA:
        value = "yes" if yes else "no"
        return self.qa(kind, value, key=keys[not yes], question=question, extra=_YES_NO[value])

    def one(self, kind: str, noun: Noun, value: str, **slots: str) -> QA:
        """A question answered by one word."""
        return self.qa(kind, value, noun, [value], question=self.wording(kind, **slots))

    def parts(self, kind: str, names: Sequence[str], question: str | None = None) -> QA:
        """A question answered by naming parts, sorted so that one set of parts has one answer."""
        ordered = sorted(dict.fromkeys(names))
        if not ordered:
            nothing = ("no part", "nothing", "none")
            return self.qa(kind, "none", key="parts:none", question=question, extra=nothing)
        alone = [ordered[0].partition(" ")[0]] if len(ordered) == 1 else []
        extra = [f"{the}{colour}{one}" for colour in alone for the in ("", "the ") for one in ("", " one")]
        return self.qa(
            kind, ",".join(ordered), "part", ordered, key="parts:some", question=question, extra=extra
        )


def _counts(asker: _Asker, record: Record) -> list[QA]:
    numbers = {"belts": len(record.belts), "count": len(record.parts), "number_flawed": len(record.flawed)}
    return [
        asker.qa(kind, str(number), "number", [str(number)], extra=[NUMBERS[number]])
        for kind, number in numbers.items()
    ]


def _looks(asker: _Asker, record: Record) -> list[QA]:
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
        asked.append(asker.one("colour", "colour", part.colour, k=asker.style.kinds[part.kind]))
    return asked


def _belts(asker: _Asker, record: Record) -> list[QA]:
    belt = record.belts[int(asker.rng.integers(len(record.belts)))]
    asked = [asker.one("direction", "way", belt.towards, b=asker.style.belts[belt.name])]
    if len(record.belts) > 1:
        asked.append(asker.one("fastest", "belt", record.fastest.name))
    stopped = [event.subject for event in record.happened("stop")]
    if stopped:
        asked.append(asker.qa("stopped", stopped[0], "belt", stopped, key="stopped:some"))
    else:
        asked.append(asker.qa("stopped", "none", key="stopped:none", extra=["no belt", "none", "nothing"]))
    return asked


def _happenings(asker: _Asker, record: Record) -> list[QA]:
    """Which parts something befell."""
    befell = {"held": "hold", "touch": "touch", "fell": "fall"}
    first = first_out(record)
    asked = [] if first is None else [asker.parts("first_out", [first] if first else [])]
    for kind, name in befell.items():
        asked.append(asker.parts(kind, [event.subject for event in record.events if event.kind == name]))
    return asked


def _arm(asker: _Asker, record: Record) -> list[QA]:
    """What the arm does, to which part, and where to; a false premise is a push that did not happen."""
    moved = record.happened("push", "pick")
    done = sorted({event.kind for event in moved})
    value = "both" if len(done) == 2 else done[0] if done else "nothing"
    extra = ["it does nothing", "nothing", "no part"] if not done else []
    asked = [asker.qa("arm", value, key=f"arm:{value}", extra=extra)]
    asked.append(asker.parts("arm_part", [event.subject for event in moved]))
    pushed = record.happened("push")
    if pushed:
        asked.append(asker.one("pushed_to", "belt", pushed[0].other, a=asker.style.call(pushed[0].subject)))
    return asked


def _false_premise(asker: _Asker, record: Record) -> list[QA]:
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
    return [asker.qa("false_premise", value, "part", [name], key=key, question=question, bare=False)]


def _overtake(asker: _Asker, record: Record) -> list[QA]:
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


def _exists(asker: _Asker, record: Record) -> list[QA]:
    here = [part.colour for part in record.parts]
    missing = [colour for colour in record.palette if colour not in here]
    if not missing:
        return []
    pairs = [(asker.pick(here), True), (asker.pick(missing), False)]
    return [asker.yes_no("exists", yes, asker.wording("exists", c=colour)) for colour, yes in pairs]


def _true_false(asker: _Asker, record: Record) -> list[QA]:
    """True statements, each followed by a false one that differs from it in one word."""
    sources = changeable(record)
    pairs: list[QA] = []
    for place in asker.rng.permutation(len(sources)).tolist():
        wrong = falsify(sources[place], record, asker.rng)
        if wrong is not None:
            for claim, yes in ((sources[place], True), (wrong, False)):
                wording = asker.wording("true_false", s=claim.say(asker.style))
                pairs.append(asker.yes_no("true_false", yes, wording, ("true", "false")))
        if len(pairs) == 2 * asker.statements:
            break
    return pairs


def _text(asker: _Asker, kind: str, text: str) -> list[QA]:
    return [QA(kind, asker.wording(kind), text, "text", (normalise(text),))]


def tell(record: Record, style: Style) -> str:
    """What happens on the belts: one sentence per claim of `claims.story`."""
    return " ".join(f"{claim.say(style)}." for claim in story(record))


def summarise(record: Record, style: Style) -> str:
    """A caption of two to four sentences: belts and parts, then the first incidents."""
    claims = [Claim("belts", str(len(record.belts))), Claim("count", str(len(record.parts)))]
    incidents = [
        of_event(event) for event in record.events if event.kind in ("stop", "hold", "fall", "push", "pick")
    ]
    if not incidents:
        incidents = [of_event(event) for event in record.happened("touch")] or [Claim("quiet")]
    return " ".join(f"{claim.say(style)}." for claim in [*claims, *incidents[:2]])


_WRITERS: tuple[Callable[[_Asker, Record], list[QA]], ...] = (
    _counts,
    _looks,
    _belts,
    _happenings,
    _arm,
    _overtake,
    _exists,
    _true_false,
    _false_premise,
    lambda asker, record: _text(asker, "trajectory", tell(record, asker.style)),
    lambda asker, record: _text(asker, "caption", summarise(record, asker.style)),
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
    asker = _Asker(style, rng, statements)
    return [qa for write in _WRITERS for qa in write(asker, record)]
