"""Clips seen once: pooled tokens kept for probes, and the model's own answers kept beside them."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import torch

from vidapt.appended import Appended
from vidapt.digests import digest
from vidapt.errors import BrokenClip, BudgetError, ConfigError, FormatError
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Frames
from vidapt.probing.pooled import Row, rows_of
from vidapt.progress import Reporter, silent
from vidapt.training.cache import LostError, TensorStore
from vidapt.training.keys import ClipKeys
from vidapt.version import VERSION
from vidapt.video import decode_ahead

AT_ONCE = 32
"""Clips after which what was seen is written down: a kill loses no more."""

_QUESTIONS = 64
_DECODING = Decoding(max_new_tokens=48)


@dataclass(frozen=True)
class Answer:
    """What the model answered."""

    text: str
    name: ClassVar[str] = "answer"


@dataclass(frozen=True)
class Unread:
    """Why the model cannot read a question."""

    text: str
    name: ClassVar[str] = "unread"


Told = Answer | Unread


class Answers(Appended):
    """JSON lines with what the model answered, or why it cannot read a question; neither is asked for again.

    Args:
        path: Made if missing.
        model: Fingerprint of the model.
    """

    def __init__(self, path: Path, model: str) -> None:
        super().__init__(path)
        self._model = model
        self._known: dict[str, Told] = {}
        for _, line in self.lines():
            for kind in (Answer, Unread):
                if isinstance(line, dict) and isinstance(line.get(kind.name), str):
                    self._known[str(line.get("key"))] = kind(line[kind.name])

    def __enter__(self) -> Answers:
        return self

    def of(self, clip: str, question: str) -> Told | None:
        """What came of a question about a clip, by its key; None if it was not asked."""
        return self._known.get(self._key(clip, question))

    def add(self, clip: str, question: str, told: Told) -> None:
        """Keep what came of a question."""
        key = self._key(clip, question)
        self.write({"key": key, "question": question, told.name: told.text})
        self._known[key] = told

    def _key(self, clip: str, question: str) -> str:
        return digest([self._model, clip, question, VERSION], 32)


@dataclass
class Sight:
    """What is kept of clips.

    Attributes:
        store: Pooled tokens.
        answers: What the model answered; None where it is not asked.
        key: Of a clip.
    """

    store: TensorStore
    answers: Answers | None
    key: ClipKeys

    def places(self, clip: Clip) -> dict[str, Row]:
        """Tokens of a clip by where they are from, half as precise where that holds them."""
        tensors = self.store.get(self.key(clip))
        names = sorted(name.removesuffix("/x") for name in tensors if name.endswith("/x"))
        return {name: Row(tensors[f"{name}/x"], tensors[f"{name}/at"]) for name in names}

    def answer(self, clip: Clip, question: str) -> str | None:
        """What the model answered; None where it was not asked, or cannot read the question."""
        told = None if self.answers is None else self.answers.of(self.key(clip), question)
        return told.text if isinstance(told, Answer) else None

    def unread(self, clip: Clip, question: str) -> str | None:
        """Why the model cannot read a question about a clip; None where it can, or was not asked."""
        told = None if self.answers is None else self.answers.of(self.key(clip), question)
        return told.text if isinstance(told, Unread) else None


def opened(engine: Engine, folder: Path, tokens: int, answers: Answers | None) -> Sight:
    """What was kept of clips before, by the same model."""
    made = digest([engine.fingerprint, tokens, VERSION, engine.model.device.type])
    return Sight(TensorStore(folder / f"probe-{made}"), answers, ClipKeys())


def see_all(
    engine: Engine,
    sight: Sight,
    questions: Mapping[Clip, Sequence[str]],
    tokens: int,
    *,
    workers: int | None = None,
    report: Reporter = silent,
) -> dict[Clip, str]:
    """See every clip of which something is missing, once, and ask what was not answered yet.

    Args:
        engine: The model.
        sight: Where what is seen is kept.
        questions: What is asked of each clip; nothing is asked where `sight` keeps no answers.
        tokens: Most tokens kept of each place.
        workers: Decoding processes; None is one per core.
        report: Shows progress.

    Returns:
        Clips that cannot be used, with what is wrong with them.

    Raises:
        ConfigError: If no clip can be used.
    """
    sight.key.look(questions)
    broken: dict[Clip, str] = {}
    left = [clip for clip, asked in questions.items() if not _is_done(sight, clip, asked)]
    done = len(questions) - len(left)
    report("see clips", done, len(questions))
    with closing(_decoded(engine, left, workers)) as stream:
        for number, (clip, frames) in enumerate(stream, start=1):
            try:
                if isinstance(frames, BrokenClip):
                    raise frames
                _see(engine, sight, clip, frames, questions[clip], tokens)
            except BrokenClip as error:
                broken[clip] = error.reason
            if not number % AT_ONCE:
                sight.store.flush()
            report("see clips", done + number, len(questions), f"{len(broken)} broken" if broken else "")
    sight.store.flush()
    if len(broken) == len(questions):
        told = next(iter(broken.items()), None)
        raise ConfigError(
            "clips",
            "none can be used" + (f"; the first, {told[0].path}: {told[1]}" if told else ""),
            "see that they are where the labels say, or name their folder in --clips",
        )
    return broken


def _is_done(sight: Sight, clip: Clip, asked: Sequence[str]) -> bool:
    key = sight.key(clip)
    if key not in sight.store:
        return False
    try:
        sight.store.get(key)
    except LostError:
        return False
    return sight.answers is None or all(sight.answers.of(key, question) is not None for question in asked)


_Stream = Generator[tuple[Clip, Frames | BrokenClip], None, None]


def _decoded(engine: Engine, clips: Sequence[Clip], workers: int | None) -> _Stream:
    count = (os.cpu_count() or 1) if workers is None else workers
    policy, size = engine.model.blueprint.frames, engine.model.decode_size
    return cast("_Stream", decode_ahead(clips, policy, size=size, workers=count))


def _see(
    engine: Engine,
    sight: Sight,
    clip: Clip,
    frames: Frames,
    asked: Sequence[str],
    tokens: int,
) -> None:
    seen, read, whole = engine.look_through(clip, frames)
    key = sight.key(clip)
    if key not in sight.store:
        kept: dict[str, torch.Tensor] = {}
        for name, row in rows_of(seen, read, len(engine.model.towers), tokens).items():
            if not torch.isfinite(row.x).all():
                raise BrokenClip(clip.path, f"{name} makes numbers of it that are not finite")
            half = row.x.half()
            kept[f"{name}/x"] = half if torch.isfinite(half).all() else row.x
            kept[f"{name}/at"] = row.at
        sight.store.put(key, kept)
    if sight.answers is not None:
        open_ = [question for question in asked if sight.answers.of(key, question) is None]
        for start in range(0, len(open_), _QUESTIONS):
            some = open_[start : start + _QUESTIONS]
            for question, told in zip(some, _ask(engine, whole, some), strict=True):
                sight.answers.add(key, question, told)


def _ask(engine: Engine, whole: SeenClip, questions: Sequence[str]) -> list[Told]:
    """What comes of each question; one that cannot be read costs no other its answer."""
    try:
        (answers,) = engine.answer([((whole,), questions)], _DECODING)
    except (BudgetError, ConfigError, FormatError) as error:
        if len(questions) == 1:
            return [Unread(f"{error.where} {error.found}")]
        return [told for one in questions for told in _ask(engine, whole, [one])]
    return [Answer(engine.text(one)) for one in answers]
