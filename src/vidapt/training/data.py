"""Label files to what a stage trains on: per clip, its samples as token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, FormatError
from vidapt.formats import open_samples
from vidapt.metrics.spans import stretch_of
from vidapt.models.text import Encoded, encode
from vidapt.nouns import MEDIA, Clip, Sample
from vidapt.recipe import DataSource, Prompt
from vidapt.training.encodings import Encodings, Remembering


@dataclass(frozen=True)
class ClipSamples:
    """All samples of one clip (or of one combination of clips).

    Attributes:
        media: The clips.
        samples: What is asked and answered about them.
        encoded: The same as ids; all with one prefix.
    """

    media: tuple[Clip, ...]
    samples: tuple[Sample, ...]
    encoded: Sequence[Encoded]


def open_source(source: DataSource) -> Iterable[Sample]:
    """Samples of a source before its filters."""
    return open_samples(source.path, source.format, **source.options)


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
    samples: list[Sample] = []
    for source in sources:
        found = list(_filtered(opened(source), source))
        if not found:
            raise ConfigError(
                source.path, "holds no sample that the filters let through", "check types, skip and limit"
            )
        for sample in found:
            stretch_of(sample)  # refuses what asks when and does not say it
        samples += found
    return samples


def _filtered(samples: Iterable[Sample], source: DataSource) -> Iterable[Sample]:
    clips: dict[Any, int] = {}
    last = source.skip + source.limit if source.limit is not None else None
    for sample in samples:
        number = clips.setdefault(_stretches(sample), len(clips))
        if number < source.skip or (last is not None and number >= last):
            continue
        if source.types is None or sample.facts.get("type") in source.types:
            yield sample


def group_by_clip(
    samples: Sequence[Sample], prompt: Prompt, tokenizer: Any, max_answer_tokens: int
) -> list[ClipSamples]:
    """Samples with equal clips and an equal prefix, together, in order of first appearance.

    Raises:
        FormatError: If answers are longer than `max_answer_tokens`, there is none, or one comes first.
    """
    groups: dict[Any, tuple[list[Sample], Encodings]] = {}
    remembering = Remembering(tokenizer)
    for sample in samples:
        encoded = encode(sample, prompt, remembering)
        labels = encoded.labels
        if not labels:
            raise FormatError(sample.source or sample.id, "has no answer to learn")
        if _starts_with_answer(encoded):
            raise FormatError(
                sample.source or sample.id,
                "it begins with an answer, before which there is nothing to read",
                "put a question first or give the prompt a `start`",
            )
        if labels > max_answer_tokens:
            raise FormatError(
                sample.source or sample.id,
                f"its answer has {labels} tokens, the limit is {max_answer_tokens}",
                "shorten it or raise `batching.max_answer_tokens`",
            )
        key = (_stretches(sample), encoded.prefix, encoded.early)
        if key not in groups:
            groups[key] = ([], Encodings(encoded.prefix, encoded.early))
        members, ids = groups[key]
        members.append(sample)
        ids.append(encoded)
    return [ClipSamples(members[0].media, tuple(members), ids) for members, ids in groups.values()]


def without_clips(sample: Sample) -> Sample:
    """The same questions and answers, asked without the clips."""
    turns = tuple(replace(turn, text=turn.text.replace(MEDIA, "").strip()) for turn in sample.turns)
    return replace(sample, media=(), turns=turns)


def _stretches(sample: Sample) -> tuple[tuple[Path, float, float | None], ...]:
    """Which footage a sample is about, by whatever name."""
    return tuple((clip.path, clip.start_s, clip.end_s) for clip in sample.media)


def _starts_with_answer(encoded: Encoded) -> bool:
    return 0 in encoded.early if encoded.prefix else encoded.answer[0]
