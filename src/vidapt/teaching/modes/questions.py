"""Questions with answers, made of facts by a writer that sees no frame."""

from __future__ import annotations

from vidapt.chat.asked import seconds
from vidapt.teaching.agree import borne_out
from vidapt.teaching.footage import Footage
from vidapt.teaching.modes._facts import gather
from vidapt.teaching.rows import QUESTION, Label, Labelled, Part
from vidapt.teaching.shapes import QuestionsAnswer
from vidapt.teaching.voices import Voices


async def label(voices: Voices, footage: Footage) -> Labelled:
    """Ask about a clip.

    Raises:
        Failed: If an answer cannot be read, or no fact is left.
    """
    known = await gather(voices, footage)
    recipe = voices.recipe
    values = {
        "facts": known.listed,
        "length": seconds(footage.look.length_s),
        "count": recipe.questions.count,
    }

    def check(answer: QuestionsAnswer) -> str | None:
        return known.wrong_names([one.facts for one in answer.questions], "question")

    made = await voices.write("ask", recipe.prompts.ask, values, QuestionsAnswer, check)
    labels = tuple(
        Label(
            QUESTION,
            one.question,
            one.answer,
            one.type,
            (Part(one.answer, one.facts, borne_out(one.answer, known.named(one.facts))),),
        )
        for one in made.questions[: recipe.questions.count]
    )
    flags = ("facts_left_out",) if known.left_out else ()
    return Labelled(labels, known.facts, known.voices, known.agreement, flags)
