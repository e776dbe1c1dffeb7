"""One run of a job: clips are looked at, shown and labelled, several at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from vidapt.captioning.found import readable
from vidapt.chat.asked import Failed, Speaker, Stop, Tally
from vidapt.chat.desk import Desk
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Replies
from vidapt.errors import BrokenClip, FormatError, VidaptError
from vidapt.formats.vidapt_jsonl import refuse_unwritable
from vidapt.progress import Reporter
from vidapt.teaching import modes
from vidapt.teaching.again import anew
from vidapt.teaching.book import Book, Head
from vidapt.teaching.footage import Footage, Look, look_at, show
from vidapt.teaching.rows import Broken, Labelled, LabelRow, plain_facts, plain_labels, refused
from vidapt.teaching.settings import Labelling
from vidapt.teaching.todo import Source, Todo
from vidapt.teaching.voices import Voices, together
from vidapt.version import VERSION


class Work:
    """One run.

    Args:
        recipe: What is asked.
        source: How clips are decoded.
        todo: Which there are.
        book: Where what is done is noted.
        replies: Where answers are kept.
        teachers: Who is asked.
        report: Told how far the work is.
        before: Keys of clips that have labels already.
        again: The how-manyth time clips are asked again, by key; then no others are asked.
        old: Rows of clips that are asked again, by key.
        late: Names of clips that a teacher failed on before: they come last.
    """

    def __init__(
        self,
        recipe: Labelling,
        source: Source,
        todo: Todo,
        book: Book,
        replies: Replies,
        teachers: Sequence[Speaker],
        report: Reporter,
        before: set[str],
        again: Mapping[str, int] | None = None,
        old: Mapping[str, Head] = MappingProxyType({}),
        late: Collection[str] = (),
    ) -> None:
        self._recipe, self._source, self._todo, self._book = recipe, source, todo, book
        self._replies, self._teachers, self._report = replies, teachers, report
        self._label = modes.find(recipe.mode)
        self._at_once = sum(teacher.limits.concurrency for teacher in teachers)
        self._again, self._old = again or {}, old
        # Where a teacher has failed before, it is shown more.
        self._times = 1.0 if again is None else recipe.again.frames
        asked = todo.clips if again is None else {key: todo.clips[key] for key in again}
        left = [(key, clip) for key, clip in asked.items() if key not in before]
        self._late = set(late)
        self._left = dict(sorted(left, key=lambda one: one[1].id in self._late))
        self._total = len(asked)
        self._done = len(asked) - len(self._left)
        self._kept, self._broken, self._vain = self._done, 0, 0

    async def carry_out(self, interrupted: Callable[[], object]) -> VidaptError | None:
        """Label all that is left; why it ended before that, if it did.

        Args:
            interrupted: As `Desk` has it.
        """
        recipe = self._recipe
        self._purse = Purse(self._replies.spent, recipe.budget.money, recipe.budget.tokens)
        self._desk = Desk(self._teachers, self._replies, self._purse, recipe.give_up, interrupted)
        self._tell()
        try:
            await self._all()
        finally:
            await self._desk.close()
            self._book.sync()
        return self._desk.reason

    def _shown(self) -> Generator[Footage | tuple[str, BrokenClip], None, None]:
        """What is left, as it is shown, or what is wrong with it by key."""
        count, broken = self._source.processes, deque[tuple[str, BrokenClip]]()

        def looks() -> Iterator[Look]:
            for key, look in look_at(self._left, self._todo.contents, count, self._report):
                if isinstance(look, BrokenClip):
                    broken.append((key, look))
                else:
                    yield look

        for item in show(looks(), self._recipe, count, self._at_once, self._times):
            while broken:
                yield broken.popleft()
            yield item if isinstance(item, Footage) else (item[0].key, item[1])
        yield from broken

    async def _all(self) -> None:
        shown = self._shown()
        waiting: set[asyncio.Task[None]] = set()
        fetching: asyncio.Task[Any] | None = None
        try:
            while not self._desk.ended:
                fetching = asyncio.create_task(asyncio.to_thread(next, shown, None))
                if (item := await asyncio.shield(fetching)) is None:
                    break
                while len(waiting) >= self._at_once:
                    ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        await task
                waiting.add(asyncio.create_task(self._one(item)))
            await together(waiting)
        finally:
            if fetching is not None and not fetching.done():
                await asyncio.wait([fetching])  # a generator cannot be closed while it runs
            with contextlib.suppress(ValueError):
                shown.close()

    async def _one(self, item: Footage | tuple[str, BrokenClip]) -> None:
        if not isinstance(item, Footage):
            self._break(item[0], item[1].reason, Tally())
            return
        tally, key = Tally(), item.look.key
        try:
            footage, labelled, rounds = await self._rounds(item, tally)
            row = self._row(key, footage, labelled, rounds, tally)
            for sample in row.samples(self._book.path.parent):
                refuse_unwritable(sample)
        except Stop:
            return
        except (Failed, FormatError) as error:
            self._break(key, f"{error.where}: {error.found}", tally)
            self._judge(key, tally, error.found)
        except BrokenClip as error:
            self._break(key, error.reason, tally)
        else:
            self._book.add(row)
            self._kept += 1
            self._done += 1
            self._tell()
            self._judge(key, tally, refused(labelled))

    def _judge(self, key: str, tally: Tally, wrong: str | None) -> None:
        """End all where the teacher has said nothing of use for some clips in a row.

        Clips that cost nothing now, or on which it failed before, do not count, so that a job which is run
        again gets behind them.
        """
        if not tally.fresh or self._todo.clips[key].id in self._late:
            return
        self._vain = 0 if wrong is None else self._vain + 1
        if wrong is not None and self._vain >= self._recipe.give_up_clips:
            names = ", ".join(teacher.name for teacher in self._teachers)
            told = f"nothing of use about {self._vain} clips in a row; the last: {readable(wrong)}"
            remedy = "see to model and prompts; the same command goes on behind these clips"
            self._desk.end(VidaptError(names, told, remedy))

    async def _rounds(self, footage: Footage, tally: Tally) -> tuple[Footage, Labelled, int]:
        """A clip's labels; where voices agree too little, those of a second look if that is better."""
        recipe = anew(self._recipe, self._again.get(footage.look.key, 0))
        again, voices = recipe.again, Voices(recipe, self._desk, tally)
        labelled, rounds = await self._label(voices, footage), 1
        if labelled.agreement is not None and labelled.agreement < again.below:
            closer = await asyncio.to_thread(self._closer, footage.look)
            other, rounds = await self._label(voices, closer), 2
            if (other.agreement or 0.0) > labelled.agreement:
                footage, labelled = closer, other
        if labelled.agreement is not None and labelled.agreement < again.drop_below:
            told = f"its voices agree {labelled.agreement:.2f}, less than {again.drop_below:g}"
            raise Failed("agreement", told)
        if labelled.agreement is not None and labelled.agreement < again.below:
            labelled = replace(labelled, flags=(*labelled.flags, "low_agreement"))
        return footage, labelled, rounds

    def _closer(self, look: Look) -> Footage:
        workers = min(1, self._source.processes)
        (found,) = show([look], self._recipe, workers, 1, self._times * self._recipe.again.frames)
        if not isinstance(found, Footage):
            raise found[1]
        return found

    def _row(self, key: str, footage: Footage, labelled: Labelled, rounds: int, tally: Tally) -> LabelRow:
        look, clip = footage.look, footage.look.clip
        calls = self._calls(key, tally)
        height, width = footage.pictures[0].size
        agreement = labelled.agreement
        return LabelRow(
            key=key,
            clip=clip.id,
            path=str(clip.path.resolve()),
            folder=self._todo.folder,
            start_s=clip.start_s,
            end_s=clip.end_s,
            rate=clip.rate,
            mode=self._recipe.mode,
            settings=self._todo.settings,
            teachers=[teacher.name for teacher in self._teachers],
            frames=[one.seconds for one in footage.pictures],
            size=[height, width],
            length_s=round(look.length_s, 3),
            movement=look.movement,
            labels=plain_labels(clip.id, labelled.labels),
            facts=plain_facts(labelled.facts),
            voices=[asdict(voice) for voice in labelled.voices],
            agreement=None if agreement is None else round(agreement, 4),
            rounds=rounds,
            flags=list(labelled.flags),
            calls=calls,
            usage=_usage(calls),
            notes=[readable(note) for note in (*self._todo.notes.get(key, ()), *footage.notes)],
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=VERSION,
            again=self._again.get(key, 0),
        )

    def _calls(self, key: str, tally: Tally) -> list[dict[str, Any]]:
        """All calls for a clip: what was paid for labels that were set aside is part of what these cost."""
        before = self._old[key].read()["calls"] if key in self._old else []
        known = {call["reply"] for call in before}
        made = sorted(tally.calls, key=lambda one: (one.step, one.teacher, one.reply))
        return [*before, *(asdict(call) for call in made if call.reply not in known)]

    def _break(self, key: str, reason: str, tally: Tally) -> None:
        name = self._todo.clips[key].id
        if key in self._old:  # it keeps what it had, and what was asked in vain is paid
            calls = self._calls(key, tally)
            self._book.add(replace(LabelRow(**self._old[key].read()), calls=calls, usage=_usage(calls)))
        self._book.add(
            Broken(
                key,
                name,
                readable(reason),
                self._todo.settings,
                _usage([asdict(call) for call in tally.calls]),
            )
        )
        self._broken += 1
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        """The live line: done, kept, spent, left."""
        spent, currency = self._replies.spent, self._recipe.budget.currency
        priced = all(teacher.priced for teacher in self._teachers)
        money = f"{spent.money:.4g} {currency}" if priced else "cost unknown"
        note = f"{self._kept} kept, {self._broken} broken, {money}, {spent.tokens:,} tokens"
        left = self._purse.left(currency)
        self._report("label", self._done, self._total, f"{note}; {left} left" if left else note)


def _usage(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    money = [one["money"] for one in calls]
    return {
        "calls": len(calls),
        "read": sum(one["read"] for one in calls),
        "written": sum(one["written"] for one in calls),
        "money": None if any(one is None for one in money) else round(sum(money), 9),
        "seconds": round(sum(one["seconds"] for one in calls), 3),
        "frames": sum(one["frames"] for one in calls),
    }
