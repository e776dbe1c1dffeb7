"""Labels to captions: per clip, its texts as token ids, each with falsified copies where labels have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt.errors import ConfigError, FormatError
from vidapt.labelling.falsify import falsify
from vidapt.labelling.lexicon import read_lexicon
from vidapt.labelling.sentences import sentences
from vidapt.metrics.match import normalise
from vidapt.models.dual_text import shortened, text_ids
from vidapt.nouns import MEDIA, Clip, Sample
from vidapt.recipe import Pairing

Ids = tuple[int, ...]


@dataclass(frozen=True)
class ClipCaptions:
    """All texts about one clip.

    Attributes:
        media: The clip.
        texts: What is true of it.
        types: Question type of each, or None.
        ids: The same as token ids.
        false: For each text, its falsified copies as token ids.
        fact: What groups the clip with others, where the recipe names a fact.
    """

    media: tuple[Clip, ...]
    texts: tuple[str, ...]
    types: tuple[str | None, ...]
    ids: tuple[Ids, ...]
    false: tuple[tuple[Ids, ...], ...]
    fact: str = ""

    @property
    def samples(self) -> tuple[str, ...]:
        """What is learned of the clip; so does `training.data` call it."""
        return self.texts


@dataclass(frozen=True)
class Captioned:
    """Clips with captions, and how many texts were used or left out and why.

    Attributes:
        clips: In order of first appearance.
        counts: By what became of a text; what never happened is not there.
    """

    clips: list[ClipCaptions]
    counts: dict[str, int]

    def line(self) -> str:
        """The counts for people."""
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items())


@dataclass
class _Text:
    """A true text and what is false about the same thing.

    What is false beside a text is false beside the others that it names, too: a whole names its sentences,
    and each of them the whole.
    """

    text: str
    type: str | None
    false: list[str] = field(default_factory=list)
    beside: list[_Text] = field(default_factory=list)


@dataclass
class _Clip:
    media: tuple[Clip, ...]
    fact: str
    texts: list[_Text] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    last: _Text | None = None


class _Reader:
    """Turns texts into ids and counts what becomes of them."""

    def __init__(self, pairing: Pairing, tokenizer: Any, positions: int) -> None:
        self._pairing, self._tokenizer = pairing, tokenizer
        self._lexicon = read_lexicon(pairing.lexicon) if pairing.falsify else None
        self._limit = positions if pairing.tokens is None else min(positions, pairing.tokens)
        self.counts: Counter[str] = Counter()

    def ids(self, text: str, what: str) -> Ids | None:
        """Ids of a text, or None where it is too long and such texts are skipped."""
        ids = text_ids(self._tokenizer, text)
        if len(ids) > self._limit:
            if self._pairing.longer == "skip":
                self.counts[f"{what}_too_long"] += 1
                return None
            self.counts[f"{what}_truncated"] += 1
            ids = shortened(ids, self._limit)
        self.counts[what] += 1
        return ids

    def clip(self, said: _Clip) -> ClipCaptions | None:
        """A clip's texts as ids; None if none is left."""
        kept: list[tuple[_Text, Ids, tuple[Ids, ...]]] = []
        for one in said.texts:
            ids = self.ids(one.text, "captions")
            if ids is None:
                continue
            wrong = dict.fromkeys(text for near in (one, *one.beside) for text in self._false(near))
            false = (self.ids(text, "falsified") for text in wrong)
            # Cut to the limit, a false text can be what is left of the true one.
            kept.append((one, ids, tuple(copy for copy in false if copy is not None and copy != ids)))
        if not kept:
            self.counts["clips_without_a_caption"] += 1
            return None
        texts, ids_of, false_of = zip(*kept, strict=True)
        types = tuple(one.type for one in texts)
        return ClipCaptions(said.media, tuple(t.text for t in texts), types, ids_of, false_of, said.fact)

    def _false(self, one: _Text) -> list[str]:
        """Falsified copies of a text: those that labels give, or else some by rule."""
        if one.false or self._lexicon is None:
            return one.false
        return [change.text for change in falsify(one.text, self._lexicon, count=self._pairing.falsify)]


def caption_clips(
    samples: Sequence[Sample], pairing: Pairing, tokenizer: Any, positions: int, where: str = "data"
) -> Captioned:
    """Captions by clip.

    Falsified copies are a sample's `rejected` answer, the texts of its fact `false`, and, among statements,
    those that the answer calls false: they belong to the true one before them. Texts that have none get some
    by rule, where `pairing` asks for it.

    Args:
        samples: In their files' order.
        pairing: Which texts are captions, and how long they may be.
        tokenizer: The model's.
        positions: Tokens of the longest text that the text tower reads.
        where: What the samples are, for errors.

    Raises:
        ConfigError: If no caption is left, or texts are to be padded to more than the tower reads.
        FormatError: If a question has to have the form of a statement and does not.
    """
    if pairing.tokens is not None and pairing.tokens > positions:
        raise ConfigError(
            "pairs.tokens", f"{pairing.tokens}, but the text tower reads {positions}", "give a lower number"
        )
    reader = _Reader(pairing, tokenizer, positions)
    said = _by_clip(samples, pairing, reader.counts)
    clips = [clip for clip in map(reader.clip, said) if clip is not None]
    told = Captioned(clips, {name: count for name, count in sorted(reader.counts.items()) if count})
    if not clips:
        raise ConfigError(where, f"no caption is left: {told.line()}", "check `pairs` and `types`")
    return told


def _by_clip(samples: Iterable[Sample], pairing: Pairing, counts: Counter[str]) -> list[_Clip]:
    """True and false texts of every clip, each once."""
    clips: dict[Any, _Clip] = {}
    for sample in samples:
        if len(sample.media) != 1:
            counts["samples_not_about_one_clip"] += 1
            continue
        (medium,) = sample.media
        fact = str(sample.facts.get(pairing.fact, "")) if pairing.fact is not None else ""
        key = (medium.path, medium.start_s, medium.end_s)
        clip = clips.setdefault(key, _Clip(sample.media, fact))
        clip.fact = clip.fact or fact
        for one, true in _texts(sample, pairing):
            _add(clip, one, true=true, counts=counts)
    counts["falsified_without_a_true_text"] += sum(len(clip.early) for clip in clips.values())
    return list(clips.values())


def _texts(sample: Sample, pairing: Pairing) -> Iterator[tuple[_Text, bool]]:
    """Texts of a sample with falsified copies of each, and whether they are true."""
    kind = sample.facts.get("type")
    named = None if kind is None else str(kind)
    stated = _statement(sample, pairing)
    if stated is not None:
        answers = {normalise(answer) for answer in (sample.answer, *sample.facts.get("accept", ()))}
        yield _Text(stated, named), bool(answers & set(map(normalise, pairing.true)))
        return
    answered = [turn.text.replace(MEDIA, "").strip() for turn in sample.turns if turn.role == "assistant"]
    wrong = [sample.rejected] if sample.rejected is not None else []
    wrong += [str(text) for text in sample.facts.get("false", ())]
    for index, text in enumerate(answered):
        false = wrong if index == len(answered) - 1 else []
        whole = _Text(text, named, false)
        yield whole, True
        pieces = [_Text(piece, named) for piece in sentences(text)] if pairing.sentences else []
        if len(pieces) > 1:
            whole.beside = pieces
            for piece in pieces:
                piece.beside = [whole]
                yield piece, True


def _statement(sample: Sample, pairing: Pairing) -> str | None:
    """What a sample's question states; None where its answer is the caption.

    Raises:
        FormatError: If all questions have to be statements, and this one has not their form.
    """
    if pairing.captions == "answers":
        return None
    found = re.fullmatch(pairing.statement, sample.question.replace(MEDIA, "").strip(), re.DOTALL)
    if found is not None:
        return found[1].strip()
    if pairing.captions == "both":
        return None
    raise FormatError(
        sample.source or sample.id,
        f"{sample.question!r} does not have the form of `pairs.statement`",
        "mend the expression, or choose the question types with `types`",
    )


def _add(clip: _Clip, one: _Text, *, true: bool, counts: Counter[str]) -> None:
    if not one.text:
        counts["captions_empty"] += 1
        return
    if not true:
        (clip.last.false if clip.last is not None else clip.early).append(one.text)
        return
    said = next((other for other in clip.texts if other.text == one.text), None)
    if said is None:
        clip.texts.append(one)
    else:
        counts["captions_repeated"] += 1
        said.false, said.beside = [*said.false, *one.false], [*said.beside, *one.beside]
    clip.last = said or one
    clip.last.false = [*clip.last.false, *clip.early]
    clip.early.clear()
