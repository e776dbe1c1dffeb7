"""Label files to what a stage trains on: per clip, its samples as token ids."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.claims import renumbered
from vidapt.curation.versions import check_version
from vidapt.decisions import each_decided
from vidapt.errors import ConfigError, FormatError
from vidapt.formats import Placement, distinct, open_samples, placed, single_questions
from vidapt.metrics.spans import stretch_of
from vidapt.models.text import Encoded, answer_places, encode
from vidapt.nouns import MEDIA, Clip, Sample
from vidapt.recipe import DataSource, Prompt
from vidapt.training.encodings import Encodings, Remembering
from vidapt.training.unsupported import each_learned


@dataclass(frozen=True)
class ClipSamples:
    """All samples of one clip (or of one combination of clips).

    Attributes:
        media: The clips.
        samples: What is asked and answered about them.
        encoded: The same as ids; all with one prefix.
        source: Index of the source it comes from, where these are mixed.
    """

    media: tuple[Clip, ...]
    samples: tuple[Sample, ...]
    encoded: Sequence[Encoded]
    source: int = 0


def open_source(source: DataSource) -> Iterable[Sample]:
    """Samples of a source before its filters, as a person decided them.

    Raises:
        ConfigError: If they are not the version that is named, or decisions are about other labels.
    """
    check_version(source.path, source.version)
    samples = open_samples(source.path, source.format, **source.options)
    return samples if source.decisions is None else each_decided(source.decisions, distinct(samples))


def read_samples(
    sources: Iterable[DataSource], opened: Callable[[DataSource], Iterable[Sample]] = open_source
) -> list[Sample]:
    """Samples of all sources, with each source's filters applied.

    Args:
        sources: Label files.
        opened: Gives a source's samples before its filters.

    Raises:
        ConfigError: If a source yields nothing, or an answer of type `when` is no stretch of time.
        FormatError: Naming file and line of what cannot be read.
    """
    return [sample for found in read_sources(sources, opened) for sample in found]


def read_sources(
    sources: Iterable[DataSource], opened: Callable[[DataSource], Iterable[Sample]] = open_source
) -> list[list[Sample]]:
    """The same, source by source."""
    read: list[list[Sample]] = []
    for source in sources:
        found = list(each_learned(_filtered(opened(source), source), source))
        if not found:
            named = (
                "types, skip, limit and unsupported"
                if source.unsupported.changes
                else "types, skip and limit"
            )
            raise ConfigError(source.path, "holds no sample that the filters let through", f"check {named}")
        for sample in found:
            stretch_of(sample)  # refuses what asks when and does not say it
        read.append(found)
    return read


def _filtered(samples: Iterable[Sample], source: DataSource) -> Iterable[Sample]:
    clips: dict[Any, int] = {}
    texts = itertools.count()
    last = source.skip + source.limit if source.limit is not None else None
    for sample in samples:
        number = clips.setdefault(stretches(sample) or next(texts), len(clips))
        if number < source.skip or (last is not None and number >= last):
            continue
        if source.types is None or sample.facts.get("type") in source.types:
            yield sample


def group_by_clip(
    samples: Sequence[Sample],
    prompt: Prompt,
    tokenizer: Any,
    max_answer_tokens: int,
    *,
    apart: bool = False,
    placement: Placement = "as_written",
    origins: Sequence[int] | None = None,
) -> list[ClipSamples]:
    """Samples with equal clips and an equal prefix, together, in order of first appearance.

    Text alone shares nothing: each sample without clips stands alone.

    Args:
        samples: What is to be learned.
        prompt: The model's template.
        tokenizer: A transformers tokenizer.
        max_answer_tokens: Longer answers are refused.
        apart: Take conversations about one clip apart.
        placement: Where several clips of a conversation are read.
        origins: Of every sample, the source it comes from; samples of two of them stay apart.

    Raises:
        FormatError: If answers are longer than `max_answer_tokens`, there is none, or one comes first.
    """
    groups: dict[Any, tuple[list[Sample], Encodings, int]] = {}
    remembering = Remembering(tokenizer)
    for number, (sample, source) in enumerate(zip(samples, origins or itertools.repeat(0), strict=False)):
        for one, encoded in learnable(
            sample, prompt, remembering, max_answer_tokens, apart=apart, placement=placement
        ):
            about = stretches(one) or number
            key = (source, about, encoded.prefix, encoded.early)
            if key not in groups:
                groups[key] = ([], Encodings(encoded.prefix, encoded.early), source)
            members, ids, _ = groups[key]
            members.append(one)
            ids.append(encoded)
    return [
        ClipSamples(members[0].media, tuple(members), ids, source) for members, ids, source in groups.values()
    ]


def learnable(
    sample: Sample,
    prompt: Prompt,
    tokenizer: Any,
    max_answer_tokens: int,
    *,
    apart: bool,
    placement: Placement = "as_written",
) -> Iterator[tuple[Sample, Encoded]]:
    """What is learned of a sample, as ids: each of n answers to its last question, of a weight of 1/n.

    An answer no token of which counts is not learned.

    Raises:
        FormatError: If an answer is longer than `max_answer_tokens`, there is none, or one comes first.
    """
    sample = placed(sample, placement)
    for question in single_questions([sample]) if apart else [sample]:
        answers = responses(question)
        for one in answers:
            encoded = encode(one, prompt, tokenizer)
            _refuse_unlearnable(one, encoded, max_answer_tokens)
            each = _each(one, encoded, prompt, tokenizer)
            if each and not any(each):
                continue
            yield one, replace(encoded, weight=1 / len(answers), each=each)


def responses(sample: Sample) -> list[Sample]:
    """A sample with each of the answers that are references to it, in place of its last turn."""
    own = {at: at for at in range(len(sample.turns))}
    last = len(sample.turns) - 1
    answers = [renumbered(sample, own)]
    for number, text in enumerate(sample.references):
        turns = (*sample.turns[:-1], replace(sample.turns[-1], text=text))
        numbers = {at: at for at in range(last)} | {len(sample.turns) + number: last}
        answers.append(renumbered(replace(sample, turns=turns), numbers))
    return answers


def _each(sample: Sample, encoded: Encoded, prompt: Prompt, tokenizer: Any) -> tuple[float, ...]:
    """How much each label counts, where a sample says so of stretches of its answers; see `Sample.counts`."""
    if not sample.counts:
        return ()
    places = answer_places(sample, prompt, tokenizer)
    found = tuple(
        min(
            (much for turn, a, b, much in sample.counts if turn == at and a < end and start < b),
            default=1.0,
        )
        for at, start, end in places
    )
    return () if all(much == 1.0 for much in found) else found


def _refuse_unlearnable(sample: Sample, encoded: Encoded, max_answer_tokens: int) -> None:
    where, labels = sample.source or sample.id, encoded.labels
    if not labels:
        raise FormatError(where, "has no answer to learn")
    if _starts_with_answer(encoded):
        raise FormatError(
            where,
            "it begins with an answer, before which there is nothing to read",
            "put a question first or give the prompt a `start`",
        )
    if labels > max_answer_tokens:
        raise FormatError(
            where,
            f"its answer has {labels} tokens, the limit is {max_answer_tokens}",
            "shorten it or raise `batching.max_answer_tokens`",
        )


def without_clips(sample: Sample) -> Sample:
    """The same questions and answers, asked without the clips."""
    # Of answers not a letter changes: their tokens are the same with and without the clips.
    turns = tuple(
        replace(turn, text=turn.text.replace(MEDIA, "").strip()) if turn.role != "assistant" else turn
        for turn in sample.turns
    )
    return replace(sample, media=(), turns=turns)


def stretches(sample: Sample) -> tuple[tuple[Path, float, float | None], ...]:
    """Which footage a sample is about, by whatever name."""
    return tuple((clip.path, clip.start_s, clip.end_s) for clip in sample.media)


def _starts_with_answer(encoded: Encoded) -> bool:
    return 0 in encoded.early if encoded.prefix else encoded.answer[0]
