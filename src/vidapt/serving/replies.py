"""A question on its way to the words of its answer, whoever asks: clients of the interface, or the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from vidapt.models.decoding import Decoding
from vidapt.models.reach import most_frames
from vidapt.serving.media import Sight, Viewer
from vidapt.serving.shapes import AnyJson, SchemaJson
from vidapt.serving.table import Job, Said, Table
from vidapt.serving.talk import Stream, Talk, answered, answered_json


@dataclass(frozen=True)
class Question:
    """What is asked of a model.

    Attributes:
        talk: The conversation that ends with it.
        who: Asks; sees what they uploaded, and nobody else's.
        decoding: How tokens are chosen.
        until: Moment of the monotonic clock at which nobody waits any more.
        structured: What JSON the answer is to be; None for words.
    """

    talk: Talk
    who: str
    decoding: Decoding
    until: float
    structured: AnyJson | SchemaJson | None = None


def sight_of(table: Table) -> Sight:
    """How a model looks at clips."""
    model = table.engine.model
    policy = model.blueprint.frames
    return Sight(policy, model.decode_size, most_frames(policy))


async def reply(
    viewer: Viewer, table: Table, asked: Question, *, stream: bool
) -> AsyncGenerator[str | Said, None]:
    """The answer in one piece or, word by word, in many; the whole comes last.

    Args:
        viewer: Decodes the clips.
        table: The model.
        asked: The question.
        stream: Whether words are told as they are written; JSON is checked first.

    Raises:
        RefusedError: If there is none, or none in time.
    """
    async with viewer.looking(asked.talk.media, asked.who, sight_of(table)) as clips:
        job = Job(asked.talk.turns, clips, asked.decoding, asked.until)
        if stream and asked.structured is None:
            async with aclosing(Stream(table, job).pieces()) as found:
                async for piece in found:
                    yield piece
            return
        wanted = asked.structured
        said = await (answered_json(table, job, wanted) if wanted else answered(table, job))
        yield said.text
        yield said
