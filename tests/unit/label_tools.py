"""Clips to label, recipes, and a teacher behind a fake server that states what each prompt asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from served_tools import Fake, said

from vidapt.progress import Reporter, silent
from vidapt.teaching.job import Source, Summary, label_folder
from vidapt.teaching.read import read_labelling
from vidapt.teaching.settings import Labelling
from vidapt.video import write_mp4

KEY = "sk-test-0123456789abcdefghij"
KEY_ENV = "LABEL_TEST_KEY"
RED = {
    "subject": "red ball",
    "predicate": "hits",
    "object": "blue ball",
    "attributes": ["fast"],
    "start_s": 0.2,
    "end_s": 0.4,
    "visibility": "clear",
}
GREEN = RED | {"subject": "green ball", "predicate": "rolls into", "object": "the left pocket"}


def film(path: Path, seed: int, frames: int = 8, fps: int = 4) -> Path:
    """A real clip, unlike that of any other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (frames, 4, 6, 3), dtype=np.uint8)
    write_mp4(path, noise.repeat(8, axis=1).repeat(8, axis=2), fps)
    return path


def film_all(folder: Path, count: int) -> Path:
    for number in range(count):
        film(folder / f"{number}.mp4", number)
    return folder


def usage(read: int = 100, written: int = 20) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": read, "completion_tokens": written}}


def prompt_of(body: dict[str, Any]) -> str:
    """The words of a question, without the times in front of its pictures."""
    return str(body["messages"][0]["content"][-1]["text"])


def pictures_of(body: dict[str, Any]) -> list[str]:
    return [one["image_url"]["url"] for one in body["messages"][0]["content"] if one["type"] == "image_url"]


def kind_of(body: dict[str, Any]) -> str:
    """What a question of the shipped prompts asks for."""
    prompt = prompt_of(body)
    marks = {
        "caption": "Describe in plain sentences",
        "facts": "State what can be seen, as facts",
        "difference": "State what changes",
        "write": "Write a caption",
        "ask": "questions about a clip",
    }
    return next(kind for kind, mark in marks.items() if mark in prompt)


def teacher(body: dict[str, Any]) -> dict[str, Any]:
    """A teacher that does as it is told."""
    return said(ANSWERS[kind_of(body)], **usage())


ANSWERS = {
    "caption": "The red ball hits the blue ball. It rolls away.",
    "facts": json.dumps({"facts": [RED, GREEN]}),
    "difference": json.dumps({"facts": []}),
    "write": "```json\n"
    + json.dumps(
        {
            "clauses": [
                {"text": "The red ball hits the blue ball,", "facts": ["f1"]},
                {"text": "and the green ball rolls into the left pocket.", "facts": ["f2"]},
            ]
        }
    )
    + "\n```",
    "ask": json.dumps(
        {
            "questions": [
                {"question": "Which ball is hit?", "answer": "Blue.", "type": "First Hit", "facts": ["f1"]},
                {"question": "Where does the green ball go?", "answer": "The left pocket.", "facts": ["f2"]},
            ]
        }
    ),
}


def recipe(fake: Fake | str, mode: str = "caption", **more: Any) -> Labelling:
    """The shipped recipe with a fake teacher, whose fields `endpoint` changes."""
    return read_labelling(None, [], given(fake, mode, **more))


def given(fake: Fake | str, mode: str = "caption", **more: Any) -> dict[str, Any]:
    url = fake if isinstance(fake, str) else fake.url
    own = {"url": url, "model": "fake", "price": {"input": 1.0, "output": 10.0}, "retries": 3}
    endpoint = {"kind": "endpoint", **own, **more.pop("endpoint", {})}
    return {"mode": mode, "teachers": [endpoint], "frames": {"moving": 1}, **more}


def recipe_file(path: Path, fake: Fake | str, mode: str = "caption", **more: Any) -> Path:
    path.write_text(yaml.safe_dump(given(fake, mode, **more)))
    return path


def label(settings: Labelling, clips: Path, out: Path, report: Reporter = silent, **more: Any) -> Summary:
    return label_folder(settings, Source(clips, workers=0), out, report=report, **more)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}.{what}.jsonl")


def provenance(out: Path) -> list[dict[str, Any]]:
    return lines(beside(out, "provenance"))


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what differs from run to run."""
    plain = json.loads(json.dumps(rows))
    for row in plain:
        del row["created"], row["usage"]["seconds"]
        for call in row["calls"]:
            del call["seconds"]
    return list(plain)


Answering = Callable[[dict[str, Any]], Any]
