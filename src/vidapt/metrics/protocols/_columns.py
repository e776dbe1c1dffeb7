"""Columns of a test by the names under which tests publish them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vidapt.errors import ConfigError
from vidapt.nouns import Sample

QUESTION = ("question", "Q", "query", "prompt")
ANSWER = ("answer", "A", "caption", "label", "gt", "ground_truth", "reference", "description")
OPTIONS = ("options", "candidates", "choices")
OBJECTS = ("objects", "labels", "gt_objects", "truth_objects")
EVENTS = ("events", "gt_events", "atomic_events")
PAIR = ("pair", "pair_id", "group", "group_id")
FIRST, SECOND = ("Q1", "question_1", "question1"), ("Q2", "question_2", "question2")


def where(row: Sample) -> str:
    """A row's place, for errors."""
    return row.source or f"sample {row.id}"


def found(row: Sample, names: Sequence[str]) -> Any:
    """The first of some columns that a row has; None if it has none."""
    return next((row.facts[name] for name in names if row.facts.get(name) not in (None, "", [], {})), None)


def need(row: Sample, names: Sequence[str], example: str) -> Any:
    """The same, which has to be there.

    Raises:
        ConfigError: If a row has none of them.
    """
    value = found(row, names)
    if value is None:
        raise missing(row, names, example)
    return value


def missing(row: Sample, names: Sequence[str], example: str) -> ConfigError:
    """What to say of a row without a column."""
    others = "" if len(names) == 1 else f" (or {', '.join(names[1:])})"
    return ConfigError(where(row), f"has no column `{names[0]}`{others}", f"write it as {example}")


def text(row: Sample, names: Sequence[str], example: str) -> str:
    """A column of text.

    Raises:
        ConfigError: If it is missing, or no text.
    """
    value = need(row, names, example)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(where(row), f"its `{names[0]}` is {value!r}", f"write it as {example}")
    return value.strip()


def texts(row: Sample, names: Sequence[str], example: str) -> tuple[str, ...]:
    """A column of texts.

    Raises:
        ConfigError: If it is missing, or no list of texts.
    """
    return listed(row, names, need(row, names, example), example)


def listed(row: Sample, names: Sequence[str], value: Any, example: str) -> tuple[str, ...]:
    """A list of texts, by itself or as the values of letters.

    Raises:
        ConfigError: If it is something else.
    """
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    if not isinstance(value, list | tuple) or not all(_is_text(one) for one in value) or not value:
        raise ConfigError(where(row), f"its `{names[0]}` is no list of texts", f"write it as {example}")
    return tuple(str(one).strip() for one in value)


def asked(row: Sample) -> str:
    """A row's question.

    Raises:
        ConfigError: If it has none.
    """
    if not row.question.strip():
        raise missing(row, QUESTION, '"question": "what happens?"')
    return row.question


def answered(row: Sample) -> str:
    """A row's answer.

    Raises:
        ConfigError: If it has none.
    """
    if not row.answer.strip():
        raise missing(row, ANSWER, '"answer": "the red ball falls."')
    return row.answer


def source(row: Sample) -> str:
    """Footage that a row comes from: what it says, or else its file."""
    named = row.facts.get("source")
    return str(named) if named else str(row.media[0].path) if row.media else row.id


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(str(value).strip())
