"""Overlap of captions with reference texts, and how varied captions are.

Overlap says whether the wording is alike, not whether it is true; false claims are counted in `claims`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from vidapt.metrics.intervals import RESAMPLES, Interval, mean_interval
from vidapt.metrics.match import normalise

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        n: Number of captions.
        rouge_l: Mean ROUGE-L F1 against the best reference of each.
        word_f1: Mean word F1 against the best reference of each.
        distinct_1: Share of different words among all words.
        distinct_2: Share of different word pairs among all pairs.
        words: Mean length in words.
    """

    n: int
    rouge_l: Interval
    word_f1: Interval
    distinct_1: float
    distinct_2: float
    words: float


def words(text: str) -> list[str]:
    """Split a text into lower-case words; "8-ball", "1.5" and "don't" are one each."""
    return _WORD.findall(normalise(text))


def rouge_l(prediction: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words, in [0, 1] (ROUGE-L, Lin 2004, with beta 1).

    Zero if either text has no words.
    """
    said, truth = words(prediction), words(reference)
    return _f1(common_in_order(said, truth), len(said), len(truth))


def common_in_order(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit for each word of `a` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(a)) - 1
    free = whole
    for word in b:
        met = free & places.get(word, 0)
        free = ((free + met) | (free - met)) & whole
    return len(a) - free.bit_count()


def word_f1(prediction: str, reference: str) -> float:
    """Return the F1 of the words two texts share, counted with repeats (as in SQuAD, Rajpurkar et al. 2016).

    Zero if either text has no words.
    """
    said, truth = words(prediction), words(reference)
    return _f1(sum((Counter(said) & Counter(truth)).values()), len(said), len(truth))


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Return different n-grams of words over all n-grams of all texts, in [0, 1] (Li et al. 2016).

    Zero if no text has n words. It falls with the number of texts, so compare sets of one size.

    Raises:
        ValueError: If `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"n-grams have at least one word, got n={n}")
    grams: list[tuple[str, ...]] = []
    for text in texts:
        found = words(text)
        grams += [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def caption_scores(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    clips: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CaptionScores:
    """Score captions, with cluster-bootstrap intervals over clips.

    Args:
        predictions: [n] captions; an empty one scores zero.
        references: [n] at least one reference text each; the best one counts.
        clips: [n] the clip of each caption.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are no captions, lengths differ, or one has no reference.
    """
    pairs = list(zip(predictions, references, strict=True))
    if any(isinstance(truths, str) or not truths for _, truths in pairs):
        raise ValueError("every caption needs a list of at least one reference text")
    rouge = [max(rouge_l(said, truth) for truth in truths) for said, truths in pairs]
    shared = [max(word_f1(said, truth) for truth in truths) for said, truths in pairs]
    return CaptionScores(
        n=len(pairs),
        rouge_l=mean_interval(rouge, clips, resamples=resamples, seed=seed),
        word_f1=mean_interval(shared, clips, resamples=resamples, seed=seed),
        distinct_1=distinct_n(predictions, 1),
        distinct_2=distinct_n(predictions, 2),
        words=sum(len(words(said)) for said in predictions) / len(pairs),
    )


def _f1(shared: int, said: int, truth: int) -> float:
    """Harmonic mean of shared/said and shared/truth."""
    return 2 * shared / (said + truth) if said and truth else 0.0
