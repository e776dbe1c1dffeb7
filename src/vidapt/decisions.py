"""What a person decided of labels, as lines of a file: read, held against rows, and done to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from vidapt.claims import refit
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.nouns import Sample, Turn
from vidapt.strict import Strict

_MOST_LETTERS = 1 << 20


class Decision(Strict):
    """A line of a file of decisions.

    Attributes:
        id: Of the row.
        verdict: What becomes of it; `undecided` takes back what was decided before.
        text: Of a `rewrite`: what is to be said in the place of its last answer.
        reason: For whoever reads the rejected rows.
        by: Who decided.
        of: Digest of the texts that were looked at (`about`): a row that says something else by now is
            another one. Empty where nobody noted it.
        check: Which check had changed the row; empty if none had, or nobody noted it.
    """

    id: str = Field(min_length=1)
    verdict: Literal["keep", "rewrite", "drop", "undecided"]
    text: str = Field("", max_length=_MOST_LETTERS)
    reason: str = Field("", max_length=10_000)
    by: str = Field("", max_length=200)
    of: str = Field("", max_length=64)
    check: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _has_text(self) -> Decision:
        if (self.verdict == "rewrite") != bool(self.text.strip()):
            raise ValueError("`text` belongs to `rewrite`, and to nothing else")
        return self


def read_decisions(path: Path, *, cut_off: bool = False) -> dict[str, Decision]:
    """Read decisions; of several about one row the last one holds.

    Args:
        path: JSON lines.
        cut_off: Whether a last line that has no end, as a loss of power may leave it, is passed over.

    Raises:
        ConfigError: Naming the line that is none.
    """
    found: dict[str, Decision] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if cut_off and _is_cut_off(line):
                    break
                if line.strip():
                    one = _decision(line, f"{path}:{number}")
                    found.pop(one.id, None)
                    if one.verdict != "undecided":
                        found[one.id] = one
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "name a file of decisions") from error
    return found


def _is_cut_off(line: bytes) -> bool:
    """Whether a line begins as one that was written here and is no whole one."""
    if line.endswith(b"\n") or not line.startswith(b'{"id": "'):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def about(sample: Sample) -> str:
    """Digest of a row's texts, by which a decision knows its row again."""
    return digest([[turn.role, turn.text] for turn in sample.turns] + list(sample.references), 16)


def fitting(
    path: Path, decisions: Mapping[str, Decision], rows: Iterable[tuple[str, str]]
) -> dict[str, Decision]:
    """The decisions that are about rows as they are.

    Args:
        path: Where they were read.
        decisions: By ids of rows.
        rows: The id of every row that one of them may be about, and what `about` says of it.

    Raises:
        ConfigError: If none of them is: they were made of other labels.
    """
    found = {key: decisions[key] for key, now in rows if key in decisions and decisions[key].of in ("", now)}
    if decisions and not found:
        raise ConfigError(
            path,
            f"none of its {len(decisions)} decisions is about these labels; the first is about "
            f"{next(iter(decisions))!r}",
            "give the labels that were decided on, as they were then; ids are those of their rows",
        )
    return found


def _decision(line: bytes, where: str) -> Decision:
    remedy = 'write {"id": "...", "verdict": "keep"}, or `rewrite` with a `text`, or `drop`'
    try:
        return Decision.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        found = f"is no decision: {place}: {first['msg'].removeprefix('Value error, ')}"
        raise ConfigError(where, found, remedy) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, f"is no JSON ({error})", remedy) from None


def decided(sample: Sample, decision: Decision) -> Sample | None:
    """A row as a person would have it; None where it was dropped.

    Claims of a rewritten answer stay where its text still holds them. What counted as right beside the old
    text does not any more.
    """
    if decision.verdict == "drop":
        return None
    if decision.verdict == "keep" or sample.turns[-1].text == decision.text:
        return sample
    last = len(sample.turns) - 1
    turns = (*sample.turns[:-1], Turn("assistant", decision.text))
    facts = dict(sample.facts)
    if "accept" in facts:
        facts["accept"] = [decision.text, *sample.references]
    return replace(sample, turns=turns, facts=facts, claims=refit(sample.claims, last, decision.text))


def each_decided(path: Path, samples: Iterable[Sample]) -> Iterator[Sample]:
    """Rows as a file of decisions has them; those that nobody decided stay as they are.

    Args:
        path: The decisions.
        samples: Rows, each with an id of its own.

    Raises:
        ConfigError: If the file holds something else, or, at the end, if none of it is about these rows.
    """
    decisions, there = read_decisions(path), list[tuple[str, str]]()
    for sample in samples:
        decision, now = decisions.get(sample.id), sample
        if decision is not None:
            there.append((sample.id, about(sample)))
            if decision.of in ("", there[-1][1]):
                kept = decided(sample, decision)
                if kept is None:
                    continue
                now = kept
        yield now
    fitting(path, decisions, there)
