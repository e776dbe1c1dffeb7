"""Five scores from 0 to 5: correctness, detail, context, time, and consistency over paired questions.

Source: the benchmark of Video-ChatGPT (Maaz et al. 2023, arXiv 2306.05424), whose prompts are not copied. Its
generic questions are judged three times, those about time once, and two wordings of one question together.
Levels depend on the judge; what travels is the comparison of models judged by the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Posed, Steps, Told, share
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._agreement import HIGHEST, QUOTED, Grade, grade
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_START = "A question about a video was answered. `reference` is a right answer. Grade only this: "
TASKS = {
    "correctness": _START + "are the statements of `answer` true by the reference, and is none made up?",
    "detail": _START + "does `answer` tell all the main points of the reference, and as exactly?",
    "context": _START + "does `answer` understand what the whole is about, as the reference does?",
    "time": _START + "does `answer` tell what happens in the right order and at the right times?",
    "consistency": (
        "One question about a video was put in two ways. `reference` is the right answer to both. Grade only "
        "this: do `answer_1` and `answer_2` say the same, and is that what the reference says?"
    ),
}
GENERIC = ("correctness", "detail", "context")


class Part:
    """Five dimensions."""

    version = 1
    judged = True
    prompts = (*TASKS.values(), QUOTED)
    purpose = "five scores of free answers, by a judge of text"
    measures: tuple[Measure, ...] = tuple(Measure(name, high=float(HIGHEST), unit="points") for name in TASKS)

    class Config(PartConfig):
        """Options.

        Attributes:
            temporal: Value of a row's `type` that marks questions about time.
        """

        temporal: str = Field("temporal", min_length=1)

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each question, or pair of questions."""
        return list(self._cases(rows))

    def _cases(self, rows: Sequence[Sample]) -> Iterator[Case]:
        for row in rows:
            first, second = columns.found(row, columns.FIRST), columns.found(row, columns.SECOND)
            if (first is None) != (second is None):
                raise ConfigError(
                    columns.where(row), "has one of two paired questions", 'write both: "Q1": ..., "Q2": ...'
                )
            if first is None:
                questions = [columns.asked(row)]
                timed = str(row.facts.get("type", "")) == self.cfg.temporal
                names = ["time"] if timed else list(GENERIC)
            else:
                questions, names = [str(first), str(second)], ["consistency"]
            answer = columns.answered(row)
            yield Case(
                row.id,
                row.media[0],
                tuple(Posed(question, answer, free=True) for question in questions),
                {"reference": answer, "grades": names},
                source=columns.source(row),
                row=row.id,
                counts=tuple(names),
            )

    def around(self, told: Sequence[Told]) -> Any:
        """Nothing."""
        del told

    def steps(self, told: Told, around: Any) -> Steps:
        """Ask the judge for each score of the case."""
        del around
        names, reference = told.case.truth["grades"], told.case.truth["reference"]
        if told.silent:
            return Outcome(dict.fromkeys(names, share(0)))
        questions = [posed.text for posed in told.case.posed]
        single = {"question": questions[0], "reference": reference, "answer": told.answer}
        paired = {f"question_{n}": text for n, text in enumerate(questions, 1)} | {"reference": reference}
        paired |= {f"answer_{n}": text for n, text in enumerate(told.answers, 1)}
        scores: dict[str, float] = {}
        for name in names:
            found: Grade = yield grade(TASKS[name], single if len(questions) == 1 else paired)
            scores[name] = found.score
        return Outcome({name: share(score) for name, score in scores.items()}, scores)


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
