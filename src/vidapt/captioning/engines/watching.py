"""What engines have in common that look at clips by a model of this process, whoever writes."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import torch

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
        stop: Future[None],
    ) -> Generator[list[SeenClip | BrokenClip], None, None]:
        """Visual tokens of clips."""
        seen = self.engine.watch_batches(
            batches, workers=workers, ahead=ahead, beside=beside, meter=meter, stop=stop
        )
        return _on_its_own_stream(seen, self.engine.model.device)

    def look(self, seen: SeenClip) -> Look:
        """What was seen of a clip."""
        return Look(seen.times_s, len(seen.tokens), seen.notes)


def _on_its_own_stream(
    seen: Generator[list[SeenClip | BrokenClip], None, None], device: torch.device
) -> Generator[list[SeenClip | BrokenClip], None, None]:
    """Let a device look while it writes: what is queued behind writing would wait for its end.

    What was seen is there when it is yielded. Whoever takes it holds it until it has been read, so that its
    memory is not given to what is seen next while it is still being read.
    """
    if device.type != "cuda":
        yield from seen
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with contextlib.closing(seen):
        while True:
            with torch.cuda.stream(stream):
                found = next(seen, None)
            if found is None:
                return
            stream.synchronize()
            yield found
            del found
