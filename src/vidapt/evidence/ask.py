"""What is to be scored: clips, and of every answer about them the claims with their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidapt.claims import Span, clauses, said
from vidapt.errors import ConfigError
from vidapt.evidence.values import Values
from vidapt.labelling.falsify import falsify
from vidapt.labelling.lexicon import Lexicon
from vidapt.metrics.question_types import QuestionTypes, question_types
from vidapt.nouns import Clip, Sample, Turn


@dataclass(frozen=True, slots=True)
class Asked:
    """A claim before it is scored.

    Attributes:
        turn: Of its answer, as `claims.Claim` counts.
        span: Its letters.
        type: What it is about.
        values: Letters that tell what could have been otherwise.
    """

    turn: int
    span: Span
    type: str
    values: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """A row with its claims.

    Attributes:
        sample: The row.
        asked: Its claims.
        false: Copies of the row with one fact changed, and the claim that tells it.
    """

    sample: Sample
    asked: tuple[Asked, ...]
    false: tuple[tuple[Sample, Asked], ...] = ()


@dataclass(frozen=True, slots=True)
class ClipAnswers:
    """A clip with all that is said of it."""

    clip: Clip
    rows: tuple[Answers, ...]


class Asking:
    """Divides answers into claims.

    Args:
        samples: All rows, whose texts say which words are values.
        lexicon: Words that tell facts.
        parts: Clauses of answers as whoever wrote them divides them, by the ids of rows.
        falsified: Make false copies of answers, too.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        lexicon: Lexicon,
        parts: Mapping[str, Sequence[str]] | None = None,
        *,
        falsified: bool = False,
    ) -> None:
        singles = [single for sample in samples for _, single in each_answer(sample)]
        self._types = _types(singles)
        self._values = Values([(self._types.of(one), one.answer) for one in singles], lexicon)
        self._lexicon, self._parts, self._falsified = lexicon, parts or {}, falsified

    def row(self, sample: Sample) -> Answers:
        """A row with its claims."""
        singles = list(each_answer(sample))
        last = singles[-1][0] if singles else -1
        asked = tuple(
            claim
            for turn, single in singles
            for claim in self._claims(single, turn, self._parts.get(sample.id) if turn == last else None)
        )
        return Answers(sample, asked, tuple(self._false(sample, singles)) if self._falsified else ())

    def _claims(self, single: Sample, turn: int, parts: Sequence[str] | None) -> list[Asked]:
        text, kind = single.answer, self._types.of(single)
        spans = located(text, parts) if parts else None
        spans = clauses(text) if spans is None else spans
        values = self._values.of(kind, text)
        several = len(spans) > 1 or self._types.is_free(single)
        found = []
        for start, end in spans:
            own = [(a, b, fact) for (a, b), fact in values if start <= a and b <= end]
            facts = sorted({fact for _, _, fact in own})
            name = f"{kind}: {'+'.join(facts) or 'no value'}" if several else kind
            found.append(Asked(turn, (start, end), name, tuple((a, b) for a, b, _ in own)))
        return found

    def _false(self, sample: Sample, singles: Sequence[tuple[int, Sample]]) -> list[tuple[Sample, Asked]]:
        """False copies of a row's last answer, one fact changed in each."""
        found = []
        for turn, single in singles[-1:]:
            for change in falsify(single.answer, self._lexicon):
                other = replace(single, turns=(single.turns[0], Turn("assistant", change.text)))
                claims = self._claims(other, turn, None)
                claim = next((one for one in claims if one.span[0] <= change.at < one.span[1]), None)
                if claim is not None and turn < len(sample.turns):
                    turns = (*sample.turns[:turn], Turn("assistant", change.text), *sample.turns[turn + 1 :])
                    found.append((replace(sample, turns=turns, references=(), claims=()), claim))
        return found


def each_answer(sample: Sample) -> list[tuple[int, Sample]]:
    """Answers of a row by their turns, each as a row of one question; further answers behind the others."""
    turns = [turn for turn, one in enumerate(sample.turns) if one.role == "assistant"]
    turns += range(len(sample.turns), len(sample.turns) + len(sample.references))
    found = []
    for turn in turns:
        at = min(turn, len(sample.turns) - 1)
        question = next((one.text for one in reversed(sample.turns[:at]) if one.role == "user"), "")
        text = said(sample, turn)
        assert text is not None
        facts: Mapping[str, Any] = sample.facts if at == len(sample.turns) - 1 else {}
        one = (Turn("user", question), Turn("assistant", text))
        found.append((turn, replace(sample, turns=one, facts=facts, references=(), claims=(), rejected=None)))
    return found


def located(text: str, parts: Sequence[str]) -> list[Span] | None:
    """Where clauses stand in a text that was made of them; None if they do not stand there in their order."""
    starts: list[int] = []
    at = 0
    for part in parts:
        words = part.strip()
        start = text.find(words, at) if words else -1
        if start < 0:
            return None
        starts.append(start)
        at = start + len(words)
    if not starts:
        return None
    starts[0] = 0
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def _types(singles: Sequence[Sample]) -> QuestionTypes:
    if not singles:
        raise ConfigError("evidence", "no row has an answer about one clip", "give labels of clips")
    return question_types(singles)
