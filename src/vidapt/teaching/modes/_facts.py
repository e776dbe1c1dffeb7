"""Facts of a clip, stated of each segment and of each border between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidapt.chat.asked import Failed, Picture, seconds
from vidapt.teaching.agree import Fact, agreement, alike_facts, merged, numbered
from vidapt.teaching.footage import Footage
from vidapt.teaching.rows import Voice
from vidapt.teaching.shapes import FactsAnswer, Stated
from vidapt.teaching.voices import Voices, together


@dataclass(frozen=True)
class Gathered:
    """What is known of a clip.

    Attributes:
        facts: With names, in the order of time.
        left_out: How many too few voices state.
        voices: What each of them stated.
        agreement: Of the voices; None where there is one.
    """

    facts: tuple[Fact, ...]
    left_out: int
    voices: tuple[Voice, ...]
    agreement: float | None

    @property
    def listed(self) -> str:
        """For a prompt: one line each."""
        return "\n".join(_line(fact) for fact in self.facts)

    def named(self, names: Sequence[str]) -> list[Fact]:
        """Facts by their names."""
        return [fact for fact in self.facts if fact.id in names]

    def wrong_names(self, named: Sequence[Sequence[str]], what: str) -> str | None:
        """What is wrong with the names that an answer's parts give; None if nothing is."""
        known = {fact.id for fact in self.facts}
        if not named:
            return f"it has no {what}"
        for number, names in enumerate(named, start=1):
            if not names:
                return f"{what} {number} names no fact; leave out what no listed fact says"
            if unknown := next((name for name in names if name not in known), None):
                return f"{what} {number} names {unknown!r}, which is not listed"
        return None


async def gather(voices: Voices, footage: Footage) -> Gathered:
    """Let all voices state facts.

    Raises:
        Failed: If an answer cannot be read, or no fact is left.
    """
    least, recipe = voices.recipe.facts.alike, voices.recipe
    seen = await together(_of_segment(voices, footage, at) for at in range(len(footage.segments)))
    found = [merged(_named(voices, stated), "seen", least) for stated in seen]
    changes: list[list[list[Stated]]] = []
    if recipe.facts.beside:
        borders = range(len(footage.segments) - 1)
        changes = await together(_of_border(voices, footage, at, found) for at in borders)
    found += [merged(_named(voices, stated), "change", least) for stated in changes]
    everything = [fact for facts in found for fact in facts]
    kept = tuple(numbered([fact for fact in everything if fact.votes >= recipe.least_votes]))
    if not kept:
        told = "no fact" if not everything else f"no fact that {recipe.least_votes} voices share"
        raise Failed("facts", f"{told} is stated of it")
    spoken = [[fact for stated in (*seen, *changes) for fact in stated[at]] for at in range(len(voices.all))]
    agrees = agreement(spoken, lambda one, other: alike_facts(one, other, least))
    said = tuple(
        Voice(voices.name(number), seed, FactsAnswer(facts=tuple(facts)).model_dump_json(), None, False)
        for (number, seed), facts in zip(voices.all, spoken, strict=True)
    )
    return Gathered(kept, len(everything) - len(kept), said, agrees)


async def _of_segment(voices: Voices, footage: Footage, at: int) -> list[list[Stated]]:
    start, end = footage.segments[at]
    pictures = footage.of_segment(at)
    if not pictures:
        return [[] for _ in voices.all]
    values = {
        "times": _times(pictures),
        "length": seconds(footage.look.length_s),
        "start": seconds(start),
        "end": seconds(end),
        "most": voices.recipe.facts.most,
    }
    step = f"facts {at + 1}"
    said = await voices.state(step, voices.recipe.prompts.facts, values, footage, pictures, FactsAnswer)
    return [_within(answer, start, end, voices.recipe.facts.most) for answer in said]


async def _of_border(
    voices: Voices, footage: Footage, at: int, found: Sequence[Sequence[Fact]]
) -> list[list[Stated]]:
    beside = voices.recipe.facts.beside
    pictures = (*footage.of_segment(at)[-beside:], *footage.of_segment(at + 1)[:beside])
    if len(pictures) < 2:
        return [[] for _ in voices.all]
    values = {
        "times": _times(pictures),
        "border": seconds(footage.segments[at][1]),
        "before": "\n".join(map(_line, found[at])) or "nothing",
        "after": "\n".join(map(_line, found[at + 1])) or "nothing",
        "most": voices.recipe.facts.most,
    }
    step = f"difference {at + 1}"
    said = await voices.state(step, voices.recipe.prompts.difference, values, footage, pictures, FactsAnswer)
    start, end = pictures[0].seconds, pictures[-1].seconds
    return [_within(answer, start, end, voices.recipe.facts.most) for answer in said]


def _named(voices: Voices, stated: Sequence[Sequence[Stated]]) -> list[tuple[str, Sequence[Stated]]]:
    return [(voices.name(number), facts) for (number, _), facts in zip(voices.all, stated, strict=True)]


def _within(answer: FactsAnswer, start: float, end: float, most: int) -> list[Stated]:
    """The first facts of an answer, with times inside of what was shown."""
    facts = []
    for fact in answer.facts[:most]:
        first, last = sorted((fact.start_s, fact.end_s))
        times = {"start_s": min(max(first, start), end), "end_s": min(max(last, start), end)}
        facts.append(fact.model_copy(update=times))
    return facts


def _times(pictures: Sequence[Picture]) -> str:
    return ", ".join(f"{seconds(one.seconds)} s" for one in pictures)


def _line(fact: Fact) -> str:
    stated = fact.stated
    more = f" ({', '.join(stated.attributes)})" if stated.attributes else ""
    unsure = "" if stated.visibility == "clear" else f" [{stated.visibility}]"
    words = " | ".join(filter(None, (stated.subject, stated.predicate, stated.object)))
    when = f"{seconds(stated.start_s)}-{seconds(stated.end_s)} s"
    return f"{fact.id or '-'} [{when}] {words}{more}{unsure}"
