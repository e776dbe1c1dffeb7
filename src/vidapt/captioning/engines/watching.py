"""What engines have in common that look at clips by a model of this process, whoever writes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from vidapt.captioning.engines.protocol import Look
from vidapt.errors import BrokenClip
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.nouns import Clip
from vidapt.video import Meter
from vidapt.video.choose import Policy


class Watching:
    """Looks at clips; see `protocol.CaptionEngine`.

    Args:
        engine: The model.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name, self.card = engine.name, engine.card

    @property
    def settings(self) -> list[Any]:
        """How small pictures are made."""
        return [self.engine.side]

    @property
    def frames(self) -> Policy:
        """As the model was trained."""
        return self.engine.model.blueprint.frames

    def text_tokens(self, question: str) -> int:
        """Tokens of text that are read beside a clip."""
        return self.engine.text_tokens(question)

    def watch(
        self,
        batches: Iterable[Sequence[Clip]],
        *,
        workers: int,
        ahead: int,
        beside: int,
        meter: Meter,
    ) -> Generator[list[SeenClip | BrokenClip], None, None]:
        """Visual tokens of clips."""
        return self.engine.watch_batches(batches, workers=workers, ahead=ahead, beside=beside, meter=meter)

    def look(self, seen: SeenClip) -> Look:
        """What was seen of a clip."""
        return Look(seen.times_s, len(seen.tokens), seen.notes)
