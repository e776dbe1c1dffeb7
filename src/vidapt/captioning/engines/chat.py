"""A server with the interface of OpenAI's chat completions, which is shown frames."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from string import Template
from typing import Any

from vidapt.captioning.engines.protocol import Look, Words
from vidapt.chat.asked import Asked, Call, Failed, Said
from vidapt.chat.counter import Counter
from vidapt.chat.open import open_speakers
from vidapt.chat.remote import Remote
from vidapt.chat.shown import ShownClip, shown_batches
from vidapt.errors import BrokenClip, VidaptError
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.video import Meter


class ChatServer:
    """Answers by a server, as many at a time as its settings allow.

    Args:
        remote: The server.
        replies: File in which answers are kept, so that none is paid for twice.

    Raises:
        ConfigError: If the server cannot be asked, or its key is not in the environment.
        TakenError: If another process keeps answers there.
    """

    card: Mapping[str, Any] = {}
    frames = None

    def __init__(self, remote: Remote, replies: Path) -> None:
        (speaker,) = open_speakers([remote.endpoint])
        self._remote, self.name = remote, remote.endpoint.model
        self.fingerprint = remote.fingerprint(speaker)
        self._counter = Counter(speaker, replies, self.fingerprint, remote.budget, remote.give_up)

    @property
    def settings(self) -> list[Any]:
        """All of it is in the fingerprint."""
        return []

    def together(self, answers: int, tokens: int) -> int:
        """As many as the server is asked at a time."""
        del tokens
        return max(1, self._remote.endpoint.concurrency // answers)

    def text_tokens(self, question: str) -> int:
        """How long questions may be is the server's concern."""
        del question
        return 0

    def watch(
        self,
        batches: Iterable[Sequence[Clip]],
        *,
        workers: int,
        ahead: int,
        beside: int,
        meter: Meter,
        stop: Future[None],
    ) -> Generator[list[ShownClip | BrokenClip], None, None]:
        """Clips as they are sent."""
        del beside
        return shown_batches(
            batches, self._remote.frames, workers=workers, ahead=ahead, meter=meter, stop=stop
        )

    def look(self, seen: ShownClip) -> Look:
        """What is sent of a clip."""
        return Look(seen.times_s, None, seen.notes)

    def answer(
        self, asked: Sequence[tuple[ShownClip, Sequence[str]]], decoding: Decoding, places: int
    ) -> list[list[Words] | VidaptError]:
        """Ask all questions."""
        del places
        posed = [self._asked(seen, question, decoding) for seen, questions in asked for question in questions]
        return told(self._counter.ask(posed, "caption"), [len(questions) for _, questions in asked])

    def seconds(self, read: float, new: float, places: int, answers: int) -> None:
        """A server's limits are not known."""
        del read, new, places, answers

    def close(self) -> None:
        """Close connections."""
        self._counter.close()

    def _asked(self, seen: ShownClip, question: str, decoding: Decoding) -> Asked:
        return Asked(
            prompt=Template(self._remote.prompt).substitute(question=question),
            pictures=seen.pictures,
            clip=seen.clip,
            content=seen.content,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            seed=decoding.seed,
        )


def told(
    said: Sequence[tuple[Said, Call] | Failed], counts: Sequence[int]
) -> list[list[Words] | VidaptError]:
    """What a server said, clip by clip; a clip of which one question failed has failed.

    Args:
        said: Question after question.
        counts: How many questions each clip has.
    """
    coming, found = iter(said), list[list[Words] | VidaptError]()
    for count in counts:
        own = [next(coming) for _ in range(count)]
        failed = next((one for one in own if isinstance(one, Failed)), None)
        found.append(failed or [_words(*one) for one in own if not isinstance(one, Failed)])
    return found


def _words(said: Said, call: Call) -> Words:
    return Words(said.text.strip(), said.written, not said.cut_off, said.logprob, said.read, call.money)
