"""What passes between those who want something said and whoever says it, and what can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from vidapt.errors import VidaptError
from vidapt.nouns import Clip


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame as it is sent.

    Attributes:
        jpeg: Its bytes.
        seconds: When it is, from where the clip begins.
        size: (height, width).
        digest: Of its pixels before they were compressed.
    """

    jpeg: bytes
    seconds: float
    size: tuple[int, int]
    digest: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    Attributes:
        prompt: Its words.
        pictures: What is shown, in order; none for a question about text.
        clip: What the pictures are of; None for a question about text.
        content: `video.identity` of that clip.
        schema: JSON schema that the answer is to follow; None for plain text.
        temperature: As `settings.Decoded` has it.
        top_p: Likewise.
        max_tokens: Likewise.
        seed: Of this sample.
    """

    prompt: str
    pictures: tuple[Picture, ...] = ()
    clip: Clip | None = None
    content: str = ""
    schema: dict[str, Any] | None = None
    temperature: float | None = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """One answer.

    Attributes:
        text: Its words.
        cut_off: Whether the limit ended it.
        read: Tokens read; None if that is not said.
        written: Tokens written; None likewise.
        seconds: How long it took.
        logprob: Mean natural logarithm of the probabilities of its tokens; None if that is not said.
    """

    text: str
    cut_off: bool = False
    read: int | None = None
    written: int | None = None
    seconds: float = 0.0
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one question can take.

    Attributes:
        read: Tokens.
        written: Tokens.
        money: What they cost.
    """

    read: int
    written: int
    money: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast one may be asked.

    Attributes:
        concurrency: Most questions under way.
        requests_per_minute: None bounds nothing.
        tokens_per_minute: None likewise.
        retries: How often a question is repeated that came to nothing.
        patience_s: Longest pause taken.
    """

    concurrency: int = 1
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 0
    patience_s: float = 0.0


class Speaker(Protocol):
    """Who is asked."""

    name: str
    limits: Limits

    @property
    def priced(self) -> bool:
        """Whether it is known what it costs."""

    @property
    def identity(self) -> list[object]:
        """What tells its answers from those of others, beside the questions, as plain values."""

    def sees(self, asked: Asked) -> list[object]:
        """What of a question's footage its answer depends on, as plain values."""

    def bound(self, asked: Asked) -> Bound:
        """The most that a question can take."""

    def money(self, read: int, written: int) -> float:
        """What tokens cost."""

    async def ask(self, asked: Asked) -> Said:
        """Ask once.

        Raises:
            Failed: If there is no answer.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


@dataclass(frozen=True, slots=True)
class Call:
    """What became of one question, for the row it was asked for.

    Attributes:
        step: What it was about, such as `facts 2`.
        teacher: Who was asked.
        prompt_hash: Of its words.
        reply: Key of the answer among the replies.
        read: Tokens read, or the most it can have been where that is not said.
        written: Tokens written, likewise.
        money: What they cost; None where nobody has said.
        seconds: How long it took.
        frames: How many were shown.
        told: Whether the tokens were told.
    """

    step: str
    teacher: str
    prompt_hash: str
    reply: str
    read: int
    written: int
    money: float | None
    seconds: float
    frames: int
    told: bool


@dataclass
class Tally:
    """Calls that were made for one clip.

    Attributes:
        calls: Those that were answered.
        fresh: How many questions had no answer among the replies of before.
    """

    calls: list[Call] = field(default_factory=list)
    fresh: int = 0


def seconds(moment: float) -> str:
    """A moment as prompts write it: two decimals at most.

    >>> seconds(2.5), seconds(3.0)
    ('2.5', '3')
    """
    return f"{moment:.2f}".rstrip("0").rstrip(".")


class Failed(VidaptError):  # noqa: N818 - it names what became of a question
    """No answer came.

    Args:
        where: Who was asked.
        found: What happened.
        remedy: What can be done.
        again: Whether asking again may help.
        after_s: Seconds that the server asks to wait; None if it does not say.
        paid: Whether it may have been paid for.
        absent: Whether nobody was there to be asked.
    """

    def __init__(
        self,
        where: str,
        found: str,
        remedy: str = "",
        *,
        again: bool = False,
        after_s: float | None = None,
        paid: bool = False,
        absent: bool = False,
    ) -> None:
        super().__init__(where, found, remedy)
        self.again, self.after_s, self.paid, self.absent = again, after_s, paid, absent


class Refused(Failed):
    """Whoever is asked does not want to say it; that costs one row."""


class Unusable(Failed):
    """No question will be answered: a wrong key, an empty account."""


class Stop(Exception):  # noqa: N818 - it is no error of whoever meets it
    """The job ends: nothing more is asked."""
