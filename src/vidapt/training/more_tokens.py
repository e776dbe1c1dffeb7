"""Go on learning a tokenizer from the labels, so that a domain's words are tokens and not strings of letters.

A small model has to spell a word that its tokenizer cuts into pieces before it can know what is asked.
Byte-pair encoding (Sennrich et al., 2016) can go on where it stopped: the pairs of pieces that stand in the
labels most often are merged, behind all merges there are, so that a text is first cut as it was and then put
together.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from vidapt.errors import ConfigError

LEAST_SEEN = 3
"""A pair that stands fewer times in the labels is nothing to learn from."""

Pair = tuple[int, int]


def grow_tokenizer(tokenizer: Any, texts: Iterable[str], count: int) -> tuple[Any, list[Pair]]:
    """A copy of a tokenizer with up to `count` more tokens.

    Args:
        tokenizer: A fast one whose model is byte-pair encoding.
        texts: What to learn from.
        count: Fewer are added where no pair stands in the texts `LEAST_SEEN` times.

    Returns:
        It, and in the order of ids the two pieces of each new token, by their ids; a piece may be new, too.

    Raises:
        ConfigError: If the tokenizer is of another kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = {} if backend is None else json.loads(backend.to_str())
    if backend is None or state["model"]["type"] != "BPE":
        raise ConfigError(
            "new_tokens",
            "the model's tokenizer is no byte-pair encoding, and cannot go on learning",
            "leave `new_tokens` out",
        )
    words = _words(backend, texts)
    merged = _merges(list(map(list, words)), list(words.values()), len(tokenizer), count)
    spelled = {number: piece for piece, number in tokenizer.get_vocab().items()}
    for token, (left, right) in enumerate(merged, start=len(tokenizer)):
        spelled[token] = spelled[left] + spelled[right]
        state["model"]["vocab"][spelled[token]] = token
        state["model"]["merges"].append([spelled[left], spelled[right]])
    marks = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    grown = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **marks)
    return grown, merged


def _words(backend: Tokenizer, texts: Iterable[str]) -> Counter[tuple[int, ...]]:
    """How often each word stands in the texts, by its pieces."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    told: Counter[tuple[int, ...]] = Counter()
    for word, times in found.items():
        told[tuple(token.id for token in backend.model.tokenize(word))] += times
    return told


def _merges(words: list[list[int]], times: Sequence[int], first: int, count: int) -> list[Pair]:
    """Merge the pair that is seen most again and again; of equal ones, that of the smaller ids."""
    seen: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for pair in pairwise(word):
            seen[pair] += times[number]
            where[pair].add(number)
    queue = [(-often, pair) for pair, often in seen.items()]
    heapq.heapify(queue)
    merged: list[Pair] = []
    while len(merged) < count and (best := _most_seen(queue, seen)) is not None:
        token = first + len(merged)
        merged.append(best)
        for number in sorted(where.pop(best)):
            before, words[number] = words[number], _joined(words[number], best, token)
            for pair in pairwise(before):
                seen[pair] -= times[number]
            for pair in pairwise(words[number]):
                seen[pair] += times[number]
                if token in pair:
                    where[pair].add(number)
                    heapq.heappush(queue, (-seen[pair], pair))
    return merged


def _most_seen(queue: list[tuple[int, Pair]], seen: Counter[Pair]) -> Pair | None:
    """The pair that is seen most. A count in the queue may be old: then it is put in anew."""
    while queue:
        often, pair = heapq.heappop(queue)
        if -often == seen[pair] >= LEAST_SEEN:
            return pair
        if LEAST_SEEN <= seen[pair] < -often:
            heapq.heappush(queue, (-seen[pair], pair))
    return None


def _joined(word: list[int], pair: Pair, token: int) -> list[int]:
    """A word in which each occurrence of a pair, from the left, is a token."""
    found: list[int] = []
    place = 0
    while place < len(word):
        hit = tuple(word[place : place + 2]) == pair
        found.append(token if hit else word[place])
        place += 1 + hit
    return found
