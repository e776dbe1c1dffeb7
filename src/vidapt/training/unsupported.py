"""Labels as a stage learns them, where a clip does not bear out what they claim (`recipe.Unsupported`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from vidapt.claims import Claim, renumbered, replaced, said
from vidapt.errors import ConfigError
from vidapt.nouns import Sample, Turn
from vidapt.recipe import DataSource, Unsupported

_COUNTED = ("supported", "unseen", "contradicted")


def supported_share(claims: Iterable[Claim]) -> float | None:
    """Share of claims that are supported, of those that could be checked; None if none could."""
    checked = [claim.verdict == "supported" for claim in claims if claim.verdict in _COUNTED]
    return sum(checked) / len(checked) if checked else None


def learned(sample: Sample, how: Unsupported) -> Sample | None:
    """A row as it is learned from; None if it is left out.

    A row is left out if nothing of it would be learned. An answer of a longer conversation of which nothing
    is left stays as it was, is read before what follows it, and is not learned.

    Args:
        sample: With its claims; one without any stays as it is.
        how: What is done.
    """
    if not how.changes or not sample.claims:
        return sample
    share = supported_share(sample.claims)
    if share is not None and share < how.drop_below:
        return None
    gone = [claim for claim in sample.claims if claim.verdict in how.verdicts]
    if not gone or how.act == "keep":
        return sample
    if how.act == "drop":
        return None
    return _weighed(sample, gone, how) if how.weighs else _rewritten(sample, gone, how)


def each_learned(samples: Iterable[Sample], source: DataSource) -> Iterator[Sample]:
    """Rows of a source as they are learned from.

    Raises:
        ConfigError: If something is to be done with unsupported claims, and no row has any claims.
    """
    if not source.unsupported.changes:
        yield from samples
        return
    rows, known = 0, False
    for sample in samples:
        rows, known = rows + 1, known or bool(sample.claims)
        now = learned(sample, source.unsupported)
        if now is not None:
            yield now
    if rows and not known:
        raise no_claims(source)


def no_claims(source: DataSource) -> ConfigError:
    """What is wrong with labels without claims."""
    return ConfigError(
        source.path,
        "has no column `claims`, and `unsupported` asks for it",
        f"`vidapt evidence {source.path} --out ...` writes one; or leave `unsupported` out",
    )


def _weighed(sample: Sample, gone: Sequence[Claim], how: Unsupported) -> Sample | None:
    """A row some of whose letters count less."""
    counts = [*sample.counts]
    much = how.weight if how.act == "weight" else 0.0
    for claim in gone:
        spans = claim.values if how.act == "mask_values" else [(claim.start, claim.end)]
        counts += [(claim.turn, start, end, much) for start, end in spans]
    now = replace(sample, counts=tuple(counts))
    if how.act != "mask_claims":
        return now
    # Of an answer all of whose clauses are masked, only the mark of its end would be learned.
    silent = [turn for turn in _answers(sample) if _all_gone(sample, turn, how)]
    return _without_answers(now, silent)


def _rewritten(sample: Sample, gone: Sequence[Claim], how: Unsupported) -> Sample | None:
    """A row without the clauses, or with a sentence in their place."""
    sentence = how.sentence if how.act == "not_visible" else ""
    now, silent = sample, []
    for turn in sorted({claim.turn for claim in gone}):
        text = said(sample, turn)
        assert text is not None
        own = [claim for claim in sample.claims if claim.turn == turn]
        places = {at for at, claim in enumerate(own) if claim.verdict in how.verdicts}
        left = replaced(text, [(claim.start, claim.end) for claim in own], places, sentence)
        if left:
            now = _with_text(now, turn, left)
        else:
            silent.append(turn)
    return _without_answers(now, silent)


def _with_text(sample: Sample, turn: int, text: str) -> Sample:
    """A row that says something else, and of which nothing is known there any more."""
    turns, others = list(sample.turns), list(sample.references)
    last = turn >= len(turns) - 1
    if turn < len(turns):
        turns[turn] = Turn("assistant", text)
    else:
        others[turn - len(turns)] = text
    facts: dict[str, Any] = dict(sample.facts)
    if last and "accept" in facts:
        facts["accept"] = [turns[-1].text, *others]
    claims = tuple(claim for claim in sample.claims if claim.turn != turn)
    return replace(sample, turns=tuple(turns), references=tuple(others), facts=facts, claims=claims)


def _answers(sample: Sample) -> list[int]:
    own = [at for at, turn in enumerate(sample.turns) if turn.role == "assistant"]
    return [*own, *range(len(sample.turns), len(sample.turns) + len(sample.references))]


def _all_gone(sample: Sample, turn: int, how: Unsupported) -> bool:
    own = [claim for claim in sample.claims if claim.turn == turn]
    return bool(own) and all(claim.verdict in how.verdicts for claim in own)


def _without_answers(sample: Sample, silent: Collection[int]) -> Sample | None:
    """A row some of whose answers are not learned; None if none of them is."""
    if not silent:
        return sample
    turns = len(sample.turns)
    answers = _answers(sample)
    if all(turn in silent for turn in answers):
        return None
    if turns - 1 in silent and any(turn >= turns and turn not in silent for turn in answers):
        return _with_reference_first(sample, silent)
    kept = [at for at in range(turns, turns + len(sample.references)) if at not in silent]
    counts = [(turn, 0, len(sample.turns[turn].text), 0.0) for turn in silent if turn < turns]
    # Further answers behind one that is left out have other numbers, and what is about them goes along.
    numbers = {at: at for at in range(turns)} | {at: turns + number for number, at in enumerate(kept)}
    references = tuple(sample.references[at - turns] for at in kept)
    now = renumbered(replace(sample, references=references), numbers)
    return replace(now, counts=(*now.counts, *counts))


def _with_reference_first(sample: Sample, silent: Collection[int]) -> Sample | None:
    """A row whose last answer gives way to the first of its further ones that is learned."""
    turns = len(sample.turns)
    kept = [at for at in range(turns, turns + len(sample.references)) if at not in silent]
    said_first = replace(sample.turns[-1], text=sample.references[kept[0] - turns])
    others = tuple(sample.references[at - turns] for at in kept[1:])
    numbers = {at: at for at in range(turns - 1)} | {kept[0]: turns - 1}
    numbers |= {at: turns + number for number, at in enumerate(kept[1:])}
    now = renumbered(replace(sample, turns=(*sample.turns[:-1], said_first), references=others), numbers)
    return _without_answers(now, [turn for turn in silent if turn < turns - 1])
