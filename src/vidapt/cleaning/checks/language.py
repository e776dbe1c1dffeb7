"""Texts in another language than the set's, by the share of letters of each script and by small words.

A rule of its own and no trained model: most labels are shorter than what such models need ("red ball" is
taken for anything), and this one says of those that it does not know. Scripts are told from one letter on;
languages that share a script by the commonest small words, from a few of them on. Source: stop words as in
Grefenstette 1995, "Comparing two language identification schemes"; lists in `stop_words.yaml`.
"""

from __future__ import annotations

import importlib.resources
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vidapt.cleaning.checks._words import MOST_LETTERS
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.metrics.text import words
from vidapt.parts import PartConfig
from vidapt.yaml_lines import parse_yaml

_FEWEST_HITS, _LEAST_SHARE, _AHEAD = 2, 0.15, 1.5
"""Small words that a text must have, their share of all words, and how far the first language is ahead."""

_HOME = 0.6
"""Share of the texts of a known language that makes it the set's."""

_SCRIPTS = {"CJK": "han", "HIRAGANA": "kana", "KATAKANA": "kana", "HANGUL": "hangul"}


class Part:
    """Sets texts in other languages aside."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            languages: Those that are kept: codes such as `en`, or scripts (`latin`, `cyrillic`, ...); none
                takes that of most texts.
            foreign: Share of a text's letters of a script that no kept language has, from which on it is set
                aside.
        """

        languages: tuple[Annotated[str, Field(min_length=2, max_length=20)], ...] = ()
        foreign: float = Field(0.2, gt=0, le=1)

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by their language; where it cannot be told, they are kept."""
        found = [language_of(label.text) for label in labels]
        kept = frozenset(self.cfg.languages) or _home(found)
        scripts = {_script_of(one) for one in kept}
        for label, language in zip(labels, found, strict=True):
            yield self._judged(label.text, language, kept, scripts) if kept else KEEP

    def _judged(self, text: str, language: str | None, kept: frozenset[str], scripts: set[str]) -> Verdict:
        told = f"and not {', '.join(sorted(kept))}"
        shares = _shares(text)
        foreign = {name: share for name, share in shares.items() if name not in _allowed(scripts)}
        if sum(foreign.values()) >= self.cfg.foreign:
            name = max(sorted(foreign), key=lambda one: foreign[one])
            return drop(f"{sum(foreign.values()):.0%} of its letters are {name}, {told}", again=True)
        # A script tells its language only where no other one has it, and names in Japanese need no kana.
        if language is None or language == _script_of(language) or (language == "zh" and "ja" in kept):
            return KEEP
        fits = language in kept or _script_of(language) in kept
        return KEEP if fits else drop(f"is {language}, {told}", again=True)


def language_of(text: str) -> str | None:
    """The language of a text by a code, its script where that is all that is known, or None."""
    shares = _shares(text)
    if not shares:
        return None
    if shares.get("kana", 0) > 0.05:
        return "ja"
    script = max(sorted(shares), key=lambda name: shares[name])
    alone = {"han": "zh", "hangul": "ko", "kana": "ja"}
    return alone.get(script) or _by_small_words(text, script) or (script if script != "latin" else None)


def _by_small_words(text: str, script: str) -> str | None:
    said = [piece for word in words(text[:MOST_LETTERS]) for piece in word.replace("’", "'").split("'")]
    hits = {
        code: sum(word in small for word in said) for code, small in _small_words().get(script, {}).items()
    }
    first, second = [*sorted(hits, key=lambda code: (-hits[code], code)), "", ""][:2]
    if not first or hits[first] < max(_FEWEST_HITS, _LEAST_SHARE * len(said)):
        return None
    return first if hits[first] >= _AHEAD * hits.get(second, 0) else None


def _home(found: Sequence[str | None]) -> frozenset[str]:
    """The language of most texts; none where no language has most."""
    counts = Counter(language for language in found if language is not None)
    if not counts:
        return frozenset()
    language, count = min(counts.items(), key=lambda one: (-one[1], one[0]))
    return frozenset({language}) if count >= _HOME * counts.total() else frozenset()


def _shares(text: str) -> dict[str, float]:
    """Share of a text's letters of each script."""
    letters = Counter(text[:MOST_LETTERS])
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        if (script := _script(letter)) is not None:
            scripts[script] += count
    total = scripts.total()
    return {name: count / total for name, count in scripts.items()}


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str | None:
    """Script of a letter; None for what is none, such as digits and signs."""
    plain = unicodedata.normalize("NFKC", letter)[:1]
    if not unicodedata.category(plain).startswith("L"):
        return None
    first = unicodedata.name(plain, "").partition(" ")[0]
    return _SCRIPTS.get(first, first.lower()) or None


def _script_of(language: str) -> str:
    """Script of a language; a script is its own."""
    for script, codes in _small_words().items():
        if language in codes:
            return script
    return {"zh": "han", "ja": "kana", "ko": "hangul"}.get(language, language)


def _allowed(scripts: set[str]) -> set[str]:
    """Scripts in which languages of some scripts are written: Japanese has Chinese characters, too."""
    return scripts | ({"han"} if scripts & {"kana", "hangul"} else set())


@cache
def _small_words() -> dict[str, dict[str, frozenset[str]]]:
    file = Path(str(importlib.resources.files("vidapt.cleaning.checks") / "stop_words.yaml"))
    return {
        script: {code: frozenset(small) for code, small in codes.items()}
        for script, codes in parse_yaml(file)[0].items()
    }


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
