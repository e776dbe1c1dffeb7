"""In what labels and models differ: what is worth looking at first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vidapt.looking_over.entries import Said
from vidapt.metrics.match import normalise
from vidapt.metrics.text import word_f1, words
from vidapt.nouns import MEDIA, Sample

LABELS = "labels of one clip differ"
MODELS = "models differ"
BLIND = "right without the clip"

_SHORT = 4
"""Words of an answer that says something else as soon as one of them is another."""
_SHARED = 0.8
"""F1 of the words of longer texts that say about the same."""


def plain(question: str) -> str:
    """A question without media marks and surplus spaces."""
    return " ".join(question.replace(MEDIA, " ").split())


def answers_to(sample: Sample, said: Iterable[Said]) -> list[Said]:
    """What models said to a label's own question, of all that they said of its clip.

    Whoever was asked for this label is heard for it alone, others for what they were asked in the same words.
    """
    said, question = list(said), plain(sample.question)
    known = {one.model for one in said if one.sample == sample.id}
    return [
        one for one in said if (one.sample == sample.id if one.model in known else one.question == question)
    ]


def alike(one: str, other: str) -> bool:
    """Whether two answers say about the same: short ones by each word, longer ones by most of them."""
    if normalise(one) == normalise(other):
        return True
    shorter = min(len(words(one)), len(words(other)))
    return shorter > _SHORT and word_f1(one, other) >= _SHARED


def differences(sample: Sample, asked_alike: Sequence[Sample], answers: Sequence[Said]) -> tuple[str, ...]:
    """In what labels, models and answers differ about a row, in words.

    Args:
        sample: The row.
        asked_alike: Rows of the same clip and question, itself among them.
        answers: What models said to it, arms of controls among them.
    """
    found = []
    truths = [sample.answer, *sample.references]
    if any(not any(alike(other.answer, one) for one in truths) for other in asked_alike):
        found.append(LABELS)
    own = [one for one in answers if not one.arm]
    if _disagree(own):
        found.append(MODELS)
    for one in own if sample.answer else ():
        right = one.right if one.right is not None else any(alike(one.text, truth) for truth in truths)
        if not right:
            found.append(f"{one.model} differs from the label")
    found += [BLIND] if any(one.arm == "blind" and one.right for one in answers) else []
    return tuple(dict.fromkeys(found))


def _disagree(answers: Sequence[Said]) -> bool:
    """Whether any model says something else than the first one."""
    return any(not alike(one.text, answers[0].text) for one in answers[1:])
