"""What a probe found of a model, and the order of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidapt.measure.paired import Paired
from vidapt.metrics.intervals import Interval

RULE = (
    "the mean of what could be asked of it, each as the share of the way from chance to perfect: answers "
    "(from the same model without the clip), true statements against false ones (from 1 in 2), and captions "
    "of clips found by clips (from 1 in as many as there are)"
)


@dataclass(frozen=True)
class Answered:
    """Short questions.

    Attributes:
        questions: How many.
        accuracy: Mean over their types.
        blind: The same without the clip.
    """

    questions: int
    accuracy: Interval
    blind: Interval

    @property
    def share(self) -> float:
        """Of the way from blind to perfect."""
        return _share(self.accuracy.value, self.blind.value)


@dataclass(frozen=True)
class Compared:
    """Statements.

    Attributes:
        pairs: Of a true and a false one about the same clip.
        wins: Share in which the true one is likelier.
        found: Share of clips that find one of their own statements first, and of statements that find a clip
            of theirs, the mean of both; None if there are too few.
        among: How many clips that was among.
    """

    pairs: int
    wins: Interval | None
    found: float | None
    among: int

    @property
    def shares(self) -> list[float]:
        """Of the way from chance to perfect, of each that is known."""
        wins = [] if self.wins is None else [_share(self.wins.value, 0.5)]
        return wins if self.found is None else [*wins, _share(self.found, 1 / self.among)]


@dataclass(frozen=True)
class Probe:
    """What was found of a model.

    Attributes:
        model: As it was given.
        kind: `language`, or `dual` for an encoder that only compares.
        parameters: How many weights it has.
        load_s: Seconds until it could be asked.
        peak_gb: Most memory that it took, of the device where it has its own.
        clip_s: Seconds to decode and see a clip.
        answer_s: Seconds to answer a question, several at once; None for a dual encoder.
        tokens: Visual tokens of a clip; None likewise.
        answered: Of questions; None without any.
        compared: Of statements; None without any.
        captions: What it says of a few clips, by their id.
        why_not: What could not be asked, and why.
    """

    model: str
    kind: str
    parameters: int
    load_s: float
    peak_gb: float
    clip_s: float
    answer_s: float | None
    tokens: int | None
    answered: Answered | None
    compared: Compared | None
    captions: Mapping[str, str]
    why_not: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """By `RULE`; minus one where nothing could be asked."""
        shares = [] if self.answered is None else [self.answered.share]
        shares += [] if self.compared is None else self.compared.shares
        return sum(shares) / len(shares) if shares else -1.0

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "why_not": list(self.why_not)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Probe:
        """Read what `to_json` wrote.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another kind.
        """
        answered, compared = row["answered"], row["compared"]
        known = {
            "answered": answered
            and Answered(
                answered["questions"], Interval(**answered["accuracy"]), Interval(**answered["blind"])
            ),
            "compared": compared
            and Compared(**{**compared, "wins": compared["wins"] and Interval(**compared["wins"])}),
            "why_not": tuple(row["why_not"]),
        }
        return cls(**{**row, **known})


@dataclass(frozen=True)
class Failed:
    """A model that could not be probed."""

    model: str
    reason: str


HEAD = (
    "model",
    "score",
    "answers",
    "blind",
    "true over false",
    "found first",
    "weights",
    "s a clip",
    "s an answer",
    "memory",
    "beside the first",
)


BRIEF = ("model", "score", "answers", "blind", "true over false", "s a clip", "beside the first")
"""What fits into a terminal."""


@dataclass(frozen=True)
class Shortlist:
    """Models in their order.

    Attributes:
        probes: The best first; language models before encoders that only compare.
        failed: Those that could not be probed.
        beside: What each language model but the first gains over the first one in answers.
        clips: How many clips it is about.
    """

    probes: Sequence[Probe]
    failed: Sequence[Failed]
    beside: Mapping[str, Paired]
    clips: int

    def verdict(self) -> str:
        """In a sentence."""
        language = [one for one in self.probes if one.kind == "language"]
        if not language:
            return "No language model could be probed." if not self.probes else "Only encoders were probed."
        first, *others = language
        alike = [one for one in others if self._words(one) == "not distinguishable"]
        said = f"{first.model} sees most of these clips"
        faster = min(alike, key=lambda one: one.clip_s, default=first)
        if faster.clip_s < 0.8 * first.clip_s:
            times = first.clip_s / faster.clip_s
            told = f"cannot be told from it by its answers, and is {times:.1f} times as fast"
            return f"{said}; {faster.model} {told}."
        if alike:
            return f"{said}; by answers, {', '.join(one.model for one in alike)} cannot be told from it."
        return f"{said}."

    def rows(self, head: Sequence[str] = HEAD) -> list[list[str]]:
        """Cells under `HEAD`, or under some of it."""
        rows = [dict(zip(HEAD, self._row(one), strict=True)) for one in self.probes]
        return [[row[name] for name in head] for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "verdict": self.verdict(),
            "rule": RULE,
            "clips": self.clips,
            "models": [{"score": one.score, **one.to_json()} for one in self.probes],
            "failed": [asdict(one) for one in self.failed],
            "beside": {name: one.to_dict() for name, one in self.beside.items()},
        }

    def _words(self, probe: Probe) -> str:
        found = self.beside.get(probe.model)
        return "" if found is None else found.words

    def _row(self, probe: Probe) -> list[str]:
        answered, compared = probe.answered, probe.compared
        wins = None if compared is None else compared.wins
        found = None if compared is None or compared.found is None else f"{100 * compared.found:.0f} %"
        return [
            probe.model,
            f"{100 * probe.score:.0f}" if probe.score > -1 else "-",
            _interval(None if answered is None else answered.accuracy),
            _interval(None if answered is None else answered.blind),
            _interval(wins),
            found or "-",
            _count(probe.parameters),
            f"{probe.clip_s:.2g}",
            "-" if probe.answer_s is None else f"{probe.answer_s:.2g}",
            f"{probe.peak_gb:.2g} GB",
            self._words(probe) or "-",
        ]


def in_order(probes: Sequence[Probe]) -> list[Probe]:
    """The best first; language models before encoders that only compare."""
    return sorted(probes, key=lambda one: (one.kind != "language", -one.score, one.clip_s))


def _share(value: float, chance: float) -> float:
    """Of the way from chance to perfect; below zero if it is worse than chance."""
    return (value - chance) / (1 - chance) if chance < 1 else 0.0


def _interval(value: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value.value:.0f} % ({100 * value.low:.0f} to {100 * value.high:.0f})"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"
