"""Several replies to one question, prepared once for any number of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.cues import Bank, bank, with_cue
from vidapt.inference.diversity import Diversity, diversity_of
from vidapt.models.decoding import Answer, Decoding
from vidapt.progress import Reporter, silent

if TYPE_CHECKING:
    from vidapt.inference.engine import Engine
    from vidapt.inference.watch import SeenClip


@dataclass(frozen=True, slots=True)
class Reply:
    """One of several replies.

    Attributes:
        answer: What was said.
        question: What was asked: the prompt, or one of the facets.
        cue: The caption of another clip that stood before it; empty without.
    """

    answer: Answer
    question: str
    cue: str = ""


@dataclass(frozen=True)
class Several:
    """What is asked of every clip.

    Attributes:
        prompt: The question.
        n: Replies of a clip.
        diversity: How they come to differ.
        decoding: How their tokens are chosen.
        bank: Where cues come from; None without.
        text_tokens: Length of the longest text that is read with a clip.
    """

    prompt: str
    n: int
    diversity: Diversity
    decoding: Decoding
    bank: Bank | None
    text_tokens: int

    @classmethod
    def of(
        cls,
        engine: Engine,
        prompt: str,
        n: int,
        diversity: str | Path | Diversity = "plain",
        max_new_tokens: int = 128,
        *,
        clips: int = 1,
        workers: int = 0,
        report: Reporter = silent,
    ) -> Several:
        """Settle what is the same for all clips; with cues, see theirs.

        Args:
            engine: The model.
            prompt: The question.
            n: Replies of a clip.
            diversity: The name of a way, a YAML file, or what it would say.
            max_new_tokens: Longest reply.
            clips: Clips of one conversation.
            workers: Decoding processes, for the clips of cues.
            report: Told how far it is.

        Raises:
            ConfigError: If these settings cannot be, or replies would repeat themselves.
            BudgetError: If a question is longer than the model reads.
            FormatError: If the labels of cues cannot be read.
        """
        wanted = diversity_of(diversity)
        wanted.check(n)
        asked = list(dict.fromkeys(wanted.asked(prompt, n)))
        found = None
        tokens = max(engine.text_tokens(one, clips) for one in asked)
        if (cues := wanted.cues) is not None:
            if clips != 1:
                raise ConfigError("cues", f"are of one clip, and {clips} are asked about", "leave them out")

            def length(text: str) -> int:
                return max(engine.text_tokens(with_cue(cues.words, text, one)) for one in asked)

            found = bank(engine, cues, length, seed=wanted.seed, workers=workers, report=report)
            tokens = max(map(length, found.texts))
        return cls(prompt, n, wanted, wanted.decoding(max_new_tokens), found, tokens)

    @property
    def settings(self) -> list[Any]:
        """What replies depend on beside model, clip and prompt, as JSON holds it."""
        told = [self.n, self.decoding.settings, list(self.diversity.facets)]
        return told if self.bank is None else [*told, self.bank.settings]

    def replies(
        self, engine: Engine, clips: Sequence[Sequence[SeenClip]], places: int | None = None
    ) -> list[list[Reply] | BrokenClip]:
        """The replies about each clip, or about the clips of each conversation, in the order they are asked.

        Every clip and every question about it is read once, however many replies there are.

        Args:
            engine: The model.
            clips: Clips, or those of each conversation.
            places: Replies written at a time; None is all.

        Returns:
            Per clip its replies; or why no cue can be had for it.
        """
        questions = self.diversity.asked(self.prompt, self.n)
        cues = [self._cues(seen) for seen in clips]
        posed = [
            (seen, [self._read(*pair) for pair in zip(questions, own, strict=True)])
            for seen, own in zip(clips, cues, strict=True)
            if not isinstance(own, BrokenClip)
        ]
        once = [(seen, list(dict.fromkeys(texts)), texts) for seen, texts in posed]
        asked = [(seen, each, [texts.count(text) for text in each]) for seen, each, texts in once]
        answers = iter(zip(engine.several(asked, self.decoding, places=places), posed, strict=True))
        found: list[list[Reply] | BrokenClip] = []
        for own in cues:
            if isinstance(own, BrokenClip):
                found.append(own)
                continue
            given, (_, texts) = next(answers)
            found.append(list(map(Reply, _in_turn(given, texts), questions, own)))
        return found

    def _cues(self, seen: Sequence[SeenClip]) -> list[str] | BrokenClip:
        return [""] * self.n if self.bank is None else self.bank.near(seen[0], self.n)

    def _read(self, question: str, cue: str) -> str:
        return question if self.bank is None else with_cue(self.bank.cues.words, cue, question)


def _in_turn(answers: Sequence[Answer], texts: Sequence[str]) -> list[Answer]:
    """Answers that come text after text, in the order in which the texts were asked."""
    order = sorted(range(len(texts)), key=lambda at: (texts.index(texts[at]), at))
    placed = dict(zip(order, answers, strict=True))
    return [placed[at] for at in range(len(texts))]
