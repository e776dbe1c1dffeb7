"""What a user writes about labels by a teacher: who is asked, what is shown, in which words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from vidapt.chat.settings import Budget, Who, unpriced
from vidapt.digests import digest
from vidapt.errors import nearest
from vidapt.strict import Strict
from vidapt.teaching.modes import modes
from vidapt.teaching.wording import check_template

_Count = Annotated[int, Field(ge=1, le=1024)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Shown(Strict):
    """Which frames a teacher is shown, and how large.

    Attributes:
        count: Frames of a clip, in the middle of as many equal stretches.
        every_s: One frame for so many seconds, where that is more than `count`; None for no clip.
        moving: A clip that moves much has so many times the frames.
        moving_above: From which mean difference of tiny frames on (0 to 255) a clip moves much.
        cap: Most frames of a clip, or of a segment of it.
        side: Longest side in pixels; smaller frames stay as they are.
        quality: Of the JPEG, 1 to 95.
    """

    count: int = Field(4, ge=1, le=1024)
    every_s: float | None = Field(10.0, gt=0, le=86_400)
    moving: float = Field(2.0, ge=1, le=16)
    moving_above: float = Field(12.0, ge=0, le=255)
    cap: _Count = 32
    side: int = Field(512, ge=32, le=4096)
    quality: int = Field(85, ge=1, le=95)

    @model_validator(mode="after")
    def _ordered(self) -> Shown:
        if self.count > self.cap:
            raise ValueError(f"`count` is {self.count}, more than `cap`, which is {self.cap}")
        return self


class Decoded(Strict):
    """How answers about footage are sampled; texts from facts are always written greedily.

    Attributes:
        temperature: None leaves it to the server.
        top_p: Sample from the likeliest tokens of this probability.
        max_tokens: Longest answer.
        seed: Of the first sample; the next ones have the next seeds.
    """

    temperature: float | None = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1, le=65_536)
    seed: int = Field(0, ge=0, lt=2**31)


class Again(Strict):
    """When a clip is labelled a second time, with more frames.

    Attributes:
        below: Where samples agree less than this; 0 never.
        frames: So many times the frames.
        drop_below: Where they agree less than this in the end, the clip gets no label; 0 keeps all.
    """

    below: _Share = 0.0
    frames: float = Field(2.0, ge=1, le=16)
    drop_below: _Share = 0.0


class Facts(Strict):
    """How facts are gathered.

    Attributes:
        segment_s: Length of the stretches that facts are asked of.
        most_segments: Longer clips have longer segments.
        beside: Frames on both sides of a border that the difference is asked of; 0 asks for none.
        alike: Word F1 from which on two statements are one fact.
        least_votes: Voices that must state a fact; None is 2 where there are several voices.
        most: Most facts taken from one answer.
    """

    segment_s: float = Field(8.0, gt=0, le=86_400)
    most_segments: int = Field(16, ge=1, le=256)
    beside: int = Field(2, ge=0, le=16)
    alike: _Share = 0.6
    least_votes: int | None = Field(None, ge=1, le=256)
    most: int = Field(40, ge=1, le=500)


class Questions(Strict):
    """What is asked of a clip's facts.

    Attributes:
        count: Most questions of a clip.
    """

    count: int = Field(6, ge=1, le=200)


class Prompts(Strict):
    """Templates; `$name` is filled in, `$$` is a dollar.

    Attributes:
        caption: What is asked in mode `caption`.
        facts: Of each segment.
        difference: Of each border between segments.
        write: Makes a caption of facts.
        ask: Makes questions and answers of facts.
        repair: Asks again for an answer that could not be read.
        label: What the user says in the labels, in front of a caption.
    """

    caption: str
    facts: str
    difference: str
    write: str
    ask: str
    repair: str
    label: str

    @field_validator("*")
    @classmethod
    def _fillable(cls, text: str, info: Any) -> str:
        check_template(str(info.field_name), text)
        return text


class Labelling(Strict):
    """A recipe of labels.

    Attributes:
        mode: What is made: `caption`, `facts` (facts first, then a caption of them alone) or `questions`.
        teachers: The first one writes texts; all of them look.
        samples: Answers of each teacher to the same question about footage.
        frames: What is shown.
        decoding: How it answers.
        again: When a clip is labelled again.
        facts: How facts are gathered.
        questions: How many.
        prompts: In which words.
        budget: Where it stops.
        give_up: Requests in a row that come to nothing before a job stops.
        give_up_clips: Clips in a row of which nothing of use is said before it stops, such as refusals.
    """

    mode: str
    teachers: tuple[Who, ...] = Field(min_length=1, max_length=16)
    samples: int = Field(1, ge=1, le=64)
    frames: Shown = Shown()
    decoding: Decoded = Decoded()
    again: Again = Again()
    facts: Facts = Facts()
    questions: Questions = Questions()
    prompts: Prompts
    budget: Budget = Budget()
    give_up: int = Field(8, ge=1, le=1000)
    give_up_clips: int = Field(8, ge=1, le=1_000_000)

    @field_validator("mode")
    @classmethod
    def _known(cls, mode: str) -> str:
        if mode not in modes():
            raise ValueError(f"there is no such mode; {nearest(mode, modes())}")
        return mode

    @model_validator(mode="after")
    def _sensible(self) -> Labelling:
        if self.samples > 1 and self.decoding.temperature == 0:
            raise ValueError("several `samples` need a `decoding.temperature` above 0, else they are equal")
        if self.voices == 1 and (self.again.below or self.again.drop_below):
            raise ValueError("`again` compares voices: give several `samples` or teachers")
        votes = self.facts.least_votes
        if votes is not None and votes > self.voices:
            raise ValueError(f"`facts.least_votes` is {votes}, and there are {self.voices} voices")
        if self.budget.money is not None and not self.priced:
            raise ValueError("`budget.money` needs the `price` of every teacher (or give --price)")
        return self

    @property
    def priced(self) -> bool:
        """Whether it is known what all teachers cost."""
        return not any(map(unpriced, self.teachers))

    @property
    def voices(self) -> int:
        """How many answers there are to a question about footage."""
        return self.samples * len(self.teachers)

    @property
    def least_votes(self) -> int:
        """Voices that must state a fact."""
        return self.facts.least_votes or min(2, self.voices)

    def settings(self, teachers: Sequence[object]) -> str:
        """Hash of all that labels depend on, which prices, addresses and budgets are not.

        Args:
            teachers: The `identity` of each.
        """
        own = {"mode", "samples", "frames", "decoding", "again", "facts", "questions", "prompts"}
        return digest([self.model_dump(mode="json", include=own), list(teachers)])
