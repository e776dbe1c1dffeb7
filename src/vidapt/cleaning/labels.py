"""What checks look at, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

from vidapt.claims import Claim, refit
from vidapt.nouns import MEDIA, Sample, Turn
from vidapt.parts import PartConfig

Outcome = Literal["keep", "rewrite", "drop"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a label comes from, as far as checks ask; see `docs/label.md`.

    Attributes:
        agreement: Of the voices, 0 to 1; None where there was one.
        voices: What each of several teachers or samples said of the clip; none where they stated facts.
        clauses: Of a text that was made of facts: the words of each, and what types its facts are of.
        made: Key of what was spent on its clip.
    """

    agreement: float | None = None
    voices: tuple[str, ...] = ()
    clauses: tuple[tuple[str, tuple[str, ...]], ...] = ()
    made: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """One text that a model is to say.

    Attributes:
        sample: The row that it stands in.
        place: Of its turn; from the number of turns on, that of a further answer (`Sample.references`).
        origin: What made it, where that is known.
    """

    sample: Sample
    place: int
    origin: Origin | None = None

    @property
    def text(self) -> str:
        """What the model is to say."""
        turns = self.sample.turns
        further = self.place - len(turns)
        return turns[self.place].text if further < 0 else self.sample.references[further]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is known of its clauses."""
        return tuple(claim for claim in self.sample.claims if claim.turn == self.place)

    @property
    def question(self) -> str:
        """What it is asked, without marks of media."""
        at = min(self.place, len(self.sample.turns) - 1)
        return " ".join(self.sample.turns[at - 1].text.replace(MEDIA, " ").split())

    @property
    def single(self) -> Sample:
        """The same as a conversation of one question; facts are those of a row's last answer."""
        last = self.place >= len(self.sample.turns) - 1
        turns = (Turn("user", self.question), Turn("assistant", self.text))
        facts = self.sample.facts if last else {}
        return replace(self.sample, turns=turns, facts=facts, references=(), rejected=None, claims=())

    def rewritten(self, text: str) -> Sample:
        """Its row, with another text in the place of this one."""
        turns, others = list(self.sample.turns), list(self.sample.references)
        if self.place < len(turns):
            turns[self.place] = Turn("assistant", text)
        else:
            others[self.place - len(turns)] = text
        claims = refit(self.sample.claims, self.place, text)
        return replace(self.sample, turns=tuple(turns), references=tuple(others), claims=claims)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of a label.

    Attributes:
        outcome: What becomes of it.
        reason: Why, in words for a person; empty where it is kept.
        text: What it is rewritten to.
        again: Whether a teacher who is asked once more may do better.
    """

    outcome: Outcome
    reason: str = ""
    text: str = ""
    again: bool = False


KEEP = Verdict("keep")


def drop(reason: str, *, again: bool = False) -> Verdict:
    """A label is set aside."""
    return Verdict("drop", reason, again=again)


def rewrite(text: str, reason: str) -> Verdict:
    """A label is given another text."""
    return Verdict("rewrite", reason, text)


@dataclass(frozen=True)
class Given:
    """What checks may ask for beside the labels.

    Attributes:
        blind: For questions with answers, the mean log-probability of the answers' tokens under a model that
            sees no clip; None where no model was named.
    """

    blind: Callable[[Sequence[tuple[str, str]]], list[float]] | None = None


NOTHING = Given()


class Check(Protocol):
    """A file of `cleaning/checks`, whose `Part` is one.

    Attributes:
        version: Raised whenever it would judge otherwise; told with each verdict.

    One that reads files has `files(cfg)`, which gives them by the names of its options.
    """

    version: ClassVar[int]
    cfg: Any

    def __init__(self, cfg: PartConfig, given: Given = NOTHING) -> None: ...

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """A verdict for each label, in their order, on which no verdict depends."""
        ...


def labels_of(sample: Sample, origins: Mapping[str, Origin]) -> Iterator[Label]:
    """All that a row has a model say; a worse answer (`rejected`) is not judged."""
    origin = origins.get(sample.id)
    for place, turn in enumerate(sample.turns):
        if turn.role == "assistant":
            yield Label(sample, place, origin)
    for place in range(len(sample.references)):
        yield Label(sample, len(sample.turns) + place, origin)


@dataclass(frozen=True)
class Fate:
    """What became of a row.

    Attributes:
        sample: The row as it came.
        verdict: `drop`, or `rewrite` where only texts were changed.
        check: Who said so; `person` for a decision, `row` for what is no row at all.
        version: Of the check.
        now: The row as it is kept; None where it is set aside.
    """

    sample: Sample
    verdict: Verdict
    check: str
    version: int
    now: Sample | None = None
