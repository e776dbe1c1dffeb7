"""What every caption of a job has in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from vidapt.captioning.chunks import Cutting
from vidapt.captioning.found import readable
from vidapt.captioning.rows import CaptionRow
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.metrics.spans import shifted
from vidapt.models.generate import Answer, Decoding
from vidapt.nouns import Clip
from vidapt.version import VERSION
from vidapt.video import Times


def check_cutting(engine: Engine, cutting: Cutting | None) -> None:
    """Refuse to cut films for a model that looks at given moments of every file.

    Raises:
        ConfigError: If it does.
    """
    if cutting is not None and isinstance(engine.model.blueprint.frames, Times):
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
    """

    engine: Engine
    prompt: str
    decoding: Decoding
    cutting: Cutting | None
    text_tokens: int
    settings: str
    folder: str

    @classmethod
    def of(cls, engine: Engine, prompt: str, decoding: Decoding, cutting: Cutting | None, folder: str) -> Job:
        """Settle what is the same for all clips.

        Raises:
            ConfigError: If films are to be cut for a model that looks at given moments of every file.
            BudgetError: If the prompt is longer than the model reads.
        """
        check_cutting(engine, cutting)
        how = decoding.settings
        settings = digest([engine.fingerprint, prompt, how, *([] if cutting is None else [cutting.settings])])
        return cls(engine, prompt, decoding, cutting, engine.text_tokens(prompt), settings, folder)

    def key(self, clip: Clip, content: str) -> str:
        """Of the row of a whole file."""
        rate = [] if clip.rate is None else [clip.rate]
        return digest([clip.id, content, self.settings, *rate])

    def row(
        self, key: str, seen: SeenClip, answer: Answer, seconds: float, notes: tuple[str, ...] = ()
    ) -> CaptionRow:
        """One clip's row, with the times of its caption as the file counts them.

        Args:
            key: Its key.
            seen: The clip.
            answer: Its caption.
            seconds: Its share of the time its batch took.
            notes: What is to be told beside what decoding says.
        """
        clip, text = seen.clip, self.engine.text(answer)
        return CaptionRow(
            key=key,
            clip=clip.id,
            caption=text if clip.end_s is None else shifted(text, clip.start_s),
            model=self.engine.name,
            model_hash=self.engine.fingerprint,
            recipe_hash=self.engine.card.get("recipe_hash"),
            prompt=self.prompt,
            settings=self.settings,
            frames=tuple(round(moment, 6) for moment in seen.times_s),
            visual_tokens=len(seen.tokens),
            text_tokens=self.text_tokens,
            new_tokens=len(answer.ids),
            finish="end" if answer.ended else "length",
            seconds=round(seconds, 6),
            notes=(*map(readable, seen.notes), *notes),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=VERSION,
            folder=self.folder,
            start_s=None if clip.end_s is None else clip.start_s,
            end_s=clip.end_s,
        )
