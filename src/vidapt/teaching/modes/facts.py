"""Facts first: voices state them, and a writer that sees no frame makes a caption of them alone."""

from __future__ import annotations

from vidapt.chat.asked import seconds
from vidapt.teaching.agree import borne_out
from vidapt.teaching.footage import Footage
from vidapt.teaching.modes._facts import gather
from vidapt.teaching.rows import CAPTION, Label, Labelled, Part
from vidapt.teaching.shapes import WrittenAnswer
from vidapt.teaching.voices import Voices


async def label(voices: Voices, footage: Footage) -> Labelled:
    """Caption a clip by facts.

    Raises:
        Failed: If an answer cannot be read, or no fact is left.
    """
    known = await gather(voices, footage)
    prompts = voices.recipe.prompts
    values = {"facts": known.listed, "length": seconds(footage.look.length_s)}

    def check(answer: WrittenAnswer) -> str | None:
        return known.wrong_names([one.facts for one in answer.clauses], "clause")

    written = await voices.write("write", prompts.write, values, WrittenAnswer, check)
    parts = tuple(
        Part(one.text, one.facts, borne_out(one.text, known.named(one.facts))) for one in written.clauses
    )
    caption = Label(CAPTION, prompts.label, " ".join(part.text for part in parts), parts=parts)
    flags = ("facts_left_out",) if known.left_out else ()
    return Labelled((caption,), known.facts, known.voices, known.agreement, flags)
