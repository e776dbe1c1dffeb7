"""Clips to look at: what was asked about each, what was expected, and what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidapt.errors import ConfigError
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.footage import Shown, show
from vidapt.measure.verdicts import MODEL, Verdict

CARRIED = 8_000_000
"""Most characters the videos of a page take together."""


@dataclass(frozen=True, slots=True)
class Told:
    """A text of one evaluation, in sentences with their marks; unmarked where nothing was judged."""

    label: str
    sentences: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FreeText:
    """A question answered in a text of its own."""

    type: str
    question: str
    reference: str
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with accepted answers; per evaluation what was answered, and whether that is right."""

    type: str
    question: str
    expected: str
    answers: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All about one clip.

    Attributes:
        clip: Its id.
        shown: The clip itself.
        texts: Free texts.
        asked: Other questions.
        right: Per evaluation, how many of those were answered rightly.
    """

    clip: str
    shown: Shown
    texts: tuple[FreeText, ...]
    asked: tuple[Exchange, ...]
    right: tuple[int, ...]


def stories(evaluations: Mapping[str, Evaluation], clips: int | Sequence[str]) -> list[Story]:
    """Choose clips and tell what was said about them.

    Args:
        evaluations: By label; only questions all of them answered are told.
        clips: Ids, or how many: then evenly spread over the data, whatever the answers.

    Raises:
        ConfigError: If a clip was not evaluated.
    """
    answered = [{verdict.sample: verdict for verdict in e.verdicts} for e in evaluations.values()]
    by_clip: dict[str, list[tuple[Verdict, ...]]] = {}
    for verdict in answered[-1].values():
        if all(verdict.sample in verdicts for verdicts in answered):
            row = tuple(verdicts[verdict.sample] for verdicts in answered)
            by_clip.setdefault(verdict.clip.id, []).append(row)
    chosen = _spread(list(by_clip), clips) if isinstance(clips, int) else list(clips)
    unknown = [clip for clip in chosen if clip not in by_clip]
    if unknown:
        raise ConfigError("report", f"no verdicts on the clips {', '.join(unknown)}", "name evaluated clips")
    labels = list(evaluations)
    return [_story(labels, by_clip[clip], CARRIED // max(1, len(chosen))) for clip in chosen]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` names, from the middles of equal stretches."""
    count = min(count, len(names))
    return [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]


def _story(labels: Sequence[str], rows: Sequence[tuple[Verdict, ...]], limit: int) -> Story:
    clip = rows[0][-1].clip
    free = [row for row in rows if row[-1].free]
    closed = [row for row in rows if not row[-1].free]
    return Story(
        clip=clip.id,
        shown=show(clip, limit),
        texts=tuple(
            FreeText(
                row[-1].type.replace("_", " "),
                row[-1].question,
                row[-1].expected,
                tuple(Told(label, _sentences(v)) for label, v in zip(labels, row, strict=True)),
            )
            for row in free
        ),
        asked=tuple(
            Exchange(
                row[-1].type.replace("_", " "),
                row[-1].question,
                row[-1].expected,
                tuple((v.predictions[MODEL], bool(v.right(MODEL))) for v in row),
            )
            for row in closed
        ),
        right=tuple(sum(bool(row[i].right(MODEL)) for row in closed) for i in range(len(labels))),
    )


def _sentences(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    text = verdict.predictions[MODEL]
    return verdict.sentences or (((text, "unjudged"),) if text else ())
