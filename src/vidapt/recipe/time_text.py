"""What is written around a clip and around its slices: marks, numbers of frames, and times as text.

Source: Qwen3-VL and its kin write the second of every pair of frames before it, SmolVLM2 minutes and seconds,
InternVL numbers frames, LLaVA-Video lists all moments behind the clip; see `docs/architectures.md`.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, field_validator

from vidapt.nouns import Moment, Moments, Stamp
from vidapt.strict import Strict

_TIME = ("", ".0f", ".1f", ".2f", ".3f", "g")
_COUNT = ("", "d", "02d")
_WORDS = ("",)
_FIELDS = {
    "seconds": _TIME,
    "length": _TIME,
    "number": _COUNT,
    "frames": _COUNT,
    "index": _COUNT,
    "clock": _WORDS,
    "length_clock": _WORDS,
    "frames_in_words": _WORDS,
    "moments": _WORDS,
}
"""What may be written, and the formats that each can be written in; others, such as a width of a million, are
not needed, and a format of another kind of value would fail at the first clip."""

_LONGEST = 1000
"""Letters of a template; the longest published one, LLaVA-Video's, has about 200."""


Scene = Literal["image", "images", "video"]
"""What a clip is to a conversation: its only still, one of several stills, or footage."""


class TimeText(Strict):
    """Text around what is read of a clip, and around each of its slices.

    A slice is a step of time in what is read: a frame, or a pair of them. Texts are templates:
    `{seconds:.1f}` and `{clock}` (minutes and seconds) of the slice, its `{number}` counted from 1; of the
    clip `{frames}`, `{frames_in_words}`, `{length:.2f}` in seconds and as `{length_clock}` (hours, minutes,
    seconds), the `{moments}` of all frames ("0.00s,1.03s"); and `{index}`, the clip's number among the media
    of its conversation, counted from 0.

    Attributes:
        intro: In front of the clip.
        before: In front of every slice.
        between: Between two slices.
        after: Behind every slice.
        outro: Behind the clip.
        moment: Which moment of a slice of several frames its time is.
    """

    intro: str = ""
    before: str = ""
    between: str = ""
    after: str = ""
    outro: str = ""
    moment: Moment = "middle"

    @field_validator("intro", "before", "between", "after", "outro")
    @classmethod
    def _can_be_filled(cls, text: str) -> str:
        if len(text) > _LONGEST:
            raise ValueError(f"is {len(text):,} letters long; at most {_LONGEST:,} can be")
        for _, name, spec, conversion in string.Formatter().parse(text):
            if name is None:
                continue
            if name not in _FIELDS:
                raise ValueError(
                    f"nothing is known to write for {{{name}}}; known: {', '.join(sorted(_FIELDS))}"
                )
            if conversion or (spec or "") not in _FIELDS[name]:
                ways = ", ".join(f"{{{name}:{way}}}" if way else f"{{{name}}}" for way in _FIELDS[name])
                raise ValueError(f"{{{name}}} is written in a way that is not known; known: {ways}")
        return text

    @property
    def splits(self) -> bool:
        """Whether slices are read apart from one another."""
        return bool(self.before or self.between or self.after)


def _about_footage(times: Any) -> Any:
    """The short ways of writing what stands around footage."""
    if isinstance(times, str):
        return {"video": {"before": times}}
    if isinstance(times, Mapping) and times and not set(times) & set(get_args(Scene)):
        return {"video": times}
    return times


Times = Annotated[dict[Scene, TimeText], BeforeValidator(_about_footage)]
"""What is written around clips, by scene; a text alone stands in front of every slice of footage."""


def is_timed(text: str) -> bool:
    """Whether a template says anything that depends on when the frames were."""
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return bool(names & {"seconds", "clock", "length", "length_clock", "moments"})


def filled(stamp: Stamp, index: int, moments: Moments) -> str:
    """A stamp's text with its fields written out.

    Args:
        stamp: What is written, and about which frames. Frames beyond the clip's last are that one repeated.
        index: The clip's number among the conversation's media.
        moments: Of all frames.
    """
    return string.Formatter().vformat(stamp.text, (), _Values(stamp, index, moments))


class _Values(Mapping[str, Any]):
    """Values of the fields, each made when it is asked for."""

    def __init__(self, stamp: Stamp, index: int, moments: Moments) -> None:
        times = moments.seconds
        begin, end = (times[min(at, len(times) - 1)] for at in (stamp.first, stamp.last))
        seconds = {"first": begin, "last": end, "middle": (begin + end) / 2}[stamp.moment]
        self._makers: dict[str, Callable[[], Any]] = {
            "index": lambda: index,
            "number": lambda: stamp.number,
            "frames": lambda: len(times),
            "frames_in_words": lambda: _in_words(len(times)),
            "seconds": lambda: seconds,
            "clock": lambda: f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}",
            "length": lambda: moments.length,
            "length_clock": lambda: _hours(moments.length),
            "moments": lambda: _listed(times),
        }

    def __getitem__(self, name: str) -> Any:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _hours(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _listed(seconds: Sequence[float]) -> str:
    return ",".join(f"{one:.2f}s" for one in seconds)


def _in_words(number: int) -> str:
    from num2words import num2words

    return str(num2words(number))
