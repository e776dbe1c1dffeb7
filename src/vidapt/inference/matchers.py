"""Models that say how well statements fit a clip: by how they answer, or by the cosine of two vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from vidapt.errors import BrokenClip, CheckpointError, ConfigError
from vidapt.hub import LoadReport, open_dual_encoder
from vidapt.inference.engine import CAPTION_PROMPT, Engine
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.labelling.sentences import sentences
from vidapt.loading import compares, locate_dual, usable_device
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_text import text_ids
from vidapt.models.packed import Packed
from vidapt.models.reach import reach_of, text_length
from vidapt.nouns import MEDIA, Clip, Frames
from vidapt.video import decode_ahead

QUESTION = "is this true? {statement}"
"""What a language model is asked; the statement ends in a full stop."""

YES, NO = ("yes", "Yes", "true", "True"), ("no", "No", "false", "False")
"""How an answer may begin that calls a statement true, or false."""

TOGETHER = 32
"""Sentences behind one clip at a time; what a step attends to grows with their square."""

AHEAD = 8
"""Clips decoded ahead of the model."""


class By(StrEnum):
    """How a language model scores a statement.

    `asked` takes the logarithm of the odds of "yes" against "no" when it is asked whether the statement is
    true, as VQAScore (Lin et al. 2024, arXiv 2404.01291) takes the probability of "yes"; several sentences
    are as true as the worst of them. `said` takes the mean log-probability of the statement's tokens as the
    answer to "describe the video.".

    The first is clearer. On 48 simulated clips (home, seed 991) the shipped model prefers the true statement
    in 151 of 154 pairs that differ in one word when asked, in 137 when it says them; and a short true one to
    a long description with one wrong word in 96 % against 3 % of 40 pairs, since a long text has many tokens
    that follow from those before. `said` needs no model that has learned to judge.
    """

    asked = "asked"
    said = "said"


class Matcher(Protocol):
    """A model that scores statements against clips.

    Attributes:
        name: What to call it in results.
        unit: What its scores are.
        sharpness: Factor on scores inside a softmax over statements.
        cosines: Whether scores are cosines, which dual softmax asks for.
    """

    name: str
    unit: str
    sharpness: float
    cosines: bool

    def watch(self, clips: Sequence[Clip], workers: int) -> Iterator[Any | BrokenClip]:
        """See clips in order, decoding ahead of the model."""
        ...

    def unreadable(self, statements: Sequence[str]) -> dict[str, str]:
        """What is wrong with those statements that the model cannot read."""
        ...

    def scores(self, seen: Any, statements: Sequence[str]) -> list[float]:
        """Scores of readable statements about what `watch` gave."""
        ...


class LanguageMatcher:
    """Scores by a video-language model, which sees a clip once for all statements.

    Args:
        engine: The model.
        by: How it scores.
    """

    cosines = False
    sharpness = 1.0

    def __init__(self, engine: Engine, by: By = By.asked) -> None:
        self.engine, self.by, self.name = engine, by, engine.name
        self.unit = {By.asked: "log-odds", By.said: "log-probability of a token"}[by]
        if by is By.asked:
            self._yes, self._no, self._at = self._first_words()

    def watch(self, clips: Sequence[Clip], workers: int) -> Iterator[SeenClip | BrokenClip]:
        """See clips in order, decoding ahead of the model."""
        return self.engine.watch(clips, workers=workers)

    def unreadable(self, statements: Sequence[str]) -> dict[str, str]:
        """Statements that mark a place for the clip, or are longer than the language model reads."""
        found = {}
        for text in statements:
            if MEDIA in text:
                found[text] = f"holds the mark {MEDIA}; leave it out"
            elif reason := self._too_long(text):
                found[text] = f"would be {reason}; shorten it"
        return found

    def _too_long(self, statement: str) -> str | None:
        asked = self.by is By.asked
        read = [self._question(one) for one in sentences(statement)] if asked else [self._answer(statement)]
        tokens = max(text_length(self.engine.encoded(*one)) for one in read)
        return reach_of(self.engine.model).excess(tokens, tokens, packed=True)

    @staticmethod
    def _question(sentence: str) -> tuple[str, str]:
        return QUESTION.format(statement=sentence), YES[0]

    @staticmethod
    def _answer(statement: str) -> tuple[str, str]:
        return CAPTION_PROMPT, " ".join(sentences(statement))

    def scores(self, seen: SeenClip | None, statements: Sequence[str]) -> list[float]:
        """Scores of statements about a clip; without one, of what the model takes for true unseen."""
        return self._asked(seen, statements) if self.by is By.asked else self._said(seen, statements)

    def _asked(self, seen: SeenClip | None, statements: Sequence[str]) -> list[float]:
        """Log-odds of each statement, of its sentences' worst."""
        pieces = [(index, piece) for index, text in enumerate(statements) for piece in sentences(text)]
        odds: list[float] = []
        for start in range(0, len(pieces), TOGETHER):
            odds += self._odds(seen, [piece for _, piece in pieces[start : start + TOGETHER]])
        worst = [float("inf")] * len(statements)
        for (index, _), found in zip(pieces, odds, strict=True):
            worst[index] = min(worst[index], found)
        return worst

    def _odds(self, seen: SeenClip | None, asked: Sequence[str]) -> list[float]:
        """Log-odds of an answer that begins with one of `YES` against one of `NO`."""
        packed, logs = self._read(seen, [self._question(sentence) for sentence in asked])
        found = []
        for index in range(len(asked)):
            row = logs[packed.sample == index][self._at]
            found.append(float(row[self._yes].logsumexp(0) - row[self._no].logsumexp(0)))
        return found

    def _said(self, seen: SeenClip | None, statements: Sequence[str]) -> list[float]:
        return self.likelihoods(seen, [self._answer(statement) for statement in statements])

    def likelihoods(self, seen: SeenClip | None, answered: Sequence[tuple[str, str]]) -> list[float]:
        """Mean log-probability of the tokens of answers to questions, their end marks included."""
        found: list[float] = []
        for start in range(0, len(answered), TOGETHER):
            some = answered[start : start + TOGETHER]
            packed, logs = self._read(seen, some)
            each = logs.gather(1, packed.labels.unsqueeze(1)).squeeze(1)
            found += [float(each[packed.sample == index].mean()) for index in range(len(some))]
        return found

    def _read(self, seen: SeenClip | None, answered: Sequence[tuple[str, str]]) -> tuple[Packed, Tensor]:
        """Questions with answers behind one clip, and [M, vocabulary] log-probabilities at their labels."""
        packed, logits = self.engine.answered([] if seen is None else [seen], answered)
        return packed, logits.double().log_softmax(-1)

    def _first_words(self) -> tuple[list[int], list[int], int]:
        """Ids in which answers of yes and of no differ first, and behind how many tokens they do."""
        answers = {word: self._answer_ids(word) for word in (*YES, *NO)}
        for at in range(min(map(len, answers.values()))):
            yes, no = ({answers[word][at] for word in words} for words in (YES, NO))
            # A token with which both may begin, such as a space apart, tells nothing.
            if yes - no and no - yes:
                return sorted(yes - no), sorted(no - yes), at
            if len(yes | no) > 1:
                break
        raise ConfigError(
            "--by asked", "this model's tokens do not tell an answer of yes from one of no", "use --by said"
        )

    def _answer_ids(self, word: str) -> list[int]:
        encoded = self.engine.encoded("true?", word)
        return [token for token, labelled in zip(encoded.ids, encoded.answer, strict=True) if labelled]


class DualMatcher:
    """Scores by the cosines of a dual encoder.

    Args:
        model: In evaluation mode.
        tokenizer: Of its text tower.
        name: What to call it in results.
    """

    cosines = True
    unit = "cosine"

    def __init__(self, model: DualEncoder, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.sharpness = float(model.logit_scale.detach().exp())
        self._vectors: dict[str, Tensor] = {}

    def watch(self, clips: Sequence[Clip], workers: int) -> Iterator[Tensor | BrokenClip]:
        """Vectors of clips in order, [E] each, decoding ahead of the model."""
        policy, size = self.model.blueprint.frames, self.decode_size
        decoded = decode_ahead(iter(clips), policy, size=size, workers=workers, ahead=AHEAD)
        with contextlib.closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", decoded)):
            for clip, frames in decoded:
                yield frames if isinstance(frames, BrokenClip) else self.see(clip, frames)

    @torch.inference_mode()
    def see(self, clip: Clip, frames: Frames) -> Tensor | BrokenClip:
        """Vector of one decoded clip, [E]."""
        try:
            view = self.model.cut(torch.from_numpy(frames.pixels))
        except ValueError as error:  # such as a shape that the tower cannot take
            return BrokenClip(clip.path, str(error))
        return self.model.encode_video(view.to(self.model.device))[0]

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) to which frames may be resized while they are decoded."""
        return self.model.plan((256, 256), 1).decode

    def unreadable(self, statements: Sequence[str]) -> dict[str, str]:
        """Statements that are longer than the text tower reads."""
        room = self.model.text.positions
        counts = {text: len(text_ids(self.tokenizer, text)) for text in statements}
        return {
            text: f"has {count} tokens, and this text tower reads {room}; shorten it, or use Long-CLIP"
            for text, count in counts.items()
            if count > room
        }

    @torch.inference_mode()
    def scores(self, seen: Tensor, statements: Sequence[str]) -> list[float]:
        """Cosines of statements with a clip."""
        return [float(self.vector(text).double() @ seen.double()) for text in statements]

    def vector(self, text: str) -> Tensor:
        """[E] of one text; computed once, and alone, so that its bits do not depend on its company."""
        if text not in self._vectors:
            self._vectors[text] = self.encode(text)
        return self._vectors[text]

    @torch.inference_mode()
    def encode(self, text: str) -> Tensor:
        """[E] of one readable text, of which nothing is kept."""
        ids = torch.tensor([text_ids(self.tokenizer, text)], device=self.model.device)
        return self.model.encode_text(ids)[0]


def open_matcher(
    name: str | Path,
    by: By = By.asked,
    device: str = "cpu",
    tell: Callable[[LoadReport], object] | None = None,
) -> LanguageMatcher | DualMatcher:
    """Open a video-language model or a dual encoder.

    Args:
        name: What `inference.load.load` opens, or a dual encoder: a run, a folder, published weights.
        by: How a language model scores.
        device: Where it runs; `auto` spreads a language model over the devices there are.
        tell: Called with what became of every tensor, where a published checkpoint is opened.

    Raises:
        CheckpointError: If there is no such model, its weights do not fit exactly, or a dual encoder has no
            tokenizer beside its weights.
        ConfigError: If there is no such device, or the model cannot be asked.
    """
    if not compares(name):
        return LanguageMatcher(load(name, device=device, tell=tell), by)
    model, tokenizer, report = open_dual_encoder(locate_dual(name))
    if tell is not None:
        tell(report)
    if tokenizer is None:
        raise CheckpointError(
            name, "has no tokenizer beside its weights", "put CLIP's tokenizer.json into the same folder"
        )
    model = model.to(usable_device("cpu" if device == "auto" else device))
    return DualMatcher(model, tokenizer, Path(name).resolve().stem)
