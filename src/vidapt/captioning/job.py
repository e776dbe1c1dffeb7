"""What every caption of a job has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vidapt.captioning.chunks import Cutting
from vidapt.captioning.found import readable
from vidapt.captioning.rows import CaptionRow
from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.several import Reply, Several
from vidapt.inference.watch import SeenClip
from vidapt.metrics.spans import shifted
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.version import VERSION
from vidapt.video import Policy, Times


def check_cutting(frames: Policy | None, cutting: Cutting | None) -> None:
    """Refuse to cut films for a model that looks at given moments of every file.

    Args:
        frames: The model's policy; None where it is a server's affair.
        cutting: How films are cut.

    Raises:
        ConfigError: If it does.
    """
    if cutting is not None and isinstance(frames, Times):
        raise ConfigError(
            "--chunk",
            "the model looks at the same moments of every file (`frames: times`), whatever the stretch",
            "leave it out, or give the model another policy",
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A model, what it is asked, and how.

    Attributes:
        engine: The model.
        prompt: The question.
        decoding: How tokens are chosen.
        cutting: How films are cut; None leaves them whole.
        text_tokens: Length of the prompt's text.
        settings: Hash of all of these.
        folder: Where the names of clips begin.
        several: How several captions of a clip come to differ; None is one caption.
    """

    engine: Engine
    prompt: str
    decoding: Decoding
    cutting: Cutting | None
    text_tokens: int
    settings: str
    folder: str
    several: Several | None = None

    @classmethod
    def of(
        cls,
        engine: Engine,
        prompt: str,
        decoding: Decoding,
        cutting: Cutting | None,
        folder: str,
        several: Several | None = None,
    ) -> Job:
        """Settle what is the same for all clips.

        Raises:
            ConfigError: If films are to be cut for a model that looks at given moments of every file.
            BudgetError: If the prompt is longer than the model reads.
        """
        if cutting is not None:
            check_cutting(engine.model.blueprint.frames, cutting)
        how = decoding.settings if several is None else several.settings
        settings = digest([engine.fingerprint, prompt, how, *([] if cutting is None else [cutting.settings])])
        tokens = engine.text_tokens(prompt) if several is None else several.text_tokens
        return cls(engine, prompt, decoding, cutting, tokens, settings, folder, several)

    def replies(self, sound: Sequence[SeenClip]) -> list[list[Reply] | BrokenClip]:
        """What is said about each clip; or why nothing can be asked about it."""
        alone = [(one,) for one in sound]
        if self.several is not None:
            return self.several.replies(self.engine, alone)
        answers = self.engine.answer([(seen, [self.prompt]) for seen in alone], self.decoding)
        return [[Reply(answer, self.prompt)] for (answer,) in answers]

    def key(self, clip: Clip, content: str) -> str:
        """Of the row of a whole file."""
        rate = [] if clip.rate is None else [clip.rate]
        return digest([clip.id, content, self.settings, *rate])

    def row(
        self,
        key: str,
        seen: SeenClip,
        replies: Sequence[Reply],
        seconds: float,
        notes: tuple[str, ...] = (),
    ) -> CaptionRow:
        """One clip's row, with the times of its captions as the file counts them.

        Args:
            key: Its key.
            seen: The clip.
            replies: Its captions.
            seconds: Its share of the time its batch took.
            notes: What is to be told beside what decoding says.
        """
        clip = seen.clip
        said = [self.engine.text(one.answer) for one in replies]
        texts = said if clip.end_s is None else [shifted(text, clip.start_s) for text in said]
        cues = tuple(one.cue for one in replies)
        return CaptionRow(
            key=key,
            clip=clip.id,
            caption=texts[0],
            model=self.engine.name,
            model_hash=self.engine.fingerprint,
            recipe_hash=self.engine.card.get("recipe_hash"),
            prompt=self.prompt,
            settings=self.settings,
            frames=tuple(round(moment, 6) for moment in seen.times_s),
            visual_tokens=len(seen.tokens),
            text_tokens=self.text_tokens,
            new_tokens=sum(len(one.answer.ids) for one in replies),
            finish="end" if all(one.answer.ended for one in replies) else "length",
            seconds=round(seconds, 6),
            notes=(*map(readable, seen.notes), *notes),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=VERSION,
            folder=self.folder,
            start_s=None if clip.end_s is None else clip.start_s,
            end_s=clip.end_s,
            captions=() if self.several is None else tuple(texts),
            prompts=() if self.several is None else tuple(one.question for one in replies),
            cues=cues if any(cues) else (),
        )
