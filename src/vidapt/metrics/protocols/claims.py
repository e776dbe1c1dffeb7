"""What a caption claims, event by event: supported, contradicted or not mentioned; and what it leaves out.

Source: AutoDQ of DREAM-1K (Wang et al. 2024, "Tarsier", arXiv 2407.00634) lists events of both texts and
asks of each whether the other entails it; omissions beside hallucinations as in ARGUS (Rawal et al. 2025,
arXiv 2506.07371). There a caption without events has full precision, and events that the other text is
silent about count as those that it contradicts; here silence has none, and the two are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from vidapt.json_replies import Shape, plain_word
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Question, Steps, Told, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._agreement import QUOTED, material
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

PRECISION, RECALL = "precision", "recall"
_EXAMPLE = '"events": ["the red ball falls", "the cue ball stops"]'

_LIST = (
    "List the events that `text` tells of a video: what somebody or something does, or what happens to it. "
    "One event each, at most ten words, with names instead of pronouns, no more than {most} of them, the "
    "most important ones. Leave out looks, moods and opinions."
)
_HOLD = (
    "`text` describes a video. For each of `events`, say how it stands to the text: `supported` if the text "
    "says it or it follows from it, `contradicted` if it cannot be true where the text is, `unmentioned` if "
    "the text leaves it open."
)

Relation = Annotated[
    Literal["supported", "contradicted", "unmentioned"],
    BeforeValidator(plain_word),
]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class Events(Shape):
    """Events of a text."""

    events: tuple[_Words, ...]


class Relations(Shape):
    """How each event stands to a text, in order."""

    relations: tuple[Relation, ...]


class Part:
    """Claims, one by one."""

    version = 1
    judged = True
    prompts = (_LIST, _HOLD, QUOTED)
    purpose = (
        "claims of a caption that the reference supports, contradicts or does not mention; and omissions"
    )
    measures: tuple[Measure, ...] = (
        Measure("F1", mean_of=(PRECISION, RECALL)),
        Measure(PRECISION),
        Measure("contradicted", better=-1),
        Measure("not mentioned", better=-1),
        Measure(RECALL),
        Measure("left out", better=-1),
        Measure("told wrongly", better=-1),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            most: Most events of a text.
            prompt: What models are asked; None asks each row's own question.
        """

        most: int = Field(10, ge=1, le=50)
        prompt: str | None = None

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row; its `events` spare the judge the reference's."""
        found = []
        for row in rows:
            listed = columns.found(row, columns.EVENTS)
            events = [] if listed is None else list(columns.listed(row, columns.EVENTS, listed, _EXAMPLE))
            answer = columns.answered(row) if row.answer.strip() or not events else " ".join(events)
            posed = Posed(self.cfg.prompt or columns.asked(row), answer, free=True)
            truth = {"reference": answer, "events": events[: self.cfg.most]}
            found.append(Case(row.id, row.media[0], (posed,), truth, source=columns.source(row), row=row.id))
        return found

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """List events of both texts, and hold each against the other text."""
        del around
        if told.silent:
            return self._outcome((), (), (), ())
        reference, known = str(told.case.truth["reference"]), tuple(told.case.truth["events"])
        known = known or (yield from self._events(reference))
        claimed = yield from self._events(told.answer)
        if not claimed:
            return self._outcome((), (), known, ("unmentioned",) * len(known))
        of_claims = yield from _held(claimed, reference if reference else " ".join(known))
        of_known = yield from _held(known, told.answer)
        return self._outcome(claimed, of_claims, known, of_known)

    def _events(self, text: str) -> Generator[Question, Any, tuple[str, ...]]:
        form = '{"events": ["...", ...]}; an empty list if there is none. Answer with that JSON object alone.'
        prompt = f"{_LIST.format(most=self.cfg.most)}\n\n{material({'text': text})}\n\n{form}"
        found: Events = yield Question(prompt, Events)
        return found.events[: self.cfg.most]

    @staticmethod
    def _outcome(
        claimed: Sequence[str], of_claims: Sequence[str], known: Sequence[str], of_known: Sequence[str]
    ) -> Outcome:
        """Shares of a caption's claims, and of the reference's events; without any claim nothing is right."""
        each = max(1, len(claimed))
        silent = not claimed
        terms = {
            PRECISION: share(of_claims.count("supported") / each),
            "contradicted": share(silent or of_claims.count("contradicted") / each),
            "not mentioned": share(silent or of_claims.count("unmentioned") / each),
        }
        if known or silent:
            total = max(1, len(known))
            terms |= {
                RECALL: share(of_known.count("supported") / total),
                "left out": share(silent or of_known.count("unmentioned") / total),
                "told wrongly": share(silent or of_known.count("contradicted") / total),
            }
        shown = {
            "claims": [list(pair) for pair in zip(claimed, of_claims, strict=True)],
            "events": [list(pair) for pair in zip(known, of_known, strict=False)],
        }
        return Outcome(terms, shown)


def _held(events: Sequence[str], text: str) -> Generator[Question, Any, tuple[str, ...]]:
    """How events stand to a text."""
    if not events:
        return ()
    form = (
        f'{{"relations": [...]}} with {len(events)} of "supported", "contradicted", "unmentioned", in the '
        "order of the events. Answer with that JSON object alone."
    )
    prompt = f"{_HOLD}\n\n{material({'text': text, 'events': list(events)})}\n\n{form}"
    found: Relations = yield Question(prompt, Relations, _as_many(len(events)))
    return found.relations


def _as_many(count: int) -> Callable[[Relations], str | None]:
    def check(found: Relations) -> str | None:
        said = len(found.relations)
        return None if said == count else f"there are {count} events, and it tells of {said}"

    return check


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
