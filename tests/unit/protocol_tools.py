"""Rows for every protocol, and judges that answer by rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vidapt import parts
from vidapt.json_replies import parsed
from vidapt.metrics.case_numbers import Scored
from vidapt.metrics.cases import Case, NoVerdictError, Outcome, Question, Told
from vidapt.nouns import Clip, Sample, Turn

FAMILY: parts.Family = "metrics.protocols"
PLAIN = {"question": "what happens?", "answer": "The red ball falls. The cue ball stops."}
ROWS: dict[str, list[dict[str, Any]]] = {
    "caption": [PLAIN],
    "open_qa": [{"question": "which colour?", "answer": "red"}],
    "video_chatgpt": [
        PLAIN,
        {**PLAIN, "type": "temporal"},
        {"Q1": "what falls?", "Q2": "which ball is it that falls?", "answer": "the red ball"},
    ],
    "claims": [PLAIN, {"question": "what happens?", "events": ["the red ball falls"]}],
    "chair": [
        {**PLAIN, "objects": ["red ball", "cue"]},
        {**PLAIN, "objects": ["blue ball"]},
    ],
    "pope": [
        {"objects": ["red ball", "cue"]},
        {"objects": ["blue ball", "cue"]},
        {"objects": ["green ball", "apple"]},
        {"question": "is there a dog?", "answer": "no", "category": "random"},
    ],
    "fact_pairs": [
        {"question": "is there a ball?", "answer": "yes", "pair": "p"},
        {"question": "is there a dog?", "answer": "no", "pair": "p"},
        {
            "basic": {"question": "does it fall?", "answer": "yes"},
            "hallucination": {"question": "does it fly?", "answer": "no"},
        },
    ],
    "multiple_choice": [{"question": "which?", "options": ["red", "blue", "green"], "answer": "B"}],
    "option_likelihood": [{"question": "which?", "options": ["red", "blue", "green"], "answer": "blue"}],
    "statement_match": [{"true": ["a ball falls"], "false": ["a ball flies", "nothing falls"]}],
    "length_trap": [{"true": ["a ball falls"], "false": ["the long cue moves and then no ball falls"]}],
    "retrieval": [{"answer": "a ball falls"}, {"answer": "a cue moves"}, {"answer": "nothing happens"}],
    "dense_events": [
        {
            "question": "what happens when?",
            "events": [
                {"start": 1.0, "end": 3.0, "text": "the ball falls"},
                {"start_s": 4.0, "end_s": 6.0, "text": "it stops"},
            ],
        }
    ],
    "text_overlap": [PLAIN],
    "preference": [PLAIN],
}


def samples(rows: Sequence[dict[str, Any]]) -> list[Sample]:
    """Rows as a test's reader makes them; pairs are about one clip, others about one each."""
    found = []
    for number, row in enumerate(rows):
        values = dict(row)
        question, answer = str(values.pop("question", "")), str(values.pop("answer", ""))
        name = f"{values.get('pair', number)}.mp4"
        turns = (Turn("user", question), Turn("assistant", answer))
        found.append(
            Sample(f"r{number}", (Clip(name, Path(name)),), turns, facts=values, source=f"t:{number}")
        )
    return found


def made(kind: str, **options: Any) -> Any:
    """A protocol."""
    return parts.build(FAMILY, {"kind": kind, **options})


def cases(kind: str, **options: Any) -> list[Case]:
    """Cases of a protocol's rows."""
    found: list[Case] = made(kind, **options).cases(samples(ROWS[kind]))
    return found


Judge = Callable[[Question], str]


def outcome(part: Any, told: Told, judge: Judge, around: Any = None) -> Outcome:
    """Drive a protocol's steps with a judge that answers in text.

    Raises:
        NoVerdictError: If the protocol wants none of it.
    """
    steps = part.steps(told, around)
    try:
        question = next(steps)
        while True:
            question = steps.send(parsed(judge(question), question.shape))
    except StopIteration as done:
        found: Outcome = done.value
        return found


def words_judge(question: Question) -> str:
    """A judge that goes by words: an event is supported if its words stand in the text."""
    material = dict(re.findall(r"^(\w+): (.*)$", question.prompt.split("\n===\n")[1], flags=re.MULTILINE))
    values = {name: json.loads(text) for name, text in material.items()}
    fields = set(question.shape.model_fields)
    if fields == {"events"}:
        return json.dumps(
            {"events": [one.strip() for one in re.split(r"[.!?]", values["text"]) if one.strip()]}
        )
    if fields == {"relations"}:
        text = values["text"].lower()
        said = ["supported" if one.lower() in text else "unmentioned" for one in values["events"]]
        return json.dumps({"relations": said})
    if fields == {"better"}:
        both = values["answer_1"] == values["reference"], values["answer_2"] == values["reference"]
        return json.dumps({"better": "tie" if both[0] == both[1] else "1" if both[0] else "2"})
    answers = [text for name, text in values.items() if name.startswith(("answer", "caption"))]
    right = all(text == values["reference"] for text in answers)
    return json.dumps({"verdict": "yes" if right else "no", "score": 5 if right else 2.5})


def scored(part: Any, told: Sequence[Told], judge: Judge = words_judge) -> list[Scored]:
    """Verdicts on what one model said."""
    around = part.around(told)
    found = []
    for one in told:
        try:
            terms = outcome(part, one, judge, around).terms
        except NoVerdictError as error:
            found.append(Scored(one.case.id, one.case.source, error.status, reason=error.reason))
        else:
            found.append(Scored(one.case.id, one.case.source, "valid", terms, one.case.kind))
    return found
