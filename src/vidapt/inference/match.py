"""How well statements fit a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.matchers import Matcher
from vidapt.nouns import Clip


@dataclass(frozen=True, slots=True)
class Scored:
    """A statement about a clip.

    Attributes:
        text: As it was given.
        score: In the model's unit; higher fits better.
        share: Softmax over all statements about the clip.
        true: Whether it is known to be true.
    """

    text: str
    score: float
    share: float
    true: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """A clip with its statements.

    Attributes:
        clip: Its path.
        model: Name of the model.
        unit: What the scores are.
        statements: In the order given: those taken to be true, then those known to be false.
        margin: Score of the worst true statement above that of the best false one; None without false ones.
    """

    clip: str
    model: str
    unit: str
    statements: tuple[Scored, ...]
    margin: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"statements": [asdict(one) for one in self.statements]}

    def rows(self) -> list[list[str]]:
        """As a table: statement, score, share."""
        return [
            [one.text if one.true else f"(false) {one.text}", f"{one.score:.3f}", f"{one.share:.3f}"]
            for one in self.statements
        ]


def match(matcher: Matcher, path: Path, statements: Sequence[str], false: Sequence[str] = ()) -> Matched:
    """Score statements about one clip.

    Args:
        matcher: The model.
        path: A video, a still or a folder of frames.
        statements: To be compared.
        false: Further ones that are known to be false.

    Raises:
        ConfigError: If there is no statement, or one is empty or too long for the model.
        BrokenClip: If the clip cannot be used.
    """
    texts = [*statements, *false]
    if not texts:
        raise ConfigError("statements", "none is given", 'write vidapt match CLIP "what may be seen"')
    if not all(text.strip() for text in texts):
        raise ConfigError("statements", "one is empty", "say something about the clip")
    for text, reason in matcher.unreadable(texts).items():
        raise ConfigError(f"statement {text!r}", reason)
    (seen,) = matcher.watch([Clip(path.stem, path)], 0)
    if isinstance(seen, BrokenClip):
        raise seen
    scores = matcher.scores(seen, texts)
    good, bad = scores[: len(statements)], scores[len(statements) :]
    scored = tuple(
        Scored(text, score, share, index < len(statements))
        for index, (text, score, share) in enumerate(
            zip(texts, scores, shares(scores, matcher.sharpness), strict=True)
        )
    )
    return Matched(str(path), matcher.name, matcher.unit, scored, margin(good, bad))


def shares(scores: Sequence[float], sharpness: float) -> list[float]:
    """Softmax of scores multiplied by a factor."""
    powers = np.exp(sharpness * (np.asarray(scores, dtype=np.float64) - max(scores)))
    found: list[float] = (powers / powers.sum()).tolist()
    return found


def margin(true: Sequence[float], false: Sequence[float]) -> float | None:
    """Score of the worst true statement above that of the best false one; None if there are not both."""
    return min(true) - max(false) if true and false else None
