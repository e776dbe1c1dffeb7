"""What is asked about every clip of a store, and the rows that answers make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vidapt.captioning.chunks import Cutting, check_cutting
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.engines.protocol import CaptionEngine, Words
from vidapt.captioning.found import readable
from vidapt.captioning.store.rows import DONE, FAILED, SKIPPED, empty_row
from vidapt.captioning.store.shape import Schema, SchemaViolation
from vidapt.captioning.store.shard import Piece
from vidapt.digests import digest
from vidapt.errors import ConfigError, VidaptError
from vidapt.inference.several import Several
from vidapt.metrics.spans import shifted
from vidapt.models.decoding import Decoding
from vidapt.version import VERSION


@dataclass(frozen=True)
class Said:
    """What became of one clip's questions.

    Attributes:
        answers: One for each question.
        asked: What each is an answer to.
        cues: The caption of another clip that stood before each as an example; none without.
    """

    answers: tuple[Words, ...]
    asked: tuple[str, ...]
    cues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A model, questions, and how it answers.

    Attributes:
        engine: The model.
        prompts: The questions, all behind one copy of what is seen of a clip.
        decoding: How tokens are chosen.
        cutting: How films are cut; None leaves them whole.
        schema: What answers are to be, if they are to be JSON.
        several: How several answers to one question come to differ; None is one answer to each.
        text_tokens: Length of the longest question.
        settings: Hash of all of these.
        folder: Where the names of clips begin.
    """

    engine: CaptionEngine[Any]
    prompts: tuple[str, ...]
    decoding: Decoding
    cutting: Cutting | None
    schema: Schema | None
    several: Several | None
    text_tokens: int
    settings: str
    folder: str

    @classmethod
    def of(
        cls,
        engine: CaptionEngine[Any],
        prompts: Sequence[str],
        decoding: Decoding,
        cutting: Cutting | None,
        schema: Schema | None,
        folder: str,
        several: Several | None = None,
    ) -> Asked:
        """Settle what is the same for all clips.

        Raises:
            ConfigError: If no question is asked, one is asked twice, films cannot be cut for this model, or
                several answers are wanted to several questions.
            BudgetError: If a question is longer than the model reads.
        """
        if not prompts or len(set(prompts)) < len(prompts):
            found = "no question is asked" if not prompts else "a question is asked twice"
            raise ConfigError("--prompt", found, "ask each question once")
        if several is not None and len(prompts) > 1:
            raise ConfigError("--n", "several questions are asked already", "ask one, or leave it out")
        check_cutting(engine.frames, cutting)
        own = decoding.settings if several is None else several.settings
        how = [own, cutting and cutting.settings, schema and schema.value, *engine.settings]
        settings = digest([engine.fingerprint, list(prompts), *how])
        tokens = several.text_tokens if several else max(map(engine.text_tokens, prompts))
        return cls(engine, tuple(prompts), decoding, cutting, schema, several, tokens, settings, folder)

    @property
    def answers_each(self) -> int:
        """Answers about each clip."""
        return self.several.n if self.several else len(self.prompts)

    @property
    def batch(self) -> int:
        """Clips answered at a time."""
        longest = self.several.decoding if self.several else self.decoding
        return self.engine.together(self.answers_each, self.text_tokens + longest.max_new_tokens)

    @property
    def told(self) -> dict[str, Any]:
        """The same for people."""
        return {
            "model": self.engine.name,
            "model_hash": self.engine.fingerprint,
            "prompts": list(self.prompts),
            "decoding": self.several.settings if self.several else self.decoding.settings,
            "cut": self.cutting and self.cutting.settings,
            "schema": self.schema and self.schema.value,
        }

    def key(self, piece: Piece) -> str:
        """Hash of a clip's content and stretch, and of everything else that its captions depend on."""
        clip = piece.clip
        return digest([piece.content, clip.start_s, clip.end_s, clip.rate, self.settings])

    def answers(self, sound: Sequence[Any], places: int) -> list[Said | VidaptError]:
        """What is said about each clip; what cannot be asked about one costs no other.

        An answer that is not of the schema is asked for once more, with what is wrong with it.

        Args:
            sound: Clips as the engine has seen them.
            places: Clips answered at a time.
        """
        if self.several is not None:
            return self._several(sound, places)
        said = self._answers([(one, self.prompts) for one in sound], places)
        if self.schema is None:
            return said
        return [
            one if isinstance(one, VidaptError) else self._mended(clip, one)
            for clip, one in zip(sound, said, strict=True)
        ]

    def _answers(self, asked: Sequence[tuple[Any, Sequence[str]]], places: int) -> list[Said | VidaptError]:
        found = self.engine.answer(asked, self.decoding, places)
        return [
            one if isinstance(one, VidaptError) else Said(tuple(one), tuple(prompts))
            for one, (_, prompts) in zip(found, asked, strict=True)
        ]

    def _several(self, sound: Sequence[Any], places: int) -> list[Said | VidaptError]:
        assert self.several is not None
        assert isinstance(self.engine, Builtin)
        found = self.engine.several(sound, self.several, places)
        return [one if isinstance(one, VidaptError) else _said(*one) for one in found]

    def _mended(self, clip: Any, said: Said) -> Said | VidaptError:
        assert self.schema is not None
        wrong = {
            at: reason
            for at, answer in enumerate(said.answers)
            if (reason := self.schema.mistake(answer.text))
        }
        if not wrong:
            return said
        again = [
            self.schema.once_more(said.asked[at], said.answers[at].text, reason)
            for at, reason in wrong.items()
        ]
        (mended,) = self._answers([(clip, again)], 1)
        if isinstance(mended, VidaptError):
            return mended
        for answer in mended.answers:
            if reason := self.schema.mistake(answer.text):
                return SchemaViolation("--schema", f"twice the answer is not of the schema: {reason}")
        new = dict(zip(wrong, mended.answers, strict=True))
        return Said(tuple(new.get(at, one) for at, one in enumerate(said.answers)), said.asked)

    def row(self, piece: Piece, seen: Any, said: Said, seconds: float) -> dict[str, Any]:
        """The row of a clip that was captioned, with times in its captions as the file counts them.

        Args:
            piece: The clip.
            seen: The clip as the engine has seen it.
            said: What was said.
            seconds: Its share of the time its batch took.
        """
        look, answers = self.engine.look(seen), said.answers
        texts = [one.text for one in answers]
        if piece.cut:
            texts = [shifted(text, piece.clip.start_s) for text in texts]
        finishes = ["end" if one.ended else "length" for one in answers]
        tokens = [one.tokens for one in answers]
        logprobs = [None if one.logprob is None else round(one.logprob, 4) for one in answers]
        money = [one.money for one in answers if one.money is not None]
        return self._about(piece) | {
            "status": DONE,
            "caption": texts[0],
            "captions": texts,
            "prompts": list(said.asked),
            "cues": list(said.cues) if any(said.cues) else None,
            "frames": [round(moment, 6) for moment in look.times_s],
            "visual_tokens": look.visual_tokens,
            "text_tokens": self._read(look.visual_tokens, answers),
            "new_tokens": sum(one for one in tokens if one is not None),
            "tokens": tokens,
            "finish": finishes[0],
            "finishes": finishes,
            "mean_logprob": logprobs[0],
            "logprobs": logprobs,
            "seconds": round(seconds, 6),
            "cost": sum(money) if money else None,
            "notes": [*map(readable, look.notes), *piece.notes],
        }

    def _read(self, visual: int | None, answers: Sequence[Words]) -> int | None:
        """Tokens of text; where that is a server's affair, all that it says it read."""
        if visual is not None:
            return self.text_tokens
        return max((one.read for one in answers if one.read is not None), default=None)

    def failed(self, piece: Piece, error: str, reason: str, seconds: float = 0.0) -> dict[str, Any]:
        """The row of a clip without captions; `error` is the class of what is wrong."""
        told = {"status": FAILED, "error": error, "reason": readable(reason), "seconds": round(seconds, 6)}
        return self._about(piece) | told

    def skipped(self, piece: Piece) -> dict[str, Any]:
        """The row of a clip that shows the same as another one."""
        return self._about(piece) | {"status": SKIPPED, "copy_of": piece.input.like}

    def taken_over(self, piece: Piece, row: dict[str, Any]) -> dict[str, Any]:
        """An earlier job's row of the same work, for the clip as it is called and lies now."""
        own = self._about(piece)
        return row | {name: own[name] for name in _PLACES}

    def _about(self, piece: Piece) -> dict[str, Any]:
        one, clip = piece.input, piece.clip
        stretch = clip.end_s is not None
        return empty_row() | {
            "key": piece.key,
            "clip": piece.name,
            "file": readable(one.path),
            "offset": one.offset,
            "size": one.size,
            "content": piece.content,
            "stamp": piece.stamp,
            "model": self.engine.name,
            "model_hash": self.engine.fingerprint,
            "recipe_hash": self.engine.card.get("recipe_hash"),
            "prompt": self.prompts[0],
            "prompts": list(self.prompts),
            "settings": self.settings,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": VERSION,
            "folder": self.folder,
            "start_s": clip.start_s if stretch or clip.start_s else None,
            "end_s": clip.end_s,
        }


def _said(answers: Sequence[Words], asked: Sequence[str], cues: Sequence[str]) -> Said:
    return Said(tuple(answers), tuple(asked), tuple(cues))


_PLACES = ("clip", "file", "offset", "size", "stamp", "folder")
"""Columns that say where a clip lies, which its captions do not depend on."""
