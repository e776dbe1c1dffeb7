"""Clips with statements known to be true or false, read from labels or made from a world's own facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, FormatError
from vidapt.formats import open_samples
from vidapt.formats._base import CAPTION_PROMPT
from vidapt.labelling.facts import all_pairs
from vidapt.labelling.falsify import falsify
from vidapt.labelling.lexicon import Lexicon, read_lexicon
from vidapt.nouns import Clip, Sample, Turn
from vidapt.worlds.known import find_world

EVENTS, _ABOUT, _CLIPS = "events.jsonl", "dataset.json", "clips"
"""A simulated world's log, what it is about, and its clips."""


@dataclass(frozen=True, slots=True)
class Case:
    """Statements about one clip.

    Attributes:
        id: Unique within its set.
        clip: What they are about.
        true: Those that are true.
        false: Those that are not.
        kind: The fact in which they differ, where that is known.
    """

    id: str
    clip: Clip
    true: tuple[str, ...]
    false: tuple[str, ...] = ()
    kind: str = ""


def read_cases(
    path: Path,
    kind: str | None = None,
    *,
    by_rule: int = 0,
    lexicon: Path | None = None,
    seed: int = 0,
    count: int = 4,
    options: Mapping[str, Any] | None = None,
) -> list[Case]:
    """Read a set.

    A label file's row gives its statements as `facts`: `{"true": [...], "false": [...]}`, with their `type`
    if it likes. A caption is a true statement; rows that are neither are passed over. A folder written by
    `vidapt simulate` needs no statements: they are made from the log, and are exact.

    Args:
        path: Label file, or a simulated world's folder.
        kind: Format of the labels; None tells it from their content.
        by_rule: Make up to so many false copies of each true statement of a row without false ones.
        lexicon: For `by_rule`; None is the one that comes with the package.
        seed: Of what is made.
        count: Pairs per clip of a simulated world.
        options: Of the format, such as `media_root`.

    Raises:
        FormatError: If the labels are unsound or hold no statement.
        ConfigError: If the lexicon or the world cannot be used.
    """
    if path.is_dir() and (path / EVENTS).is_file():
        return _of_world(path, seed, count)
    cases = [case for sample in open_samples(path, kind, **(options or {})) for case in _of_row(sample)]
    if by_rule:
        words = read_lexicon(lexicon)
        cases = [one for case in cases for one in _with_false(case, words, seed, by_rule)]
    if not cases:
        raise FormatError(
            path, "holds no statement", 'give captions, or rows with "facts": {"true": [...], "false": [...]}'
        )
    return cases


def _of_row(sample: Sample) -> Iterator[Case]:
    facts = sample.facts
    true, false = _texts(facts, "true", sample), _texts(facts, "false", sample)
    captioned = facts.get("type") == "caption" or sample.question == CAPTION_PROMPT
    if not true and captioned and sample.answer:
        true = (sample.answer,)
    if not (true or false):
        return
    if len(sample.media) != 1:
        raise FormatError(sample.source or sample.id, f"statements about {len(sample.media)} clips; give one")
    yield Case(sample.id, sample.media[0], true, false, str(facts.get("type", "")))


def _texts(facts: Mapping[str, Any], key: str, sample: Sample) -> tuple[str, ...]:
    given = facts.get(key, [])
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(text, str) and text.strip() for text in given):
        raise FormatError(
            sample.source or sample.id, f"facts.{key} is {given!r}", "give a list of statements, none empty"
        )
    return tuple(given)


def _with_false(case: Case, words: Lexicon, seed: int, count: int) -> Iterator[Case]:
    """A case for each false copy, so that each is of the kind of its own fact."""
    made = (
        [] if case.false else [(t, c) for t in case.true for c in falsify(t, words, seed=seed, count=count)]
    )
    if not made:
        yield case
    for number, (text, change) in enumerate(made):
        yield Case(f"{case.id}/{number}", case.clip, (text,), (change.text,), change.fact)


def _of_world(folder: Path, seed: int, count: int) -> list[Case]:
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        world = find_world(about["world"])
        style = world.STYLES[world.find_venue(about["venue"]).style]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            folder / _ABOUT, f"does not describe a simulated world: {error!r}", "name a label file"
        ) from error
    cases = []
    for record in world.load_records(folder / EVENTS):
        name = f"{record.index:06d}"
        clip = Clip(name, folder / _CLIPS / f"{name}.mp4")
        for number, pair in enumerate(all_pairs(world, record, style, seed=seed, count=count)):
            cases.append(Case(f"{name}/{number}", clip, (pair.true,), (pair.false,), pair.kind))
    if not cases:
        raise FormatError(folder, "nothing happens in these clips", "simulate more of them")
    return cases


def samples(cases: Iterable[Case]) -> Iterator[Sample]:
    """Cases as samples, which `formats.vidapt_jsonl.write` writes and `read_cases` reads again.

    The first true statement is the caption, so that every reader of captions can use the file.
    """
    for case in cases:
        facts = {"type": case.kind, "true": list(case.true), "false": list(case.false)}
        turns = (Turn("user", CAPTION_PROMPT), Turn("assistant", case.true[0] if case.true else ""))
        yield Sample(case.id, (case.clip,), turns, facts=facts)
