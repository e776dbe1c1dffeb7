"""Plain captions: all voices describe the clip, and what agrees most with the others is kept."""

from __future__ import annotations

from vidapt.chat.asked import seconds
from vidapt.teaching.agree import central
from vidapt.teaching.footage import Footage
from vidapt.teaching.rows import CAPTION, Label, Labelled, Voice
from vidapt.teaching.voices import Voices


async def label(voices: Voices, footage: Footage) -> Labelled:
    """Caption a clip.

    Raises:
        Failed: If a voice says nothing.
    """
    prompts = voices.recipe.prompts
    times = ", ".join(f"{seconds(one.seconds)} s" for one in footage.pictures)
    values = {"times": times, "length": seconds(footage.look.length_s)}
    said = await voices.say("caption", prompts.caption, values, footage)
    texts = [one.text.strip() for one in said]
    best, agrees = central(texts)
    alone = len(texts) == 1
    spoken = tuple(
        Voice(voices.name(number), seed, text, None if alone else round(agrees[at], 4), said[at].cut_off)
        for at, ((number, seed), text) in enumerate(zip(voices.all, texts, strict=True))
    )
    return Labelled(
        (Label(CAPTION, prompts.label, texts[best]),),
        voices=spoken,
        agreement=None if alone else sum(agrees) / len(agrees),
        flags=("cut_off",) if said[best].cut_off else (),
    )
