"""What a protocol makes of a test: cases, what was said to them, and what that amounts to.

A protocol is a file in `metrics/protocols`. It reads rows of a test as cases; a case is all that is judged
together: one question, or several about one clip. Whoever runs it asks models, and hands what they said to
`steps`, which yields questions to a judge and is sent the answers, and ends with an outcome. No protocol asks
anybody itself, so that each can be tested with plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vidapt.json_replies import Shape
from vidapt.nouns import Clip, Sample

Unit = Literal["percent", "points", "words"]
Terms = Mapping[str, tuple[float, float]]
"""By the name of a measure, what a case adds above and below the line."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a protocol gives: a sum over cases by a sum over cases.

    Attributes:
        name: What tables call it.
        low: Least that a case can have.
        high: Most that it can have.
        better: 1 where more is better, -1 where less is, 0 where neither.
        unit: How it is written.
        published: Whether it is defined as others publish it although it can be raised by saying nothing.
        mean_of: Measures whose harmonic mean it is; then no case has terms of it.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    better: Literal[-1, 0, 1] = 1
    unit: Unit = "percent"
    published: bool = False
    mean_of: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Posed:
    """One thing that a model is asked.

    Attributes:
        text: The question.
        reference: An answer that is right, where there is one.
        accept: Answers that a plain comparison takes for right; empty where none can tell.
        options: Texts whose likelihood is asked for in place of an answer.
        by: Whether they are answers to the question, or statements about the clip.
        free: Whether its answer is a text of its own.
    """

    text: str
    reference: str = ""
    accept: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    by: Literal["answer", "statement"] = "answer"
    free: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged together.

    Attributes:
        id: Unique among those of its protocol.
        clip: What it is about.
        posed: What a model is asked.
        truth: What is known, as plain JSON.
        kind: Of which kind it is, where there are several.
        source: Footage it comes from; cases of one source are resampled together.
        row: Id of the row of the test.
        counts: Measures that it counts for; empty is all.
    """

    id: str
    clip: Clip
    posed: tuple[Posed, ...]
    truth: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    source: str = ""
    row: str = ""
    counts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A case with what one model said.

    Attributes:
        case: The case.
        answers: One for each of `case.posed`; empty where there is none.
        scores: Of the options of each; empty where they were not scored.
    """

    case: Case
    answers: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...] = ()

    @property
    def answer(self) -> str:
        """The first answer."""
        return self.answers[0].strip() if self.answers else ""

    @property
    def silent(self) -> bool:
        """Whether an answer is missing."""
        return not self.answers or not all(text.strip() for text in self.answers)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case amounts to.

    Attributes:
        terms: See `Terms`; measures without terms are not touched by this case.
        shown: What a reader may want to see of it, as plain JSON.
    """

    terms: Terms
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked.

    Attributes:
        prompt: Its words.
        shape: What the answer is to be; its schema goes with the question.
        check: Says what else is wrong with an answer; None if nothing is.
    """

    prompt: str
    shape: type[Shape]
    check: Callable[[Any], str | None] | None = None


class NoVerdictError(Exception):
    """A judge has given no verdict; thrown into `steps`, which may let it pass.

    Args:
        status: Whether the judge refused, or said nothing that could be read.
        reason: What happened.
    """

    def __init__(self, status: Literal["refused", "invalid"], reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


Steps = Generator[Question, Any, Outcome]
"""Yields questions to the judge and is sent their answers; ends with an outcome."""


class CaseProtocol(Protocol):
    """What every protocol offers; `Part` of a file in `metrics/protocols`.

    Attributes:
        version: Of its prompts and of how answers are read.
        judged: Whether a judge is asked. Such a protocol has `prompts`, which its questions are made of.
        purpose: What it tells, in a sentence.
    """

    version: int
    judged: bool
    purpose: str

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What it measures, the first one first."""

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """Cases of a test.

        Raises:
            ConfigError: If a row lacks a column, saying which and how to write it.
        """

    def around(self, told: Sequence[Told]) -> Any:
        """What all that one model said tells together, for `steps`; None for most protocols."""

    def steps(self, told: Told, around: Any) -> Steps:
        """Judge one case."""


def settled(outcome: Outcome) -> Steps:
    """Steps of a case that needs no judge."""
    yield from ()
    return outcome


def share(value: float | bool) -> tuple[float, float]:
    """Terms of a case that counts as one."""
    return float(value), 1.0
