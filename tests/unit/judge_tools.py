"""Tests, answers and judges behind a fake server, for what `vidapt eval --protocol` does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from protocol_tools import words_judge
from served_tools import Fake, said

from vidapt.measure.command import Asking
from vidapt.measure.protocols.measured import Measured
from vidapt.measure.protocols.run import Wanted, evaluate_protocols
from vidapt.metrics.cases import Question
from vidapt.video import write_mp4

TRUTH = "The red ball {} falls. It stops."


def made_test(folder: Path, count: int = 6, **more: Any) -> Path:
    """A test about clips of one picture, and a file of right answers beside it."""
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    rows = []
    for number in range(count):
        write_mp4(folder / f"{number}.mp4", pixels, 4)
        rows.append(
            {
                "id": f"r{number}",
                "video": f"{number}.mp4",
                "question": "what happens?",
                "answer": TRUTH.format(number),
                **more,
            }
        )
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(folder: Path, name: str, texts: dict[str, str]) -> Path:
    """A file of answers."""
    path = folder / f"{name}.jsonl"
    path.write_text(
        "".join(json.dumps({"id": key, "prediction": text}) + "\n" for key, text in texts.items())
    )
    return path


def right(count: int = 6, wrong: int = 0) -> dict[str, str]:
    """Right answers, but for the first ones."""
    return {f"r{n}": "A dog barks." if n < wrong else TRUTH.format(n) for n in range(count)}


def prompt_of(body: dict[str, Any]) -> str:
    """The words that a judge is asked in."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else str(content[-1]["text"])


def by_words(body: dict[str, Any]) -> str:
    """What a judge says that goes by words."""
    fields = body["response_format"]["json_schema"]["schema"]["properties"]
    question = SimpleNamespace(prompt=prompt_of(body), shape=SimpleNamespace(model_fields=fields))
    return words_judge(cast("Question", question))


def judging(body: dict[str, Any]) -> dict[str, Any]:
    """The reply of such a judge."""
    return said(by_words(body), usage={"prompt_tokens": 100, "completion_tokens": 10})


def judge_file(folder: Path, fake: Fake, *, endpoint: dict[str, Any] | None = None, **more: Any) -> Path:
    """A judge's file."""
    own = {"url": fake.url, "model": "judge", "retries": 0, "timeout_s": 10, **(endpoint or {})}
    path = folder / "judge.yaml"
    path.write_text(json.dumps({"judge": own, "frozen": 4, **more}))
    return path


def measure(
    models: list[Path], data: Path, out: Path, judge: Path | None, *kinds: str, **more: Any
) -> Measured:
    """What protocols find."""
    return evaluate_protocols(models, Asking(data, workers=0), Wanted(kinds, judge, **more), out)


def values(found: Measured, kind: str, measure_: str = "accuracy") -> dict[str, float | None]:
    """By model, the value of a measure."""
    arms = {
        name: arms["model"].numbers.figures[measure_].value for name, arms in found.found[kind].models.items()
    }
    return {name: None if one is None else one.value for name, one in arms.items()}


Answer = Callable[[dict[str, Any]], Any]
