"""Which moments of a clip are looked at: policies as data, times before any frame is decoded.

Sampling by segment mid-points is what PLLaVA and InternVideo do; end-points are what Video-LLaVA and
LLaVA-NeXT-Video do; a rate with a cap is what Qwen2-VL and LLaVA-Video do. Policies choose moments; under
`compat` they choose frames by their numbers, as `video/published.py` says.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vidapt.errors import BrokenClip, ConfigError
from vidapt.strict import Known, no_truth
from vidapt.video.probe import Probe
from vidapt.video.published import (
    Stretch,
    ends_off,
    evenly,
    full_seconds,
    middles,
    pairs,
    segments,
)

At = Literal["midpoints", "endpoints"]
CLOSE_S = 1e-6
"""Moments closer than this are the same: seconds come from floating point, ticks do not."""

_Count = Annotated[int, BeforeValidator(no_truth), Field(ge=1)]
_Number = Annotated[float, BeforeValidator(no_truth)]


class Uniform(Known):
    """A fixed number of moments, evenly spread.

    Attributes:
        count: How many.
        at: In the middle of `count` equal segments, or from the first frame to the last one.
        pad: Whether a clip with fewer frames than `count` still gives `count` frames, by repeating
            some. If false it gives as many as it has, and a still image gives one.
        compat: None takes moments. `published` takes the frames that PLLaVA's benchmarks and demo take, and
            `published_train` those of its training code; their segments are whole frames.
    """

    policy: Literal["uniform"] = "uniform"
    count: _Count = 16
    at: At = "midpoints"
    pad: bool = True
    compat: Literal["published", "published_train"] | None = None

    @model_validator(mode="after")
    def _as_published(self) -> Uniform:
        if self.compat is not None and (self.at != "midpoints" or not self.pad):
            raise ValueError(f"`compat: {self.compat}` goes with `at: midpoints` and `pad: true`")
        return self


class Every(Known):
    """One frame every `1 / rate` seconds from the start; above `cap` frames, `cap` evenly spread ones.

    Attributes:
        rate: Frames per second.
        cap: The most frames chosen.
        at: How the frames are spread when there would be more than `cap`, or fewer than `least`.
        least: The fewest frames chosen, if the file has as many.
        compat: None takes moments. `published` takes the frames that Qwen2-VL's utilities take: as many as
            the rate gives, rounded to pairs and always spread from the first frame to the last;
            `published_evenly` those that Qwen3-VL's processor takes, which rounds to no pairs;
            `published_ends_off` SmolVLM2's, which leaves a second out at each end of long clips;
            `published_seconds` MiniCPM-V 4.6's, which takes one of every second that begins.
    """

    policy: Literal["every"] = "every"
    rate: _Number = Field(default=1.0, gt=0)
    cap: _Count = 64
    at: At = "midpoints"
    least: _Count = 1
    compat: Literal["published", "published_evenly", "published_ends_off", "published_seconds"] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Every:
        if self.least > self.cap:
            raise ValueError(f"`least` is {self.least}, more than `cap`, which is {self.cap}")
        return self

    @model_validator(mode="after")
    def _as_published(self) -> Every:
        if self.compat is not None and (self.at != "endpoints" or self.cap < 2):
            raise ValueError(f"`compat: {self.compat}` goes with `at: endpoints` and a `cap` of at least 2")
        return self


class Keyframes(Known):
    """The key frames of the file; above `cap`, an even choice among them.

    Attributes:
        cap: The most frames chosen.
    """

    policy: Literal["keyframes"] = "keyframes"
    cap: _Count = 64


class Near(Known):
    """Of the frames less than half an interval from each of evenly spread moments, the cheapest to decode.

    That is a key frame, where there is one; else one that needs the fewest frames before it.

    Attributes:
        count: How many.
        pad: As of `uniform`.
    """

    policy: Literal["near"] = "near"
    count: _Count = 16
    pad: bool = True


class Motion(Known):
    """More frames where much happens, as the sizes of coded pictures tell; nothing is decoded for it.

    Attributes:
        count: How many.
        calm: Share of the frames that are spread evenly whatever happens; 1 is `uniform`.
        pad: As of `uniform`.
    """

    policy: Literal["motion"] = "motion"
    count: _Count = 16
    calm: _Number = Field(default=0.5, ge=0, le=1)
    pad: bool = True


class Times(Known):
    """Given moments.

    Attributes:
        times: Seconds from the first frame of the file, in the order the frames are wanted in.
    """

    policy: Literal["times"] = "times"
    times: tuple[_Number, ...] = Field(min_length=1)

    @field_validator("times")
    @classmethod
    def _sensible(cls, times: tuple[float, ...]) -> tuple[float, ...]:
        if any(not math.isfinite(t) or t < 0 for t in times):
            raise ValueError("every time must be a finite number of seconds, zero or more")
        return times


Policy = Annotated[Uniform | Every | Keyframes | Near | Motion | Times, Field(discriminator="policy")]
"""Any policy; use it as the type of a pydantic field and write `{policy: uniform, count: 8}` in YAML."""


ByPackets = Keyframes | Near | Motion
"""Policies whose moments only the packets of a file tell."""


def choose(
    policy: Policy,
    probe: Probe,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> tuple[float, ...] | Literal["packets"]:
    """Say which moments `policy` takes from a clip.

    Args:
        policy: How to choose.
        probe: What the file's headers say.
        start_s: First moment used, in seconds from the first frame.
        end_s: Last moment used; None or anything after the end means the end.

    Returns:
        Seconds from the first frame of the file, one per frame; or "packets", where only those of the file
        tell which (`video/by_packets.py`).

    Raises:
        BrokenClip: If the file ends before `start_s`, or `end_s` does not come after `start_s`.
    """
    start, end = span(probe, start_s, end_s)
    if isinstance(policy, ByPackets):
        return "packets"
    if isinstance(policy, Times):
        return policy.times
    if counts_frames(policy):
        # In the middle of the time a frame is shown: stamps are rounded to ticks, down and up.
        numbers = by_number(policy, Stretch(probe.frames or 1, probe.rate, start_s, end_s))
        return tuple((number + 0.5) / probe.rate if probe.rate else 0.0 for number in numbers)
    if isinstance(policy, Uniform):
        count = policy.count if policy.pad else min(policy.count, _frames_within(probe, start, end))
        return _uniform(count, policy.at, start, end, _last(probe, start, end))
    wanted = max(1, math.floor((end - start) * policy.rate + 1e-6))
    least = min(policy.least, _frames_within(probe, start, end))
    if not least <= wanted <= policy.cap:
        count = min(max(wanted, least), policy.cap)
        return _uniform(count, policy.at, start, end, _last(probe, start, end))
    return tuple(start + index / policy.rate for index in range(wanted))


def counts_frames(policy: Policy) -> bool:
    """Whether a policy chooses frames by their numbers and not moments."""
    return isinstance(policy, Uniform | Every) and policy.compat is not None


_COUNTED: Mapping[str, Callable[[float, int, int, Stretch], tuple[int, ...]]] = {
    "published": pairs,
    "published_evenly": evenly,
    "published_ends_off": ends_off,
    "published_seconds": full_seconds,
}
"""The rule of each `compat` of `Every`."""


def by_number(policy: Policy, clip: Stretch) -> tuple[int, ...]:
    """The frames a policy with `compat` takes, counted from 0.

    Raises:
        ValueError: If the policy chooses moments.
    """
    if isinstance(policy, Every) and policy.compat is not None:
        return _COUNTED[policy.compat](policy.rate, policy.least, policy.cap, clip)
    if isinstance(policy, Uniform) and policy.compat is not None:
        return (segments if policy.compat == "published" else middles)(policy.count, clip)
    raise ValueError(f"{policy} chooses moments")


def frame_indices(
    policy: Policy, *, frames: int, fps: float, start_s: float = 0.0, end_s: float | None = None
) -> tuple[int, ...]:
    """Say which frames `policy` takes from a file of evenly spaced frames.

    Args:
        policy: How to choose.
        frames: How many the file has.
        fps: Frames per second.
        start_s: First moment used, in seconds from the first frame.
        end_s: Last moment used; None or anything after the end means the end.

    Returns:
        One number per frame, counted from 0 in the order shown.

    Raises:
        ConfigError: If there is no such file, or only a file tells which moments the policy takes.
        BrokenClip: If the part does not exist; see `choose`.
    """
    if frames < 1 or not (math.isfinite(fps) and fps > 0):
        raise ConfigError("frame_indices", f"{frames} frames at {fps} a second", "both must be above zero")
    known = Probe(Path("frames"), "video", frames / fps, fps, 1, 1, 0, "", frames, estimated=False)
    times = choose(policy, known, start_s, end_s)
    if times == "packets":
        raise ConfigError(
            "frame_indices", f"which frames {policy.policy!r} takes, only a file tells", "decode it"
        )
    return shown_at(times, [index / fps for index in range(frames)])


def shown_at(times: Sequence[float], starts_s: Sequence[float]) -> tuple[int, ...]:
    """The number of the frame that is shown at each of some moments.

    Args:
        times: Seconds.
        starts_s: When each frame begins to be shown, ascending.
    """
    return tuple(max(0, bisect_right(starts_s, moment + CLOSE_S) - 1) for moment in times)


def span(probe: Probe, start_s: float, end_s: float | None) -> tuple[float, float]:
    """Return the part of the file that is used, in seconds from its first frame.

    Raises:
        BrokenClip: If nothing of the file lies in it.
    """
    end = probe.duration_s if end_s is None else min(end_s, probe.duration_s)
    if start_s < 0 or (end_s is not None and end_s < start_s):
        raise BrokenClip(probe.path, f"the part from {start_s} s to {end_s} s of it does not exist")
    if start_s > 0 and start_s >= probe.duration_s:
        raise BrokenClip(probe.path, f"it is {probe.duration_s:.3f} s long and cannot start at {start_s} s")
    return start_s, max(start_s, end)


def _uniform(count: int, at: At, start: float, end: float, last: float) -> tuple[float, ...]:
    if at == "endpoints":
        steps = max(1, count - 1)
        # The end itself always shows the last frame, also where frames are unevenly spaced.
        return tuple(
            start + index * (last - start) / steps if index < steps else end for index in range(count)
        )
    step = (end - start) / count
    return tuple(start + (index + 0.5) * step for index in range(count))


def _last(probe: Probe, start: float, end: float) -> float:
    """The moment the last frame of the part appears: a file of n frames lasts n intervals, not n - 1."""
    return max(start, min(end, probe.duration_s - (1 / probe.rate if probe.rate else probe.duration_s)))


def _frames_within(probe: Probe, start: float, end: float) -> int:
    return max(1, round((end - start) * probe.rate))
