"""A pretended engine and small label sets for tests of measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vidapt.errors import BrokenClip
from vidapt.metrics.claims import ClaimCounts
from vidapt.nouns import Clip, Sample, Turn


@dataclass(frozen=True)
class Decoding:
    """Stands in for `models.generate.Decoding`."""

    max_new_tokens: int = 8


@dataclass
class FakeEngine:
    """Answers by rule and remembers what it was asked.

    Attributes:
        rule: From the id of the clip seen (None for none) and the question to the answer.
        broken: Ids of clips that cannot be seen.
        dies_after: Number of calls of `answer` after which the next one is a kill.
    """

    rule: Callable[[str | None, str], str]
    broken: frozenset[str] = frozenset()
    dies_after: int | None = None
    name: str = "fake"
    weights: str = "a"
    watched: list[str] = field(default_factory=list)
    asked: list[list[tuple[str | None, tuple[str, ...]]]] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return self.weights

    @property
    def clip_tokens(self) -> int:
        return 100

    def text_tokens(self, question: str) -> int:
        return len(question.split())

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[Any]]:
        for batch in batches:
            self.watched += [clip.id for clip in batch]
            yield [
                BrokenClip(clip.path, "it is empty") if clip.id in self.broken else _seen(clip, changes)
                for clip in batch
            ]

    def answer(self, asked: Sequence[tuple[Any, Sequence[str]]], decoding: Any) -> list[list[str]]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        rows = [(seen[0].clip.id if seen else None, tuple(questions)) for seen, questions in asked]
        self.asked.append(rows)
        return [[self.rule(clip, question) for question in questions] for clip, questions in rows]

    def text(self, answer: str) -> str:
        return answer


def _seen(clip: Clip, changes: Sequence[str]) -> SimpleNamespace:
    """A clip that was seen; with its frames changed it is called so."""
    changed = {name: SimpleNamespace(clip=replace(clip, id=f"{clip.id} {name}")) for name in changes}
    return SimpleNamespace(clip=clip, changed=changed)


def sample(clip: str, kind: str, question: str, answer: str, **facts: Any) -> Sample:
    """A question about a clip."""
    turns = (Turn("user", question), Turn("assistant", answer))
    name = f"{clip}/{kind}/{question}"
    return Sample(name, (Clip(clip, Path(f"{clip}.mp4")),), turns, facts={"type": kind, **facts})


COLOURS = ("red", "blue", "green", "black")


def pool(clips: int) -> list[Sample]:
    """Per clip a colour, a yes-or-no and a free text."""
    samples = []
    for index in range(clips):
        name, colour = f"c{index:02d}", COLOURS[index % 4]
        samples += [
            sample(name, "colour", "which colour?", f"{colour}.", accept=[colour, f"the {colour} ball"]),
            sample(name, "falls", "does it fall?", "yes." if index % 2 else "no."),
            sample(
                name, "story", "what happens?", f"{colour} moves. {colour} falls.", value="text", accept=["-"]
            ),
        ]
    return samples


def truth(clip: str | None, question: str) -> str:
    """What somebody answers who sees, and always the same without a clip."""
    if clip is None:
        return {"which colour?": "red", "does it fall?": "no"}.get(question, "red moves.")
    index = int(clip[1:])
    colour = COLOURS[index % 4]
    told = f"{colour} moves. {colour} falls."
    return {"which colour?": colour, "does it fall?": "yes" if index % 2 else "no"}.get(question, told)


def colour_judge(clip: Clip, text: str) -> ClaimCounts:
    """A sentence is true if it begins with the clip's colour, false with another one, else not read."""
    right = COLOURS[int(clip.id[1:]) % 4]
    heads = [sentence.split()[0] for sentence in text.split(".") if sentence.split()]
    said = {sentence.strip() for sentence in text.split(".")}
    return ClaimCounts(
        supported=sum(head == right for head in heads),
        contradicted=sum(head != right and head in COLOURS for head in heads),
        unparsed=sum(head not in COLOURS for head in heads),
        recalled=len(said & {f"{right} moves", f"{right} falls"}),
        salient=2,
    )
