"""How far a language model reads: its positions, and the window within which its layers attend.

Beyond its positions a model either has no vector for a token (GPT-2, which stops with an index that is out of
range) or was never trained (rotary positions, which go on without a word). Both are refused here, by numbers
that are known before a pixel is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from vidapt.errors import BrokenClip, BudgetError
from vidapt.models._language_check import window_of
from vidapt.models.packed import Packed, Reading, numbered, prefix_layout, reading_length, spell
from vidapt.models.text import Encoded
from vidapt.nouns import Clip, Moments, Sample
from vidapt.video import Every, Keyframes, Policy, Times, choose, probe

REMEDY = "use fewer frames, a shorter text, or a language model that reads further"

_STRETCHED = frozenset({"dynamic", "linear"})
"""Kinds of rotary scaling whose configurations give the positions without it."""

_SHAPES = ((1080, 1920), (1920, 1080), (1080, 1080), (480, 1920), (1920, 480), (240, 320))
_SHAPES_KEPT = 100_000
_SPARE = 1.5
"""Clips of all shapes become fewer tokens than the most of these, so many times over."""

_SHAPES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Reach:
    """What a language model can read at once.

    Attributes:
        positions: Number of positions, any scaling of them included; infinite where none is stated.
        window: Tokens within which some layer attends; None where all layers see everything.
    """

    positions: float
    window: int | None

    def excess(self, tokens: int, positions: float, *, packed: bool) -> str | None:
        """What is too much of a sequence, as a sentence; None if it can be read.

        Args:
            tokens: Its length.
            positions: How many of the model's positions it takes, which scaling can make fewer.
            packed: Whether it is read behind a shared prefix, where a window has to hold all of it.
        """
        if positions > self.positions:
            used = "" if positions == tokens else f", {math.ceil(positions)} positions"
            return f"{tokens} tokens{used}, and this language model reads {self.positions:.0f}"
        if packed and self.window is not None and tokens > self.window:
            return f"{tokens} tokens, and this language model attends within a window of {self.window}"
        return None

    @property
    def least(self) -> float:
        """Sequences of so many tokens can be read in any case."""
        return min(self.positions, math.inf if self.window is None else self.window)


def reach_of(model: Any) -> Reach:
    """The reach of a VideoLM's language model."""
    config = model.language.config.get_text_config()
    return Reach(_positions(config), window_of(config))


def sequence(positions: Any, prefix: Sequence[Any], clips: Sequence[Reading], own: int) -> tuple[int, float]:
    """Tokens of a sequence, and the positions it takes.

    Args:
        positions: The model's positions part.
        prefix: Pieces of text, and indices of clips.
        clips: What is read of each clip.
        own: Tokens behind the prefix.
    """
    spans = prefix_layout(prefix, clips)[2]
    _, after = numbered(positions, spans)
    _, end = positions.ids([own], start=after)
    return own + sum(one if isinstance(one, int) else one[0].cells + one[1] for one in spans), float(end)


def text_length(encoded: Encoded) -> int:
    """Tokens of text of a sample, wherever they stand."""
    return len(encoded.ids) + sum(len(piece) for piece in encoded.prefix if not isinstance(piece, int))


def room(positions: Any, after: float, limit: float, wanted: int) -> int:
    """How many tokens can be written from a position on, the last of which is not read any more."""
    step = float(positions.ids([1], start=after)[1]) - after
    return min(wanted, 1 + max(0, math.floor((limit - after) / step))) if math.isfinite(limit) else wanted


def most_frames(policy: Policy) -> int:
    """How many frames a policy takes of a clip at most."""
    if isinstance(policy, Times):
        return len(policy.times)
    return policy.cap if isinstance(policy, Every | Keyframes) else policy.count


def late(frames: int) -> Moments:
    """Moments of frames late in a long film, whose times take as many letters as any."""
    last = 359_999.0  # a hundred hours, less a second
    return Moments(tuple(last - frames + at + 0.123 for at in range(frames)), last)


def refuse_packed(model: Any, packed: Packed) -> None:
    """The last look at a batch, before a model reads it.

    Raises:
        BudgetError: If it goes beyond the language model's positions.
    """
    limit = reach_of(model).positions
    highest = float(packed.positions.max()) if packed.positions.numel() else 0.0
    if highest >= limit:
        raise BudgetError("batch", f"reaches position {highest:.0f} of {limit:.0f}", REMEDY)


class Conversation(Protocol):
    """Samples about the same clips."""

    @property
    def media(self) -> tuple[Clip, ...]:
        """The clips."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What is asked and answered."""

    @property
    def encoded(self) -> Sequence[Encoded]:
        """The same as ids."""


def refuse_longer(
    model: Any,
    tokenizer: Any,
    conversations: Iterable[Conversation],
    side_of: Callable[[Clip], int | None] = lambda clip: None,
) -> None:
    """See that a language model can read all samples. Of clips at most the headers are looked at.

    Args:
        model: A VideoLM.
        tokenizer: Its tokenizer.
        conversations: What it is to learn.
        side_of: Side of the square that a clip's frames are resized to; None leaves them as they are.

    Raises:
        BudgetError: Naming the first sample that is too long, its tokens and the limit.
    """
    lengths = Lengths(model, tokenizer, side_of)
    found = [(_shown(one, at), reason) for one in conversations for at, reason in lengths.too_long(one)]
    if found:
        more = f"; so it is with {len(found) - 1} more" if len(found) > 1 else ""
        raise BudgetError(found[0][0], f"would be {found[0][1]}{more}", REMEDY)


def _shown(one: Conversation, at: int) -> str:
    sample = one.samples[at]
    return " with ".join([sample.source or sample.id, *(str(clip.path) for clip in one.media)])


class Lengths:
    """How much is read of conversations, as far as it has to be known.

    Args:
        model: A VideoLM.
        tokenizer: Its tokenizer.
        side_of: As `refuse_longer` has it.
    """

    def __init__(
        self, model: Any, tokenizer: Any, side_of: Callable[[Clip], int | None] = lambda clip: None
    ) -> None:
        self._model, self._tokenizer, self._side_of = model, tokenizer, side_of
        self._most: dict[int, float] = {}
        self._shapes: dict[Clip, tuple[tuple[int, int], Moments] | None] = {}

    @cached_property
    def _reach(self) -> Reach:
        return reach_of(self._model)

    def too_long(self, one: Conversation) -> list[tuple[int, str]]:
        """Indices of samples that cannot be read, with what is too much of each."""
        if math.isinf(self._reach.least):
            return []
        text = max((text_length(encoded) for encoded in one.encoded), default=0)
        if text + sum(self.most(len(one.media)) for _ in one.media) <= self._reach.least:
            return []
        found: list[tuple[int, str]] = []
        readings = self._readings(one)
        for at, encoded in enumerate(one.encoded):
            length = sequence(self._model.positions, encoded.prefix, readings, len(encoded.ids))
            if reason := self._reach.excess(*length, packed=True):
                found.append((at, reason))
        return found

    def tokens(self, one: Conversation) -> int:
        """Tokens of a row: the clips, and all samples behind them."""
        clips = sum(map(reading_length, self._readings(one)))
        own = sum(len(encoded.ids) for encoded in one.encoded)
        prefix = one.encoded[0].prefix if len(one.encoded) else ()
        return clips + own + sum(len(piece) for piece in prefix if not isinstance(piece, int))

    def _readings(self, one: Conversation) -> list[Reading]:
        return [self.reading(clip, index, len(one.media)) for index, clip in enumerate(one.media)]

    def most(self, together: int) -> float:
        """Tokens that no clip has more of."""
        if together not in self._most:
            whole = self._model.decode_size is not None
            frames = {1, most_frames(self._model.blueprint.frames)}
            counts = [
                reading_length(self._read(shape, late(count), 0, together))
                for shape in (_SHAPES[:1] if whole else _SHAPES)
                for count in frames
            ]
            self._most[together] = max(counts) * (1 if whole else _SPARE)
        return self._most[together]

    def reading(self, clip: Clip, index: int, together: int) -> Reading:
        """What is read of a clip; nothing of one that cannot be used, which is told elsewhere."""
        if clip not in self._shapes:
            if len(self._shapes) >= _SHAPES_KEPT:
                self._shapes.clear()
            self._shapes[clip] = shape_of(clip, self._model.blueprint.frames)
        shape, side = self._shapes[clip], self._side_of(clip)
        if shape is not None and side is not None:
            shape = ((side, side), shape[1])
        try:
            return () if shape is None else self._read(*shape, index, together)
        except ValueError:  # a shape that the tower cannot take
            return ()

    def _read(self, size: tuple[int, int], moments: Moments, index: int, together: int) -> Reading:
        layout = self._model.plan(size, len(moments.seconds), together)[1]
        return spell(layout, index, self._tokenizer, moments)


def shape_of(clip: Clip, policy: Policy) -> tuple[tuple[int, int], Moments] | None:
    """(height, width) of a clip and the moments of it that are read, by its headers."""
    try:
        described = probe(clip.path, rate=clip.rate)
        chosen = choose(policy, described, clip.start_s, clip.end_s)
    except BrokenClip:
        return None
    most = most_frames(policy)
    size = described.height, described.width
    if isinstance(chosen, str) or not chosen:  # only decoding tells which frames there are
        return size, late(most if isinstance(chosen, str) else 1)
    length = min(clip.end_s or described.duration_s, described.duration_s) - clip.start_s
    return size, Moments(tuple(time - clip.start_s for time in chosen)[:most], length)


def _positions(config: Any) -> float:
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return math.inf
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    # Some configurations scale each kind of layer in its own way.
    several = [one for one in given.values() if isinstance(one, Mapping)] or [given]
    return max(most * _stretch(one, most) for one in several)


def _stretch(scaling: Mapping[str, Any], most: int) -> float:
    factor = scaling.get("factor")
    if not isinstance(factor, int | float) or factor <= 1:
        return 1.0
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in _STRETCHED:
        return float(factor)
    if kind == "yarn":  # its configurations give either number
        original = scaling.get("original_max_position_embeddings") or most
        return max(1.0, original * factor / most)
    return 1.0
