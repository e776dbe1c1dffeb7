"""Clips whose labels were set aside, to be labelled anew: what `vidapt clean` marks `again` goes back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, FormatError
from vidapt.teaching.book import Head
from vidapt.teaching.settings import Labelling


@dataclass(frozen=True)
class Again:
    """What is asked again.

    Attributes:
        rounds: The how-manyth time each clip is asked again, by its key; from 1.
        done: Rejected labels that do not stand in the labels any more.
        strangers: Rejected labels of clips that are not here, or of other labels.
    """

    rounds: Mapping[str, int]
    done: int
    strangers: int


def read_again(path: Path, rows: Sequence[Head], keys: Mapping[str, str]) -> Again:
    """Find the clips whose rejected labels still stand.

    Args:
        path: `NAME.rejected.jsonl` of `vidapt clean`.
        rows: Of the labels as they are.
        keys: Of the clips that are here, by name.

    Raises:
        ConfigError: If it cannot be read, or none of its rows is of these labels.
        FormatError: If it holds anything else.
    """
    wanted = dict(_wanted(path))
    rounds: dict[str, int] = {}
    known: set[str] = set()
    stands: set[str] = set()
    for head in rows:
        if keys.get(head.clip) != head.key:
            continue
        row = head.read()
        for label in row["labels"]:
            if label["id"] in wanted:
                known.add(label["id"])
                if label["text"] in wanted[label["id"]]:
                    stands.add(label["id"])
                    rounds[head.key] = int(row.get("again", 0)) + 1
    if wanted and not known:
        raise ConfigError(
            path,
            f"none of its {len(wanted)} rows to ask for again is of these labels",
            "give the clips, --out and recipe that the labels were made with",
        )
    return Again(rounds, len(known - stands), len(wanted.keys() - known))


def _wanted(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Ids of labels that are to be asked for again, and what they say."""
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                row = json.loads(line)
                if row["again"] and row["row"] is not None and "now" not in row:
                    yield str(row["row"]["id"]), tuple(_texts(row["row"]))
    except OSError as error:
        told = f"cannot be read ({error.strerror})"
        raise ConfigError(path, told, "name the rejected rows of `vidapt clean`") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FormatError(
            f"{path}:{number}", "is no rejected row", "name the NAME.rejected.jsonl of `vidapt clean`"
        ) from None


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    """All that a rejected row has a model say."""
    if "answer" in row:
        yield str(row["answer"])
    yield from map(str, row.get("answers", ()))
    yield from (str(turn["text"]) for turn in row.get("turns", ()) if turn["role"] == "assistant")


def anew(recipe: Labelling, round_: int) -> Labelling:
    """The recipe with seeds that no earlier round had; itself in round 0."""
    if not round_:
        return recipe
    seed = (recipe.decoding.seed + round_ * recipe.samples) % 2**31
    decoding = recipe.decoding.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"decoding": decoding})
