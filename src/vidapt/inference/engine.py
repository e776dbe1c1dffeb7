"""The built-in engine: a loaded model that captions clips and answers questions about them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidapt.digests import seed_of
from vidapt.errors import BrokenClip, BudgetError, CheckpointError, ConfigError
from vidapt.hub import is_mark
from vidapt.inference.diversity import Diversity
from vidapt.inference.several import Several
from vidapt.inference.watch import SeenClip, Watcher
from vidapt.models.decoding import Answer, Decoding, Told
from vidapt.models.fingerprint import WeightsAnywhere, weights_fingerprint
from vidapt.models.generate import generate, room_for
from vidapt.models.packed import Group, Packed, pack, prefix_layout
from vidapt.models.reach import (
    reach_of,
    refuse_packed,
    text_length,
)
from vidapt.models.reading import Asked
from vidapt.models.running import Writing
from vidapt.models.text import Encoded, encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Sample, Turn
from vidapt.video import decode

CAPTION_PROMPT = "describe the video."
Media = str | Path | Sequence[str | Path]
"""One file or folder, or several."""

Question = str | Sequence[Turn]
"""One question, or a conversation that ends with one."""

_GENERATION = "generation_config.json"


class Engine(Watcher):
    """A model ready to be asked.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        name: What to call it in results.
        card: Where it came from, as its folder tells.
    """

    def __init__(
        self, model: VideoLM, tokenizer: Any, name: str, card: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, tokenizer)
        self.name, self.card = name, dict(card or {})
        end = model.blueprint.prompt.end.strip()
        ids = tokenizer(end, add_special_tokens=False).input_ids if end else []
        # Only marks end an answer: one that is spelled with ordinary pieces begins like many words do.
        marks = {token for token in ids[:1] if is_mark(tokenizer, token)}
        stops = {tokenizer.eos_token_id, *marks, *_published_stops(model)} - {None}
        self.stops: tuple[int, ...] = tuple(sorted(stops))

    def caption(self, path: str | Path, prompt: str = CAPTION_PROMPT, **decoding: Any) -> str:
        """Describe a clip.

        Raises:
            BrokenClip: If it cannot be used.
        """
        return self.ask(path, prompt, **decoding)

    def ask(self, media: Media, question: str, **decoding: Any) -> str:
        """Answer one question about a clip, or about several; `decoding` are fields of `Decoding`.

        Where the clips stand among the words can be said by marks (`nouns.MEDIA`) in the question.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        return self.ask_all(media, [question], **decoding)[0]

    def ask_all(
        self, media: Media, questions: Sequence[str], *, fps: float | None = None, **decoding: Any
    ) -> list[str]:
        """Answer several questions about a clip (or several clips together), which is seen once.

        Args:
            media: A path, or several.
            questions: What is asked.
            fps: Pictures per second of folders of pictures.
            decoding: Fields of `Decoding`.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        chosen = Decoding(**decoding)
        count = 1 if isinstance(media, str | Path) else len(media)
        beside = max((self.text_tokens(question, count) for question in questions), default=0)
        (answers,) = self.answer([(self._seen(media, beside, fps), list(questions))], chosen)
        return [self.text(answer) for answer in answers]

    def captions(
        self, path: str | Path, n: int = 5, diversity: str | Path | Diversity = "plain", **options: Any
    ) -> list[str]:
        """Describe a clip in several ways; `options` are those of `ask_many`.

        >>> model.captions("match.mp4", n=5, diversity="cooling")  # doctest: +SKIP
        """
        return self.ask_many(path, CAPTION_PROMPT, n, diversity, **options)

    def ask_many(
        self,
        media: Media,
        question: str,
        n: int = 5,
        diversity: str | Path | Diversity = "plain",
        *,
        max_new_tokens: int = 128,
        fps: float | None = None,
    ) -> list[str]:
        """Several replies to one question about a clip (or several clips together), which is seen once.

        Args:
            media: A path, or several.
            question: What is asked; facets stand in its place.
            n: How many replies.
            diversity: How they come to differ: the name of a way, a YAML file or a `Diversity`. To ask about
                many clips with cues, prepare a `Several` once.
            max_new_tokens: Longest reply.
            fps: Pictures per second of folders of pictures.

        Raises:
            ConfigError: If so many replies cannot be, or would repeat themselves.
            BrokenClip: If a clip cannot be used.
        """
        count = 1 if isinstance(media, str | Path) else len(media)
        wanted = Several.of(self, question, n, diversity, max_new_tokens, clips=count)
        seen = self._seen(media, wanted.text_tokens, fps)
        (replies,) = wanted.replies(self, [seen])
        if isinstance(replies, BrokenClip):
            raise replies
        return [self.text(one.answer) for one in replies]

    def _seen(self, media: Media, beside: int = 0, fps: float | None = None) -> list[SeenClip]:
        """The clips of one conversation, and how many tokens of text are read with them."""
        paths = [media] if isinstance(media, str | Path) else list(media)
        clips = [Clip(path.stem, path, rate=fps if path.is_dir() else None) for path in map(Path, paths)]
        policy = self.model.blueprint.frames
        decoded = [(clip, decode(clip, policy, size=self.model.decode_size)) for clip in clips]
        return self.see(decoded, together=len(clips), beside=beside)

    def logits(self, media: Media, question: str, answer: str) -> tuple[Tensor, Tensor]:
        """Logits that predict an answer to a question about a clip, or about several.

        Those of other positions, and of ids of your own, are given by `model.logits`.

        Args:
            media: As `ask` takes it.
            question: As `ask` takes it.
            answer: What the model is to have said.

        Returns:
            [A] long, the answer's tokens with its end mark; and [A, vocabulary], row i about token i.

        Raises:
            BrokenClip: If a clip cannot be used.
        """
        count = 1 if isinstance(media, str | Path) else len(media)
        beside = self.text_tokens(question, count)
        packed, logits = self.answered(self._seen(media, beside), [(question, answer)])
        return packed.labels, logits

    @torch.inference_mode()
    def answered(
        self, seen: Sequence[SeenClip], answered: Sequence[tuple[str, str]]
    ) -> tuple[Packed, Tensor]:
        """Logits that predict answers, each alone with its question behind clips already seen.

        Args:
            seen: The clips of one conversation.
            answered: Questions, none of which says itself where the clips stand, and their answers.

        Returns:
            The batch, whose `labels` are the answers' tokens and `sample` tells whose they are; and [labels,
            vocabulary].

        Raises:
            BudgetError: If that is longer than the language model reads.
        """
        media = tuple(one.clip for one in seen)
        encoded = tuple(self.encoded(question, answer, media) for question, answer in answered)
        readings = self.readings(seen)
        packed = pack([Group(encoded, readings)], self.model.positions)
        refuse_packed(self.model, packed)
        packed = packed.to(self.model.device)
        return packed, self.model(packed, torch.cat([one.tokens for one in seen]) if seen else None)

    def prompt(self, seen: Sequence[SeenClip], question: Question) -> tuple[list[int], list[bool]]:
        """Ids of all that is read before an answer to a question is begun, and where visual tokens stand.

        Args:
            seen: The clips of one conversation.
            question: What is asked.

        Returns:
            [L] ids, 0 where a visual token stands; and [L] whether one does.
        """
        encoded = self._encoded(question, tuple(one.clip for one in seen))
        ids, slots, _ = prefix_layout(encoded.prefix, self.readings(seen))
        return [*ids, *encoded.ids], [*slots, *(False for _ in encoded.ids)]

    def encoded(self, question: str, answer: str, media: tuple[Clip, ...] = ()) -> Encoded:
        """A question with its answer as token ids."""
        sample = Sample("answered", media, (Turn("user", question), Turn("assistant", answer)))
        return encode(sample, self.model.blueprint.prompt, self.tokenizer)

    def text(self, answer: Answer) -> str:
        """An answer's words."""
        decoded = self.tokenizer.decode(list(answer.ids), skip_special_tokens=True)
        assert isinstance(decoded, str)
        return decoded.strip()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything an answer depends on: blueprint, tokenizer, weights and their number format."""
        seen = hashlib.sha256(self.model.blueprint.model_dump_json().encode())
        seen.update(self.tokenizer.backend_tokenizer.to_str().encode())
        seen.update(weights_fingerprint(WeightsAnywhere(self.model)).encode())
        return seen.hexdigest()[:24]

    def text_tokens(self, question: Question, clips: int = 1) -> int:
        """How many tokens of text the model reads when it is asked a question about some clips.

        Raises:
            BudgetError: If that is more than it reads, before any clip is looked at.
        """
        return text_length(self._encoded(question, (Clip("", Path()),) * clips))

    def answer(
        self,
        asked: Sequence[tuple[Sequence[SeenClip], Sequence[Question]]],
        decoding: Decoding,
        told: Told | None = None,
        seeds: Sequence[int] | None = None,
        places: int | None = None,
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen; without a clip, of the question alone.

        Sampling depends on the seed, the clips' ids and the question, not on what else is asked.

        Args:
            asked: Clips, and what is asked about them.
            decoding: How tokens are chosen.
            told: Is told every token as it is written, and may end an answer there.
            seeds: Of each question's sampling, in the place of that of `decoding`.
            places: Answers written at a time, others taking the places of those that end; None is all.

        Returns:
            Per clip (or clips of one conversation), per question, its answer.

        Raises:
            FormatError: If a question marks more places for clips than there are.
            ConfigError: If there is nothing to read behind the clip.
            BudgetError: If that is longer than the language model reads.
        """
        once = [(seen, questions, [1] * len(questions)) for seen, questions in asked]
        return self.several(once, decoding, told, seeds, places)

    def several(
        self,
        asked: Sequence[tuple[Sequence[SeenClip], Sequence[Question], Sequence[int]]],
        decoding: Decoding,
        told: Told | None = None,
        seeds: Sequence[int] | None = None,
        places: int | None = None,
    ) -> list[list[Answer]]:
        """As `answer`, with several answers to each question, which is read once for all of them.

        The first answer is that of `answer`.

        Args:
            asked: Clips, questions, and how many answers each question gets.
            decoding: How tokens are chosen.
            told: As `answer` takes it.
            seeds: As `answer` takes them.
            places: As `answer` takes it.

        Returns:
            Per clip (or clips of one conversation) the answers, question after question.
        """
        groups: list[Group] = []
        visual: list[Tensor | None] = []
        given = iter(seeds or [])
        drawn: list[int] = []
        for seen, questions, times in asked:
            encoded = [self._encoded(question, tuple(one.clip for one in seen)) for question in questions]
            readings = self.readings(seen)
            tokens = torch.cat([one.tokens for one in seen]) if seen else None
            # A question that says itself where the clip stands may have another prefix than its neighbours.
            for _, members in itertools.groupby(encoded, key=lambda e: e.prefix):
                groups.append(Group(tuple(members), readings))
                visual.append(tokens)
            for question, count in zip(questions, times, strict=True):
                seed = next(given, decoding.seed)
                drawn += [self._seed(seed, seen, question, at) for at in range(count)]
        each = [count for _, _, times in asked for count in times]
        found = generate(self.model, groups, visual, self.stops, decoding, drawn, each, told, places)
        answers = itertools.chain.from_iterable(found)
        return [list(itertools.islice(answers, sum(times))) for _, _, times in asked]

    def begun(
        self, seen: Sequence[SeenClip], question: Question, decoding: Decoding, number: int
    ) -> tuple[Asked, Writing]:
        """A question for a `Running`, whose answer is that of `answer` with the seed of `decoding`.

        Args:
            seen: The clips of one conversation.
            question: What is asked.
            decoding: How tokens are chosen.
            number: What the answer is called there.

        Raises:
            FormatError: If a question marks more places for clips than there are.
            ConfigError: If there is nothing to read behind the clip.
            BudgetError: If that is longer than the language model reads.
        """
        encoded = self._encoded(question, tuple(one.clip for one in seen))
        group = Group((encoded,), self.readings(seen))
        tokens = torch.cat([one.tokens for one in seen]) if seen else None
        most = room_for(self.model, group, encoded, decoding)
        seed = self._seed(decoding.seed, seen, question)
        return Asked(group, tokens, (most,), (1,)), Writing(number, most, decoding, seed)

    @staticmethod
    def _seed(seed: int, seen: Sequence[SeenClip], question: Question, at: int = 0) -> int:
        """Of the chances of an answer: other clips, questions and answers have others."""
        ids = "\n".join(one.clip.id for one in seen)
        return seed_of(seed, ids, _words(question), *([at] if at else [])) >> 1

    def _encoded(self, question: Question, media: tuple[Clip, ...]) -> Encoded:
        turns = (Turn("user", question),) if isinstance(question, str) else tuple(question)
        sample = Sample("question", media, (*turns, Turn("assistant", "")))
        encoded = encode(sample, self.model.blueprint.prompt, self.tokenizer, open_answer=True)
        if not encoded.ids:
            raise ConfigError("question", "is empty", "ask something")
        tokens = text_length(encoded)
        if reason := reach_of(self.model).excess(tokens, tokens, packed=False):
            raise BudgetError("question", f"is {reason}", "ask something shorter")
        return encoded


def _words(question: Question) -> str:
    """What is asked, as one text."""
    return question if isinstance(question, str) else "\n".join(turn.text for turn in question)


def _published_stops(model: VideoLM) -> list[int]:
    """Ids that end an answer by the checkpoint's `generation_config.json`.

    Raises:
        CheckpointError: If they are none.
    """
    if model.origin is None:
        return []
    ids = model.origin.read(_GENERATION).get("eos_token_id")
    found = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(type(one) is int for one in found):
        raise CheckpointError(
            _GENERATION, f"eos_token_id is {ids!r}", "write the number of a token, or a list of such numbers"
        )
    # Of tokens that the model does not have none is ever written.
    return [one for one in found if 0 <= one < model.language.get_input_embeddings().num_embeddings]
