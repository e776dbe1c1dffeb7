"""Times in texts: stretches such as `12.4–15.0`, how well two of them agree, and the same text later on.

Source: temporal grounding measures intersection over union, and recall at a threshold of it (Gao et al. 2017,
"TALL", arXiv 1705.02101).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from vidapt.errors import ConfigError
from vidapt.metrics.intervals import Interval, mean_interval
from vidapt.nouns import Sample

WHEN = "when"
"""Type of questions that are answered by a stretch of time."""

RECALLED_AT = (0.3, 0.5, 0.7)
"""Thresholds of intersection over union."""

RIGHT_AT = 0.5
"""An answer that agrees with the truth so much counts as right."""

Stretch = tuple[float, float]
"""Seconds from the beginning of the clip, the first no later than the second."""

_UNIT = r"(?:\s?(?:seconds|second|secs|sec|s)\b)"
_CLOCK = r"(?:\d{1,2}:)?\d{1,3}:\d{2}(?:\.\d+)?"
_TIME = rf"(?:{_CLOCK}|\d{{1,6}}(?:\.\d{{1,6}})?)"
_TO = r"\s*(?:[-\u2010-\u2014\u2212~\u301c\uff5e]|to|and|until)\s*"
"""Hyphens, dashes, the minus and the tildes that people and models write between two numbers."""
_OTHER_UNIT = r"\s?(?:[%°]|(?:ms|[cmk]?m|kg|g|min|mins|met(?:re|er)s?|minutes?|percent|degrees?|points?)\b)"
"""What numbers that are no seconds are followed by: they would be moved along with times."""
_TIMES = re.compile(
    r"(?:(?P<lead>\b(?:at|around|about|near|by|after|from)\s|<)|(?<![\w.:]))"
    rf"(?P<first>{_TIME})(?P<unit>{_UNIT})?(?:{_TO}(?P<last>{_TIME})(?P<units>{_UNIT})?)?(?![\w:]|\.\d|{_OTHER_UNIT})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StretchScores:
    """How well stretches of time agree with the truth.

    Attributes:
        n: Number of answers.
        overlap: Mean intersection over union; an answer without a stretch has 0.
        recall: Share of answers at or above each threshold of it.
        unread: Share of answers that name no stretch.
    """

    n: int
    overlap: Interval
    recall: dict[float, Interval]
    unread: float


def read_stretches(text: str) -> list[Stretch]:
    """The stretches and moments that a text names, in order; a moment begins and ends at once.

    Read are `12.4–15.0`, `12 to 15 s`, `0:12-0:15`, `at 3.5 seconds`, `<3.5 seconds>`. Plain numbers, and how
    long something lasts, are no times.
    """
    return [stretch for match in _TIMES.finditer(text) if (stretch := _stretch(match)) is not None]


def written(stretch: Stretch) -> str:
    """A stretch as labels write it: `12.4–15.0`."""
    return f"{stretch[0]:.1f}–{stretch[1]:.1f}"


def only_stretch(text: str) -> Stretch | None:
    """The stretch that a text consists of, with no word beside it; None for any other text."""
    match = _TIMES.fullmatch(text.strip().rstrip("."))
    return None if match is None or match["lead"] or match["last"] is None else _stretch(match)


def stretch_of(sample: Sample) -> Stretch | None:
    """When what a sample asks for was: of its type `when`, or of an answer that is a stretch and no more.

    Raises:
        ConfigError: If a sample of that type does not say it.
    """
    kind = sample.facts.get("type")
    if kind not in (None, WHEN):
        return None
    found = only_stretch(sample.answer)
    if kind == WHEN and found is None:
        where = sample.source or f"sample {sample.id}"
        remedy = "answer such questions like 12.4–15.0, in seconds from the clip's beginning"
        raise ConfigError(where, f"asks when, and {sample.answer!r} is no stretch of time", remedy)
    return found


def shifted(text: str, by: float) -> str:
    """A text whose times are later.

    Args:
        text: What is said of a stretch of a film, with times from where the stretch begins.
        by: Seconds of the film at which it begins.
    """

    def later(match: re.Match[str]) -> str:
        if _stretch(match) is None:
            return match[0]
        names = [name for name in ("first", "last") if match[name] is not None]
        pieces, at = [], match.start()
        for name in names:
            pieces += [text[at : match.start(name)], _later(match[name], by)]
            at = match.end(name)
        return "".join([*pieces, text[at : match.end()]])

    return _TIMES.sub(later, text)


def overlap(one: Stretch, other: Stretch) -> float:
    """Intersection over union of two stretches; that of two equal moments is 1."""
    union = max(one[1], other[1]) - min(one[0], other[0])
    common = min(one[1], other[1]) - max(one[0], other[0])
    if union == 0:
        return 1.0
    return max(0.0, common) / union


def agreement(text: str, truth: Stretch) -> float:
    """How well the first stretch that a text names agrees with the truth; 0 if it names none."""
    found = read_stretches(text)
    return overlap(found[0], truth) if found else 0.0


def stretch_scores(
    predictions: Sequence[str], truths: Sequence[Stretch], clips: Sequence[Hashable]
) -> StretchScores:
    """Score answers about time, with intervals over clips.

    Args:
        predictions: What was said.
        truths: The true stretches, in the same order.
        clips: What each is about.

    Raises:
        ValueError: If there is none.
    """
    values = [agreement(text, truth) for text, truth in zip(predictions, truths, strict=True)]
    recall = {at: mean_interval([value >= at for value in values], clips) for at in RECALLED_AT}
    unread = sum(not read_stretches(text) for text in predictions) / len(predictions) if predictions else 0.0
    return StretchScores(len(values), mean_interval(values, clips), recall, unread)


def _stretch(match: re.Match[str]) -> Stretch | None:
    """The times of a match; None where its numbers are no times."""
    first, last = match["first"], match["last"]
    if last is None:
        timed = match["lead"] and (":" in first or match["unit"])
        return (_seconds(first), _seconds(first)) if timed else None
    clocks = [":" in time for time in (first, last)]
    united = match["unit"] or match["units"] or all("." in time for time in (first, last))
    timed = all(clocks) or (united and not any(clocks))
    begin, end = _seconds(first), _seconds(last)
    return (begin, end) if timed and begin <= end else None


def _seconds(time: str) -> float:
    total = 0.0
    for part in time.split(":"):
        total = total * 60 + float(part)
    return total


def _later(time: str, by: float) -> str:
    """A time as it is written, so many seconds later."""
    decimals = len(time.partition(".")[2])
    seconds = round(_seconds(time) + by, decimals)
    if ":" not in time:
        return f"{seconds:.{decimals}f}"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    tail = f"{rest:0{3 + decimals if decimals else 2}.{decimals}f}"
    if hours or time.count(":") == 2:
        return f"{int(hours)}:{int(minutes):02d}:{tail}"
    wide = len(time.partition(":")[0])
    return f"{int(minutes):0{wide}d}:{tail}"
