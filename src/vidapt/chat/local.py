"""A model that vidapt opens itself."""

from __future__ import annotations

import asyncio
import time

from vidapt.chat.asked import Asked, Bound, Failed, Limits, Said
from vidapt.chat.settings import Local
from vidapt.errors import BrokenClip, VidaptError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.video import decode_ahead


class Opened:
    """A model of vidapt's own, which costs no money. It decodes for itself the moments it was trained on.

    Args:
        settings: As the recipe has it.

    Raises:
        CheckpointError: If there is no such model.
    """

    def __init__(self, settings: Local) -> None:
        self._engine: Engine = load(settings.model, device=settings.device)
        self.name = self._engine.name
        self.limits = Limits()

    @property
    def priced(self) -> bool:
        """It costs nothing."""
        return True

    @property
    def identity(self) -> list[object]:
        """The model's weights, and all else that its answers depend on."""
        return [self._engine.fingerprint]

    def sees(self, asked: Asked) -> list[object]:
        """The stretch of the file."""
        clip = asked.clip
        return [] if clip is None else [asked.content, clip.start_s, clip.end_s, clip.rate]

    def bound(self, asked: Asked) -> Bound:
        """Tokens of the clip, the text and the longest answer."""
        shown = self._engine.clip_tokens if asked.clip is not None else 0
        return Bound(shown + len(asked.prompt.encode()), asked.max_tokens, 0.0)

    def money(self, read: int, written: int) -> float:
        """None."""
        del read, written
        return 0.0

    async def ask(self, asked: Asked) -> Said:
        """Ask once, in a thread.

        Raises:
            Failed: If the model cannot read the clip or the question.
        """
        try:
            return await asyncio.to_thread(self._answered, asked)
        except VidaptError as error:
            raise Failed(self.name, f"{error.found}") from error

    async def close(self) -> None:
        """Nothing is held."""

    def _answered(self, asked: Asked) -> Said:
        began = time.monotonic()
        seen = [] if asked.clip is None else [self._seen(asked.clip, asked.prompt)]
        decoding = Decoding(
            max_new_tokens=asked.max_tokens,
            temperature=asked.temperature or 0.0,
            top_p=asked.top_p,
            seed=asked.seed,
        )
        ((answer,),) = self._engine.answer([(seen, [asked.prompt])], decoding)
        read = sum(len(one.tokens) for one in seen) + self._engine.text_tokens(asked.prompt, len(seen))
        text = self._engine.text(answer)
        return Said(text, not answer.ended, read, len(answer.ids), time.monotonic() - began)

    def _seen(self, clip: Clip, prompt: str) -> SeenClip:
        model = self._engine.model
        policy, size = model.blueprint.frames, model.decode_size
        ((_, frames),) = decode_ahead([clip], policy, size=size, workers=0)
        if isinstance(frames, BrokenClip):
            raise frames
        return self._engine.see([(clip, frames)], beside=self._engine.text_tokens(prompt))[0]
