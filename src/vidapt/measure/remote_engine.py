"""A model behind a server, measured as one that is opened here: the same questions, controls and rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from vidapt.appended import Appended
from vidapt.chat.asked import Asked, Failed
from vidapt.chat.counter import Counter
from vidapt.chat.open import open_speakers
from vidapt.chat.remote import Remote
from vidapt.chat.shown import ShownClip, shown_batches
from vidapt.errors import BrokenClip
from vidapt.files import write_json
from vidapt.measure.asking import plain
from vidapt.nouns import Clip

if TYPE_CHECKING:
    from vidapt.models.decoding import Decoding

REPLIES, UNANSWERED, SPENT = "replies.jsonl", "unanswered.jsonl", "spent.json"


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
        (speaker,) = open_speakers([remote.endpoint])
        self.name, self.fingerprint = remote.endpoint.model, remote.fingerprint(speaker)
        self._open = ExitStack()
        self._counter = self._open.enter_context(
            closing(Counter(speaker, out / REPLIES, self.fingerprint, remote.budget, remote.give_up))
        )
        self._unanswered = self._open.enter_context(closing(Appended(out / UNANSWERED)))

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        write_json(self._out / SPENT, self.spent())

    def spent(self) -> dict[str, Any]:
        """What all questions took, in earlier jobs, too; money is None where no price is known."""
        return self._counter.spent()

    def text_tokens(self, question: str) -> int:
        """How long questions may be is the server's concern."""
        del question
        return 0

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[ShownClip | BrokenClip]]:
        """Decode clips batch by batch, in order, as they are sent."""
        del beside
        return shown_batches(batches, self._remote.frames, workers=workers, changes=changes)

    def answer(
        self, asked: Sequence[tuple[Sequence[ShownClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[str]]:
        """Ask questions about clips, or about none.

        Raises:
            VidaptError: If no question will be answered any more, or the budget is spent; what was answered
                is kept.
            KeyboardInterrupt: Once what was under way is answered.
        """
        pairs = [(seen, question) for seen, questions in asked for question in questions]
        posed = [self._asked(seen, question, decoding) for seen, question in pairs]
        texts = []
        for (seen, question), one in zip(pairs, self._counter.ask(posed), strict=True):
            if isinstance(one, Failed):
                clip = seen[0].clip.id if seen else None
                self._unanswered.write({"clip": clip, "question": plain(question), "reason": one.found})
            texts.append("" if isinstance(one, Failed) else one[0].text)
        coming = iter(texts)
        return [[next(coming) for _ in questions] for _, questions in asked]

    def text(self, answer: str) -> str:
        """An answer's words."""
        return answer.strip()

    def _asked(self, seen: Sequence[ShownClip], question: str, decoding: Decoding) -> Asked:
        shown = seen[0] if seen else None
        return Asked(
            prompt=Template(self._remote.prompt).substitute(question=plain(question)),
            pictures=() if shown is None else shown.pictures,
            clip=None if shown is None else shown.clip,
            content="" if shown is None else shown.content,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            seed=decoding.seed,
        )
