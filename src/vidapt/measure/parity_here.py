"""A folder in the place of a server: an export, opened here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidapt.inference.load import load
from vidapt.measure.served import Reply
from vidapt.models.generate import Decoding
from vidapt.nouns import Clip
from vidapt.video import decode


class OpenedHere:
    """An export that answers as a server would; see `measure.served.Server`.

    Args:
        folder: What `vidapt export` wrote, or any model.
        dtype: Number format of the weights or its name; None is what `load` takes.
        device: Where it runs.

    Raises:
        CheckpointError: If it cannot be opened.
    """

    def __init__(self, folder: Path, dtype: str | None = None, device: str = "cpu") -> None:
        self._engine = load(folder, dtype, device)
        self.model = self._engine.name

    def ask(self, media: Sequence[Clip], question: str, max_tokens: int) -> Reply:
        """Ask one question, greedily.

        Args:
            media: The clips it is about.
            question: With a mark where each stands, or without any.
            max_tokens: Longest answer.

        Raises:
            BrokenClip: If a clip cannot be read.
        """
        engine, model = self._engine, self._engine.model
        frames = [(clip, decode(clip, model.blueprint.frames, size=model.decode_size)) for clip in media]
        seen = engine.see(frames, together=len(frames), beside=engine.text_tokens(question, len(frames)))
        ((answer,),) = engine.answer([(seen, [question])], Decoding(max_new_tokens=max_tokens))
        ids, visual = engine.prompt(seen, question)
        beyond = len(engine.tokenizer)  # no text has such an id, see `prompt_ids.theirs`
        told = tuple(beyond if is_visual else one for one, is_visual in zip(ids, visual, strict=True))
        return Reply(engine.text(answer), told)
