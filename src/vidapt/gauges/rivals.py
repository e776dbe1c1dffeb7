"""Answers beside the true ones that differ in a fact: what a model that sees has to tell apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from vidapt.digests import seed_of
from vidapt.labelling.falsify import falsify
from vidapt.labelling.lexicon import Lexicon, read_lexicon
from vidapt.metrics.match import normalise
from vidapt.metrics.question_types import QuestionTypes, question_types
from vidapt.nouns import Sample


def rivals_of(samples: Sequence[Sample], lexicon: Lexicon | None = None) -> dict[str, str]:
    """A false answer to each question, by its id; questions without one are left out.

    A short answer's rival is what another question of its type is answered with, drawn once and for all; a
    text's is a copy in which one fact was changed (`labelling.falsify`). Which it is depends on the questions
    alone, so that numbers of checkpoints compare.

    Args:
        samples: Questions with their answers.
        lexicon: For texts; None is the one that comes with the package.
    """
    types, words = question_types(samples), lexicon or read_lexicon()
    others = _answers(samples, types)
    found: dict[str, str] = {}
    for sample in samples:
        false = _false(sample, words) if types.is_free(sample) else _other(sample, others[types.of(sample)])
        if false is not None:
            found[sample.id] = false
    return found


def _answers(samples: Sequence[Sample], types: QuestionTypes) -> Mapping[str, list[str]]:
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if not types.is_free(sample):
            answers[types.of(sample)].setdefault(normalise(sample.answer), sample.answer)
    return {kind: list(by_text.values()) for kind, by_text in answers.items()}


def _other(sample: Sample, answers: Sequence[str]) -> str | None:
    accepted = {normalise(text) for text in (*sample.facts.get("accept", ()), sample.answer)}
    wrong = [text for text in answers if normalise(text) not in accepted]
    if not wrong:
        return None
    return wrong[int(np.random.default_rng(seed_of("rival", sample.id)).integers(len(wrong)))]


def _false(sample: Sample, words: Lexicon) -> str | None:
    made = falsify(sample.answer, words, seed=seed_of("rival", sample.id) % 2**31)
    return made[0].text if made else None
