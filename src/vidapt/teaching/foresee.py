"""What labels will cost, before anything is asked: every clip's questions are put together and sent nowhere.

Each kind of clip (as many frames, segments, as large) is labelled twice by a teacher that only counts. Once
all goes well; once every answer in JSON has to be asked for again, every answer is as long as it may be and,
where `again` says so, every clip is labelled twice. How much a teacher will state is not known: it is taken
to state some facts of each segment, or as many as are read.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidapt.chat.asked import Asked, Picture, Said, Speaker, Tally
from vidapt.errors import BrokenClip
from vidapt.progress import Reporter, silent
from vidapt.teaching import modes
from vidapt.teaching.book import Book, Places, old_rows
from vidapt.teaching.footage import Footage, Look, look_at, outline
from vidapt.teaching.settings import Labelling
from vidapt.teaching.todo import Source, find_todo
from vidapt.teaching.voices import Voices
from vidapt.video import smaller

_USUAL = 6
"""Facts that a teacher is taken to state of a segment."""

_LETTERS = 4
"""Of a token, about, in English and in JSON; the bounds take one."""

_CAPTION_LETTERS = 600


@dataclass
class Cost:
    """What questions take.

    Attributes:
        calls: How many.
        read: Tokens, pictures among them.
        written: Tokens.
        money: In the recipe's currency; 0 where no price is known, which `Foreseen` tells.
    """

    calls: int = 0
    read: int = 0
    written: int = 0
    money: float = 0.0

    def add(self, other: Cost, times: int = 1) -> None:
        """Count another one, so many times."""
        self.calls += times * other.calls
        self.read += times * other.read
        self.written += times * other.written
        self.money += times * other.money


@dataclass(frozen=True)
class Foreseen:
    """What a job will cost.

    Attributes:
        clips: That are to be labelled.
        kept: That have labels already.
        broken: That cannot be labelled.
        frames: Shown in all, where nothing is repeated.
        seconds: Of footage.
        likely: Where nothing is repeated.
        most: Where everything is, and every answer is as long as it may be.
        currency: Of the money.
        unpriced: Teachers without a price.
    """

    clips: int
    kept: int
    broken: int
    frames: int
    seconds: float
    likely: Cost
    most: Cost
    currency: str
    unpriced: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = asdict(self) | {"unpriced": list(self.unpriced)}
        if self.unpriced:
            plain["likely"]["money"] = plain["most"]["money"] = None
        return plain

    def rows(self) -> list[list[str]]:
        """As lines of a table: which, calls, tokens read and written, money."""
        return [
            [
                name,
                f"{cost.calls:,}",
                f"{cost.read:,}",
                f"{cost.written:,}",
                "unknown" if self.unpriced else f"{cost.money:.4g} {self.currency}",
            ]
            for name, cost in (("likely", self.likely), ("at most", self.most))
        ]


@dataclass
class _Rehearsal:
    """Answers without anybody being asked, and counts.

    Args:
        speakers: Whose bounds count.
        rough: Whether all goes badly.
    """

    speakers: Sequence[Speaker]
    most_facts: int
    rough: bool
    cost: Cost = field(default_factory=Cost)

    async def ask(self, number: int, asked: Asked, step: str, tally: Tally) -> Said:
        """Make something up."""
        del tally
        teacher, bound = self.speakers[number], self.speakers[number].bound(asked)
        spoilt = self.rough and asked.schema is not None and not step.endswith("again")
        text = "{" if spoilt else self._text(asked)
        letters = len(asked.prompt.encode())
        read = bound.read if self.rough else bound.read - letters + letters // _LETTERS
        written = asked.max_tokens if self.rough else min(asked.max_tokens, 1 + len(text) // _LETTERS)
        self.cost.add(Cost(1, read, written, teacher.money(read, written)))
        return Said(text)

    def _text(self, asked: Asked) -> str:
        kind = "" if asked.schema is None else asked.schema["title"]
        fact = {"subject": "somebody in red", "predicate": "does something to", "object": "something"}
        facts = [fact | {"start_s": 0.0, "end_s": 0.0}] * (self.most_facts if self.rough else _USUAL)
        made: dict[str, Any] = {
            "FactsAnswer": {"facts": facts},
            "WrittenAnswer": {"clauses": [{"text": "Somebody does something.", "facts": ["f1"]}] * _USUAL},
            "QuestionsAnswer": {
                "questions": [{"question": "Who does it?", "answer": "Somebody.", "facts": ["f1"]}] * _USUAL
            },
        }
        return json.dumps(made[kind]) if kind else "x" * _CAPTION_LETTERS


def foresee(
    recipe: Labelling,
    teachers: Sequence[Speaker],
    source: Source,
    out: Path,
    *,
    overwrite: bool = False,
    report: Reporter = silent,
) -> Foreseen:
    """Say what labels will cost. Answers that are kept from before are counted as if they were not.

    Args:
        recipe: What is to be asked.
        teachers: Of whom; none is.
        source: Which clips.
        out: Where labels are to go; clips that have some by the same recipe are passed over.
        overwrite: As for the job.
        report: Told how far the work is.

    Raises:
        ConfigError: As the job does.
    """
    places = Places.of(out)
    settings = source.settings(recipe.settings([teacher.identity for teacher in teachers]))
    todo = find_todo(source, settings, report)
    done = set() if overwrite else {row.key for row in old_rows(places, settings)}
    if places.partial.exists():
        with Book(places.partial) as book:
            done |= book.rows.keys()
    left = {key: clip for key, clip in todo.clips.items() if key not in done}
    found = [look for _, look in look_at(left, todo.contents, source.processes, report)]
    looks = [look for look in found if not isinstance(look, BrokenClip)]
    likely, most = asyncio.run(_rehearsed(recipe, teachers, looks))
    return Foreseen(
        clips=len(looks),
        kept=len(todo.clips) - len(left),
        broken=len(found) - len(looks) + len(todo.unreadable),
        frames=sum(outline(look, recipe)[0] for look in looks),
        seconds=round(sum(look.length_s for look in looks), 3),
        likely=likely,
        most=most,
        currency=recipe.budget.currency,
        unpriced=tuple(dict.fromkeys(one.name for one in teachers if not one.priced)),
    )


async def _rehearsed(
    recipe: Labelling, teachers: Sequence[Speaker], looks: Iterable[Look]
) -> tuple[Cost, Cost]:
    kinds: Counter[tuple[Any, ...]] = Counter()
    examples: dict[tuple[Any, ...], Look] = {}
    for look in looks:
        count, parts = outline(look, recipe)
        kind = (count, len(parts), smaller(look.size, recipe.frames.side))
        kinds[kind] += 1
        longest = examples.setdefault(kind, look)
        examples[kind] = max(longest, look, key=lambda one: one.length_s)
    likely, most = Cost(), Cost()
    for kind, number in kinds.items():
        smooth = _Rehearsal(teachers, recipe.facts.most, rough=False)
        rough = _Rehearsal(teachers, recipe.facts.most, rough=True)
        label = modes.find(recipe.mode)
        await label(Voices(recipe, smooth), _imagined(examples[kind], recipe, 1.0))
        await label(Voices(recipe, rough), _imagined(examples[kind], recipe, 1.0))
        if recipe.again.below:
            await label(Voices(recipe, rough), _imagined(examples[kind], recipe, recipe.again.frames))
        likely.add(smooth.cost, number)
        most.add(rough.cost, number)
    return likely, most


def _imagined(look: Look, recipe: Labelling, times: float) -> Footage:
    """A clip as it would be shown, without its pixels."""
    count, parts = outline(look, recipe, times)
    size = smaller(look.size, recipe.frames.side)
    moments = ((at + 0.5) * look.length_s / count for at in range(count))
    pictures = tuple(Picture(b"", round(moment, 3), size, "") for moment in moments)
    return Footage(look, pictures, parts)
