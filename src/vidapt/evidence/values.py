"""Which words of labels tell what could have been otherwise.

Three rules, of which only the first knows English:

1. Terms of the lexicon (`labelling/lexicon.yaml`, or a file of the user's own), and whatever holds a digit.
2. A word that follows the same two words in other labels of its type, where these go on differently: labels
   of one template differ in their values. It is the count of n-grams that a model without the clip could
   learn, so that it holds in any domain and language.
3. Where too few labels begin alike to tell (texts that a person or a large model wrote), every word that
   is rare among the labels' words; what makes up more than a hundredth of them is their frame, such as
   articles and what all clips are of.

A word too many costs little, since evidence of what the clip does not decide is near zero; one too few loses
what was to be measured.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from vidapt.claims import Span
from vidapt.labelling.lexicon import Lexicon

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_BEGIN = "\0"
_SEEN_ENOUGH = 8
"""Labels that go on behind the same words, from which on their share tells something."""

_FIXED = 0.95
"""Share of labels that go on with the same word, from which on it is no value."""

_FRAME = 0.01
"""Share of all words from which on a word belongs to the frame."""

_TELLING = 2000
"""Words from which on such shares tell something; of fewer, words of four letters and more are values."""

_COUNTED = 50_000
"""Labels that are counted at most, evenly spread."""


class Values:
    """Finds values in texts.

    Args:
        texts: Types and answers of all labels.
        lexicon: Terms that are values anywhere.
    """

    def __init__(self, texts: Sequence[tuple[str, str]], lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._next: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        self._words: Counter[str] = Counter()
        step = max(1, -(-len(texts) // _COUNTED))
        for kind, text in texts[::step]:
            for context, word in self._in_context(kind, text):
                self._next[context][word] += 1
                self._words[word] += 1
        self._total = self._words.total()

    def of(self, kind: str, text: str) -> list[tuple[Span, str]]:
        """Values of a text in their order, each with its kind: a type of fact, `number` or `varies`.

        Args:
            kind: Type of the label.
            text: The answer.
        """
        known = list(self._known(text))
        found = list(known)
        contexts = self._in_context(kind, text)
        for match, (context, word) in zip(_WORD.finditer(text), contexts, strict=True):
            span = match.span()
            if any(start < span[1] and span[0] < end for (start, end), _ in known):
                continue
            if any(map(str.isdigit, word)):
                found.append((span, "number"))
            elif self._varies(context, word):
                found.append((span, "varies"))
        return sorted(found)

    def _known(self, text: str) -> Iterator[tuple[Span, str]]:
        """Terms of the lexicon that are not left alone."""
        fixed = [match.span() for match in self._lexicon.left_alone.finditer(text)]
        for match in self._lexicon.pattern.finditer(text):
            if not any(match.start() < end and start < match.end() for start, end in fixed):
                yield match.span(), self._lexicon.others[" ".join(match.group().lower().split())][0]

    def _varies(self, context: tuple[str, str, str], word: str) -> bool:
        others = self._next.get(context)
        count = 0 if others is None else others.total()
        if others is not None and count >= _SEEN_ENOUGH:
            return others[word] < _FIXED * count
        if self._total < _TELLING:
            return len(word) > 3
        return self._words[word] < _FRAME * self._total

    def _in_context(self, kind: str, text: str) -> Iterable[tuple[tuple[str, str, str], str]]:
        """Every word behind the two before it, small; terms of one type of fact are one word there."""
        before, last = _BEGIN, _BEGIN
        for match in _WORD.finditer(text):
            word = match.group().lower()
            yield (kind, before, last), word
            fact = self._lexicon.others.get(word)
            before, last = last, word if fact is None else f"{_BEGIN}{fact[0]}"
