"""A model behind a server, measured as one that is opened here: the same questions, controls and rules."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, cast

from vidapt.appended import Appended
from vidapt.chat.asked import Asked, Failed, Picture, Stop, Tally
from vidapt.chat.desk import Desk
from vidapt.chat.open import open_speakers
from vidapt.chat.pictures import pictures_of
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Replies
from vidapt.digests import digest
from vidapt.errors import BrokenClip
from vidapt.files import write_json
from vidapt.inference.changed import CHANGES
from vidapt.interrupt import between_steps
from vidapt.measure.asking import plain
from vidapt.measure.remote import Remote
from vidapt.nouns import Clip, Frames
from vidapt.video import Uniform, Wanted, decode_each, probe, smaller
from vidapt.video.identity import identity

if TYPE_CHECKING:
    from vidapt.models.decoding import Decoding

REPLIES, UNANSWERED, SPENT = "replies.jsonl", "unanswered.jsonl", "spent.json"


@dataclass(frozen=True, slots=True)
class ShownClip:
    """A clip as it is sent.

    Attributes:
        clip: It.
        content: Its `video.identity`.
        pictures: Frames in order.
        changed: The same with frames changed, by the name of the change (`inference.changed`).
    """

    clip: Clip
    content: str
    pictures: tuple[Picture, ...]
    changed: Mapping[str, ShownClip] = field(default_factory=dict)


class RemoteEngine:
    """Asks a server whatever an evaluation asks an engine; see `measure.asking.Asked`.

    Every answer is kept in the folder before it counts, so that none is paid for twice. A question that
    comes to nothing has the empty answer, which is wrong; `unanswered.jsonl` says why.

    Args:
        remote: The server.
        out: Folder of the evaluation.

    Raises:
        ConfigError: If the server cannot be asked, or its key is not in the environment.
        TakenError: If another process writes there.
    """

    clip_tokens = 1  # none of this machine's memory

    def __init__(self, remote: Remote, out: Path) -> None:
        self._remote, self._out = remote, out
        self._speakers = open_speakers([remote.endpoint])
        self.name = remote.endpoint.model
        self._open = ExitStack()
        self._replies = self._open.enter_context(Replies(out / REPLIES, self.fingerprint))
        self._unanswered = self._open.enter_context(closing(Appended(out / UNANSWERED)))
        self._runner = self._open.enter_context(asyncio.Runner())
        purse = Purse(self._replies.spent, remote.budget.money, remote.budget.tokens)
        self._stopping: Any = lambda: None
        self._desk = Desk(self._speakers, self._replies, purse, remote.give_up, lambda: self._stopping())

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._desk.close())
        self._open.close()
        write_json(self._out / SPENT, self.spent())

    @property
    def fingerprint(self) -> str:
        """Hash of the model by its name, what it is shown and in which words it is asked."""
        remote = self._remote
        return digest([self._speakers[0].identity, remote.frames.model_dump(), remote.prompt], 24)

    def spent(self) -> dict[str, Any]:
        """What all questions took, in earlier jobs, too; money is None where no price is known."""
        spent = asdict(self._replies.spent)
        priced = self._speakers[0].priced
        return {
            **spent,
            "money": spent["money"] if priced else None,
            "currency": self._remote.budget.currency,
        }

    def text_tokens(self, question: str) -> int:
        """How long questions may be is the server's concern."""
        del question
        return 0

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[ShownClip | BrokenClip]]:
        """Decode clips batch by batch, in order, as they are sent."""
        del beside
        sizes: deque[int] = deque()

        def wanted() -> Iterator[Wanted]:
            for batch in batches:
                sizes.append(len(batch))
                yield from map(self._wanted, batch)

        stream = decode_each(wanted(), workers=workers)
        with closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
            for first in stream:
                rest = islice(stream, sizes.popleft() - 1)
                yield [self._shown(clip, frames, changes) for clip, frames in (first, *rest)]

    def answer(
        self, asked: Sequence[tuple[Sequence[ShownClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[str]]:
        """Ask questions about clips, or about none.

        Raises:
            VidaptError: If no question will be answered any more, or the budget is spent; what was answered
                is kept.
            KeyboardInterrupt: Once what was under way is answered.
        """
        with between_steps() as interrupted:
            self._stopping = interrupted
            found = self._runner.run(self._all(asked, decoding))
            self._stopping = lambda: None
            if (stop := interrupted()) is not None:
                raise stop
        if self._desk.reason is not None:
            raise self._desk.reason
        return found

    def text(self, answer: str) -> str:
        """An answer's words."""
        return answer.strip()

    def _wanted(self, clip: Clip) -> Wanted:
        policy, size = Uniform(count=self._remote.frames.count, pad=False), None
        try:
            known = probe(clip.path, rate=clip.rate)
            size = smaller((known.height, known.width), self._remote.frames.side)
        except BrokenClip:
            pass  # decoding says so in its turn
        return Wanted(clip, policy, size)

    def _shown(
        self, clip: Clip, frames: Frames | BrokenClip, changes: Sequence[str]
    ) -> ShownClip | BrokenClip:
        if isinstance(frames, BrokenClip):
            return frames
        try:
            content = identity(clip.path)
        except OSError as error:
            return BrokenClip(clip.path, f"cannot be read: {error}")
        quality = self._remote.frames.quality
        changed = {
            name: ShownClip(clip, content, tuple(pictures_of(CHANGES[name](clip, frames), quality)))
            for name in changes
        }
        return ShownClip(clip, content, tuple(pictures_of(frames, quality)), changed)

    async def _all(
        self, asked: Sequence[tuple[Sequence[ShownClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[str]]:
        rows = [
            asyncio.gather(*(self._one(seen, question, decoding) for question in questions))
            for seen, questions in asked
        ]
        return list(await asyncio.gather(*rows))

    async def _one(self, seen: Sequence[ShownClip], question: str, decoding: Decoding) -> str:
        shown = seen[0] if seen else None
        asked = Asked(
            prompt=Template(self._remote.prompt).substitute(question=plain(question)),
            pictures=() if shown is None else shown.pictures,
            clip=None if shown is None else shown.clip,
            content="" if shown is None else shown.content,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            seed=decoding.seed,
        )
        try:
            return (await self._desk.ask(0, asked, "question", Tally())).text
        except Stop:
            return ""  # `answer` raises the reason
        except Failed as error:
            clip = None if shown is None else shown.clip.id
            self._unanswered.write({"clip": clip, "question": plain(question), "reason": error.found})
            return ""
