"""What an exported test needs of code: this file's text is written beside its tasks, with what it imports.

lmms-eval calls these functions with rows of the test. They read answers as vidapt's protocols do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vidapt.metrics.match import is_match
from vidapt.metrics.protocols._read import option_of, yes_or_no

Doc = Mapping[str, Any]


def doc_to_visual(doc: Doc) -> list[str]:
    """The clip's path."""
    return [str(doc["video"])]


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: Mapping[str, Any] | None = None) -> str:
    """The question, with what a model wants around it."""
    given = lmms_eval_specific_kwargs or {}
    return f"{given.get('pre_prompt', '')}{doc['question']}{given.get('post_prompt', '')}"


def doc_to_target(doc: Doc) -> str:
    """The right answer."""
    return str(doc["answer"])


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Whether an answer is right, with the film and the case that it belongs to."""
    said = results[0] if results else ""
    found = {
        "score": int(right(doc, said)),
        "source": doc["source"],
        "case": doc["case"],
        "kind": doc["kind"],
    }
    found["there"] = doc["answer"] == "yes"
    return {"accuracy": found, "all_right": found, "f1": found}


def right(doc: Doc, said: str) -> bool:
    """Whether an answer is right; one that cannot be read is not."""
    if doc["reading"] == "letter":
        return option_of(said, doc["options"]) == int(doc["right"])
    if doc["reading"] == "yes or no":
        return yes_or_no(said) is (doc["answer"] == "yes")
    return is_match(said, doc["accept"])


def accuracy(results: Sequence[Mapping[str, Any]]) -> float:
    """Share of right answers, in percent."""
    return 100 * sum(one["score"] for one in results) / len(results) if results else 0.0


def all_right(results: Sequence[Mapping[str, Any]]) -> float:
    """Share of cases all of whose questions are answered rightly, in percent."""
    cases: dict[str, list[int]] = defaultdict(list)
    for one in results:
        cases[one["case"]].append(one["score"])
    return 100 * sum(all(scores) for scores in cases.values()) / len(cases) if cases else 0.0


def f1(results: Sequence[Mapping[str, Any]]) -> float:
    """F1 of what is said to be there, in percent; who says neither yes nor no is wrong both ways."""
    hits = sum(one["there"] and one["score"] for one in results)
    wrong = sum(not one["score"] for one in results)
    return 100 * 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0
