"""Labels that others of the same clip gainsay: samples of one teacher, several teachers, several files.

Three signs. The voices that a label was chosen from agree too little (`agreement` of its provenance). Voices
say a sentence of it in the same words but with another colour, number, side or denial. Or rows ask the same
of the same clip and answer shortly, and the answers differ: then the answer of more than half is kept, if
there is one. It is a measure of words: voices that make the same mistake agree. Source: self-consistency
(Wang et al. 2022, arXiv 2203.11171) and SelfCheckGPT (Manakul et al. 2023, arXiv 2303.08896).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from vidapt.cleaning.checks._same import asked_alike
from vidapt.cleaning.checks._words import shown
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.labelling.lexicon import Lexicon, read_lexicon
from vidapt.labelling.sentences import sentences
from vidapt.metrics.match import normalise
from vidapt.metrics.text import words
from vidapt.parts import PartConfig

_DENIALS = frozenset({"no", "not", "never", "without", "doesn't", "isn't", "don't", "didn't", "wasn't"})
_Framed = tuple[tuple[str, ...], tuple[str, ...]]
"""A sentence's words with a mark in the place of each telling one, and the telling ones."""


class Part:
    """Sets aside what is gainsaid."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            below: Agreement of the voices under which a label is set aside; 0 asks for none.
            voices: Share of the voices that must gainsay a sentence.
            short: Words of the longest answer that is compared as a whole between rows.
            lexicon: Words that exclude each other, as a file of your own; None is the shipped one.
        """

        below: float = Field(0.2, ge=0, le=1)
        voices: float = Field(0.5, gt=0, le=1)
        short: int = Field(5, ge=1, le=100)
        lexicon: Path | None = None

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg
        self._frames = _Frames(read_lexicon(cfg.lexicon))

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by their voices, and by other rows about the same clip."""
        outvoted = self._outvoted(labels)
        for place, label in enumerate(labels):
            reason = outvoted.get(place) or self._gainsaid(label)
            yield KEEP if reason is None else drop(reason, again=True)

    def _gainsaid(self, label: Label) -> str | None:
        """What the voices say against a label."""
        origin = label.origin
        if origin is None:
            return None
        if origin.agreement is not None and origin.agreement < self.cfg.below:
            return f"its voices agree by {origin.agreement:.2f}, less than {self.cfg.below:g}"
        own = self._frames.of(label.text)
        others = [self._frames.of(voice) for voice in origin.voices]
        others = [voice for voice in others if voice != own]
        for sentence, (frame, told) in own.items():
            against = [found for voice in others if (found := _against(frame, told, voice, own)) is not None]
            if against and len(against) >= self.cfg.voices * len(origin.voices):
                return f"says {shown(sentence)} where another voice says {shown(against[0])}"
        return None

    def _outvoted(self, labels: Sequence[Label]) -> dict[int, str]:
        """Places of short answers that other rows contradict, and in what."""
        found: dict[int, str] = {}
        for places in asked_alike(labels):
            found |= self._minority([(place, labels[place]) for place in places])
        return found

    def _minority(self, group: Sequence[tuple[int, Label]]) -> dict[int, str]:
        if any(len(words(label.text)) > self.cfg.short for _, label in group):
            return {}
        names = _names([label for _, label in group])
        votes = Counter(names)
        if len(votes) < 2:
            return {}
        most, count = votes.most_common(1)[0]
        kept = most if 2 * count > len(group) else None
        told = ", ".join(f"{shown(answer)} {n}" for answer, n in sorted(votes.items(), key=_by_votes))
        return {
            place: f"rows about this clip answer differently: {told}"
            for (place, _), name in zip(group, names, strict=True)
            if name != kept
        }


class _Frames:
    """Tells what a sentence says of what.

    Args:
        lexicon: Words that exclude each other.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._kinds = {
            spelling: f"<{fact}>" for spelling, (fact, _) in lexicon.others.items() if " " not in spelling
        }

    def of(self, text: str) -> dict[str, _Framed]:
        """Of each sentence its frame and what stands in it."""
        return {sentence: self._framed(sentence) for sentence in sentences(text)}

    def _framed(self, sentence: str) -> _Framed:
        said = words(sentence)
        plain = [word for word in said if word not in _DENIALS]
        kinds = [self._kinds.get(word) or ("<number>" if word.isdigit() else None) for word in plain]
        frame = tuple(kind or word for kind, word in zip(kinds, plain, strict=True))
        denied = "denied" if len(plain) < len(said) else ""
        return frame, (*(word for kind, word in zip(kinds, plain, strict=True) if kind), denied)


def _against(
    frame: tuple[str, ...], told: tuple[str, ...], voice: dict[str, _Framed], own: dict[str, _Framed]
) -> str | None:
    """What another voice says in the same words of something else; None if it says the same, too."""
    alike = {sentence: found for sentence, found in voice.items() if found[0] == frame}
    if (frame, told) in alike.values():
        return None
    said = set(own.values())
    return next((sentence for sentence, found in alike.items() if found not in said), None)


def _by_votes(one: tuple[str, int]) -> tuple[int, str]:
    return -one[1], one[0]


def _names(labels: Sequence[Label]) -> list[str]:
    """Answers, those that a row accepts (fact `accept`) by one name."""
    lists = (label.sample.facts.get("accept") for label in labels)
    told = (found for found in lists if isinstance(found, list) and found)
    accepted = sorted({tuple(sorted({normalise(str(one)) for one in found})) for found in told})
    said = (normalise(label.text) for label in labels)
    return [next((names[0] for names in accepted if text in names), text) for text in said]


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
