"""Engines that are asked at several settings: adapters at a scale, so many frames or tokens, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.adapters import at_scale
from vidapt.models.decoding import Answer, Decoding
from vidapt.nouns import Clip
from vidapt.recipe import Prune
from vidapt.recipe.reads import Reads

KEPT_GB = 1.0
"""Visual tokens kept for the next scale; clips beyond that are seen again."""


class VariedEngine:
    """An engine at a setting; see `measure.asking.Asked`.

    Args:
        engine: Set already.
        what: What is varied.
        value: To what.
    """

    def __init__(self, engine: Engine, what: str, value: float) -> None:
        self._engine, self._set = engine, [what, value]
        self.name, self.card = f"{engine.name}, {what} {value:g}", engine.card
        self.clip_tokens, self.text_tokens, self.text = engine.clip_tokens, engine.text_tokens, engine.text

    @property
    def fingerprint(self) -> str:
        """Hash of everything an answer depends on, the setting among it."""
        return digest([self._engine.fingerprint, *self._set], 24)

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See clips."""
        return self._engine.watch_batches(batches, workers=workers, beside=beside, changes=changes)

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen."""
        return self._engine.answer(asked, decoding)


class ScaledEngine(VariedEngine):
    """An engine whose adapters are at one scale whenever it looks or answers; see `measure.asking.Asked`.

    Args:
        engine: With adapters.
        scale: Of them.
        kept: What it saw at other scales, where that is the same.
    """

    def __init__(self, engine: Engine, scale: float, kept: KeptTokens | None) -> None:
        super().__init__(engine, "scale", scale)
        self._scale, self._kept = scale, kept

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See clips, or take what was seen of them at another scale."""
        if self._kept is not None and not changes:
            yield from self._kept.watch(self._engine, batches, workers, beside)
            return
        with at_scale(self._engine.model, self._scale):
            yield from self._engine.watch_batches(batches, workers=workers, beside=beside, changes=changes)

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen."""
        with at_scale(self._engine.model, self._scale):
            return self._engine.answer(asked, decoding)


class KeptTokens:
    """What was seen of clips, kept in memory batch by batch as far as there is room."""

    def __init__(self, gigabytes: float = KEPT_GB) -> None:
        self._room = gigabytes * 1e9
        self._seen: dict[tuple[Clip, ...], list[SeenClip | BrokenClip]] = {}

    def watch(
        self, engine: Engine, batches: Iterable[Sequence[Clip]], workers: int, beside: int
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See batches in order; those that were kept are not decoded again."""
        listed = [tuple(batch) for batch in batches]
        new = [batch for batch in listed if batch not in self._seen]
        with closing(engine.watch_batches(new, workers=workers, beside=beside)) as watched:
            for batch in listed:
                yield self._seen[batch] if batch in self._seen else self._keep(batch, next(watched))

    def _keep(
        self, batch: tuple[Clip, ...], seen: list[SeenClip | BrokenClip]
    ) -> list[SeenClip | BrokenClip]:
        size = sum(one.tokens.nbytes for one in seen if isinstance(one, SeenClip))
        if size <= self._room:
            self._room -= size
            self._seen[batch] = seen
        return seen


def with_frames(engine: Engine, count: int) -> VariedEngine:
    """The same model, which takes so many frames of a clip (or at most, where a rate decides).

    Raises:
        ConfigError: If its policy has no number of frames.
    """
    policy = engine.model.blueprint.frames
    field = next((name for name in ("count", "cap") if name in type(policy).model_fields), None)
    if field is None:
        raise ConfigError("frames", f"{engine.name} takes frames by {policy.policy!r}, which has no number")
    try:
        changed = type(policy).model_validate({**policy.model_dump(), field: count})
    except ValueError as error:
        raise ConfigError("frames", f"{engine.name} cannot take {count}: {error}") from None
    engine.model.read_otherwise(Reads(frames=changed))
    return VariedEngine(engine, "frames", count)


def with_keep(engine: Engine, share: float) -> VariedEngine:
    """The same model, which reads such a share of a clip's visual tokens, or all of them.

    Raises:
        ConfigError: If its resolution or connector has none that could be left out.
    """
    engine.model.read_otherwise(Reads(prune=Prune(keep=share)))
    return VariedEngine(engine, "keep", share)


def with_side(engine: Engine, side: int) -> VariedEngine:
    """The same model, which is shown pictures whose longest side has at most so many pixels."""
    engine.side = side
    return VariedEngine(engine, "side", side)
