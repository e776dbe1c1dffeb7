"""Which of two models' answers is better, asked in both orders; what changes with the order is a tie.

Source: Zheng et al. 2023, "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena", arXiv 2306.05685, on
the bias of judges for a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from vidapt.json_replies import Shape, plain_word
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Question, Steps, Told, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._agreement import QUOTED, material
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_TASK = (
    "A question about a video was answered twice. `reference` is a right answer. Say which of `answer_1` and "
    "`answer_2` is better: first by truth, then by how much of what matters it tells. Length and manners "
    "count for nothing. Say `tie` if neither is better."
)


class Better(Shape):
    """Which is better."""

    better: Annotated[Literal["1", "2", "tie"], BeforeValidator(plain_word)]


class Part:
    """One model beside another."""

    version = 1
    judged = True
    prompts = (_TASK, QUOTED)
    purpose = "which of two models answers better, in both orders"
    versus = True
    measures: tuple[Measure, ...] = (
        Measure("wins and half of ties"),
        Measure("wins"),
        Measure("losses", better=-1),
        Measure("ties", better=0),
        Measure("changed with the order", better=0),
    )

    class Config(PartConfig):
        """No options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each question."""
        return [
            Case(
                row.id,
                row.media[0],
                (Posed(columns.asked(row), columns.answered(row), free=True),),
                {"reference": columns.answered(row)},
                source=columns.source(row),
                row=row.id,
            )
            for row in rows
        ]

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Ask in both orders; the first answer is the first model's, the second that of the model measured.

        Who says nothing loses, and two who say nothing, or the same, are tied.
        """
        del around
        first, second = (text.strip() for text in told.answers)
        if first == second:
            return _outcome("tie" if second else "loss")
        if not first or not second:
            return _outcome("win" if second else "loss")
        said = []
        for pair in ((first, second), (second, first)):
            found: Better = yield _question(told, *pair)
            said.append(found.better)
        as_one = {("2", "1"): "win", ("1", "2"): "loss", ("tie", "tie"): "tie"}
        settled_as = as_one.get((said[0], said[1]))
        return _outcome(settled_as or "tie", changed=settled_as is None)


def _question(told: Told, one: str, other: str) -> Question:
    values = {
        "question": told.case.posed[0].text,
        "reference": told.case.truth["reference"],
        "answer_1": one,
        "answer_2": other,
    }
    form = '{"better": "1", "2" or "tie"}. Answer with that JSON object alone.'
    return Question(f"{_TASK}\n\n{material(values)}\n\n{form}", Better)


def _outcome(found: str, *, changed: bool = False) -> Outcome:
    terms = {
        "wins and half of ties": share({"win": 1.0, "tie": 0.5, "loss": 0.0}[found]),
        "wins": share(found == "win"),
        "losses": share(found == "loss"),
        "ties": share(found == "tie"),
        "changed with the order": share(changed),
    }
    return Outcome(terms, {"found": found, "changed": changed})


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
